"""At which risk to raise an alarm: by a budget of alarms, or by what a false drain and a missed fault cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import polars as pl

from collector.errors import ForeshockError

_RATES = {"alarms": "alarms_per_day_per_10k", "false": "false_per_day_per_10k"}


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """A threshold, the row of the curve that was measured there, and the sentence that says why it is this one."""

    threshold: float
    row: Mapping[str, float | None]
    why: str

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for a model's card."""
        return asdict(self) | {"row": dict(self.row)}


@dataclass(frozen=True, slots=True)
class Costs:
    """GPU-hours, at least 0: of a drain that was not needed, of a fault not caught, saved by one that was caught.

    `missed_fault` and `saved_per_caught` both count, so what a caught fault no longer costs is in one of them only.
    """

    false_drain: float
    missed_fault: float
    saved_per_caught: float

    def __post_init__(self) -> None:
        if min(self.false_drain, self.missed_fault, self.saved_per_caught) < 0:
            raise ValueError(f"costs are at least 0 GPU-hours (got {self})")


def by_budget(
    curve: pl.DataFrame, per_day_per_10k: float, of: Literal["alarms", "false"] = "alarms"
) -> OperatingPoint:
    """The most recall within the budget; the highest threshold among equals.

    `curve` from `curves.operating_curve`; the budget is in alarms, or false alarms, a day per 10,000 GPUs.
    Raises ForeshockError where no threshold of the curve keeps to it.
    """
    rate = _RATES[of]
    within = curve.filter(pl.col(rate) <= per_day_per_10k)
    word = "alarms" if of == "alarms" else "false alarms"
    if within.is_empty():
        raise ForeshockError(
            f"no threshold of the curve keeps to {per_day_per_10k:g} {word} a day per 10,000 GPUs",
            hint="measure the curve at higher thresholds, or allow more alarms",
        )
    row = _best(within, pl.col("recall"))
    return OperatingPoint(
        float(row["threshold"]), row,
        f"most recall ({_told(row['recall'])}) with at most {per_day_per_10k:g} {word} a day per 10,000 GPUs "
        f"(measured {row[rate]:.3g}), precision {_told(row['precision'])}",
    )  # fmt: skip


def by_cost(curve: pl.DataFrame, costs: Costs) -> OperatingPoint:
    """The least cost a day per 10,000 GPUs; the highest threshold among equals.

    Cost in GPU-hours: false alarms x false_drain + faults not caught x missed_fault - faults caught x saved_per_caught.
    Raises ForeshockError where raising no alarm at all costs less than, or as much as, every threshold.
    """
    recall = pl.col("recall").fill_null(0.0)
    faults = pl.col("faults_per_day_per_10k")
    cost = (
        pl.col("false_per_day_per_10k") * costs.false_drain
        + faults * (1 - recall) * costs.missed_fault
        - faults * recall * costs.saved_per_caught
    )
    priced = curve.with_columns(cost_gpu_h_per_day_per_10k=cost)
    silence = float(curve["faults_per_day_per_10k"][0]) * costs.missed_fault if curve.height else 0.0
    pays = priced.filter(pl.col("cost_gpu_h_per_day_per_10k") < silence)
    if pays.is_empty():
        raise ForeshockError(
            f"no threshold of the curve pays: no alarm at all costs {silence:.3g} GPU-hours a day per 10,000 GPUs",
            hint="leave this model off, or check the costs of a false drain and of a missed fault",
        )
    row = _best(pays, -pl.col("cost_gpu_h_per_day_per_10k"))
    return OperatingPoint(
        float(row["threshold"]), row,
        f"least cost: {row['cost_gpu_h_per_day_per_10k']:.3g} GPU-hours a day per 10,000 GPUs, without alarms "
        f"{silence:.3g} (false drain {costs.false_drain:g}, missed fault {costs.missed_fault:g}, saved per "
        f"caught fault {costs.saved_per_caught:g} GPU-hours); "
        f"precision {_told(row['precision'])}, recall {_told(row['recall'])}",
    )  # fmt: skip


def _best(curve: pl.DataFrame, merit: pl.Expr) -> dict[str, Any]:
    order = curve.sort(merit.fill_null(float("-inf")), pl.col("threshold"), descending=True)
    return order.row(0, named=True)


def _told(share: float | None) -> str:
    return "not defined" if share is None else f"{share:.3f}"
