"""The outages of real nodes, from a fault trace: when each was out, whatever for, and what that says of a fleet."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import polars as pl

from alerting.waste import DAY_S
from effective_time.faults import Faults
from effective_time.rates import Rates
from models.calibrate import Bools
from models.history import Trace
from pipeline.signals import Floats, Ints


@dataclass(frozen=True, slots=True)
class Outages:
    """In order of their begin, days since the trace's day 0; `end_day` is inf where it is open. Arrays [n].

    `of_gpu`: the fault that began it is of a class to predict (GPU). `unit` is the place in the trace's `units`.
    """

    n_units: int
    gpus_per_unit: int
    until_day: float
    unit: Ints
    begin_day: Floats
    end_day: Floats
    of_gpu: Bools


@dataclass(frozen=True, slots=True)
class Fleet:
    """What was measured in [since, until), days. A repair that is not over counts as longer than any."""

    since_day: float
    until_day: float
    outages: int
    of_gpu: int
    moments: int
    """Distinct times at which one or more nodes went out: a job on all nodes stops once each."""
    node_mtbf_days: float
    repair_median_s: float
    repair_p90_s: float
    most_away: int


def outages(trace: Trace) -> Outages:
    """Faults of a unit that is out already prolong that outage and are none of their own."""
    index = pl.DataFrame({"unit": trace.units}).with_row_index("_unit")
    faults = trace.faults.join(index, on="unit").select(
        pl.col("_unit").cast(pl.Int64), "begin_day", pl.col("end_day").fill_null(math.inf),
        target=pl.col("kind").is_in(trace.targets),
    ).sort("_unit", "begin_day")  # fmt: skip
    out_until = pl.col("end_day").cum_max().shift().over("_unit")
    new = (pl.col("begin_day") > out_until).fill_null(value=True)
    first = pl.col("begin_day") == pl.col("begin_day").min()
    merged = (
        faults.with_columns(outage=new.cum_sum())
        .group_by("outage")
        .agg(
            pl.col("_unit", "begin_day").first(), pl.col("end_day").max(),
            of_gpu=pl.col("target").filter(first).any(),
        )
        .sort("begin_day", "_unit")
    )  # fmt: skip
    columns = (merged[c].to_numpy() for c in ("_unit", "begin_day", "end_day", "of_gpu"))
    return Outages(len(trace.units), trace.gpus_per_unit, trace.end_day, *columns)


def faults(of: Outages, since_day: float, until_day: float, place: Ints, seed: int) -> Faults:
    """What befalls the nodes in [since, until): unit u is node `place[u]`. The seed draws each fault's luck.

    An outage that began before is one from the first moment on, and no predictor's; one that is open lasts for ever.
    """
    here = (of.begin_day < until_day) & (of.end_day > since_day)
    begin_day = np.maximum(of.begin_day[here], since_day)
    new = of.begin_day[here] >= since_day
    luck = np.random.default_rng([seed, 3]).random(int(here.sum()))
    return Faults(
        of.n_units, (until_day - since_day) * DAY_S, (begin_day - since_day) * DAY_S, place[of.unit[here]],
        (of.end_day[here] - begin_day) * DAY_S, of.of_gpu[here] & new, luck,
    )  # fmt: skip


def placed(of: Outages, since_day: float, seed: int) -> Ints:
    """Node number of each unit: drawn, those that are out at the start last, where the spare ones are."""
    drawn = np.random.default_rng([seed, 4]).permutation(of.n_units)
    out = np.zeros(of.n_units, np.bool_)
    out[of.unit[(of.begin_day < since_day) & (of.end_day > since_day)]] = True
    place = np.empty(of.n_units, np.int64)
    place[drawn[np.argsort(out[drawn], kind="stable")]] = np.arange(of.n_units)
    return place


def measured(of: Outages, since_day: float, until_day: float) -> Fleet:
    """The figures of [since, until): outages that began then. inf or NaN where there were none."""
    began = (of.begin_day >= since_day) & (of.begin_day < until_day)
    lasts, away = _away(of, since_day, until_day)
    n = int(began.sum())
    repair_s = (of.end_day[began] - of.begin_day[began]) * DAY_S
    median_s, p90_s = np.quantile(repair_s, [0.5, 0.9], method="higher") if n else (math.nan, math.nan)
    return Fleet(
        since_day, until_day, n, int(of.of_gpu[began].sum()), len(np.unique(of.begin_day[began])),
        of.n_units * (until_day - since_day) / n if n else math.inf, float(median_s), float(p90_s),
        int(away[lasts > 0.0].max()),
    )  # fmt: skip


def rates(fleet: Fleet, of: Outages) -> Rates:
    """How often a job was stopped there, per GPU and day; `ValueError` where nothing happened."""
    gpu_days = of.n_units * of.gpus_per_unit * (fleet.until_day - fleet.since_day)
    source = (
        f"measured: {fleet.moments} moments with outages on days {fleet.since_day:g} to {fleet.until_day:g}"
    )
    return Rates("measured", fleet.moments / gpu_days, fleet.of_gpu / max(fleet.outages, 1), source)


def share_short(of: Outages, since_day: float, until_day: float, spare: int) -> float:
    """Share of the time with more than `spare` nodes out: a job that wants all the others waits then."""
    lasts, away = _away(of, since_day, until_day)
    return float(lasts[away > spare].sum() / (until_day - since_day))


def _away(of: Outages, since_day: float, until_day: float) -> tuple[Floats, Ints]:
    """(days, nodes out) of each stretch between two changes."""
    at = np.concatenate([[since_day, until_day], of.begin_day, of.end_day]).clip(since_day, until_day)
    change = np.repeat([0, 1, -1], [2, len(of.unit), len(of.unit)])
    order = np.argsort(at, kind="stable")
    out: Ints = change[order].cumsum()[:-1]
    return np.diff(at[order]), out
