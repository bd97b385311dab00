"""Which rows a model learns from and which it is judged by: later time, and GPUs it has never seen.

Between the last row learnt from and the first one judged lies an embargo of the horizon and the longest window. The
horizon, because a label of the past may not be made of the judged time; the window, because a row's telemetry looks
back over it, and rows that share minutes are nearly the same row. The history of events looks back 90 days and needs
no embargo: what it counts are faults that were known at the decision, as they are in service. A fault that was some
row's label before the cut and is a judged row's history after it is no leak but the repeat offender, known by then.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import polars as pl

from collector.errors import ForeshockError
from pipeline.signals import LOOK_BACK_HOURS
from pipeline.training_set import uniform

WINDOW_S: Final = LOOK_BACK_HOURS * 3600
"""The longest window that a feature takes of telemetry."""
PARTS: Final = ("train", "test_seen_gpus", "test_unseen_gpus", "embargo")
_PART: Final = pl.Enum(PARTS)
_DECIDED: Final = timedelta(minutes=1)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Split:
    """`part` has one of PARTS per row; "embargo" is dropped. A mask per part, in the order of the rows."""

    part: pl.Series

    @property
    def train(self) -> pl.Series:
        """Decided at least the embargo before the cut, on nodes that are not held out."""
        return self.part == "train"

    @property
    def test_seen_gpus(self) -> pl.Series:
        """Decided from the cut on, on nodes that are not held out."""
        return self.part == "test_seen_gpus"

    @property
    def test_unseen_gpus(self) -> pl.Series:
        """Decided from the cut on, on held-out nodes: neither node nor GPU is in `train`."""
        return self.part == "test_unseen_gpus"


def split(
    rows: pl.DataFrame,
    *,
    cut: datetime,
    horizon_s: int,
    window_s: int = WINDOW_S,
    seed: int,
    held_out_share: float,
    until: datetime | None = None,
) -> Split:
    """Part of each row of `rows` (gpu_uuid, node, minute) by its decision time and its node.

    Neighbours share board, power and switch, so a node is held out as a whole: a share of `held_out_share` of the
    nodes, by a hash of (seed, node) and nothing else. Held-out nodes are not learnt from at any cut; a card that
    came to one from a node that was learnt from is not judged. Rows decided at `until` (UTC) or later are dropped:
    the end of this origin's test time. A node that came after the cut counts as seen if it is not held out.

    Raises ForeshockError for a share out of range.
    """
    if not 0 <= held_out_share <= 1:
        raise ForeshockError(
            f"split: held_out_share {held_out_share} is no share", hint="from 0 (none) to 1 (all)"
        )
    decision = pl.col("minute") + _DECIDED
    embargo = timedelta(seconds=horizon_s + window_s)
    past, later = decision <= cut - embargo, decision >= cut
    if until is not None:
        later &= decision < until
    hidden = pl.col("node").is_in(held_out(rows["node"], seed, held_out_share).implode())
    known = rows.filter(past, ~hidden)["gpu_uuid"].unique()
    part = (
        pl.when(past, ~hidden).then(pl.lit("train"))
        .when(later, ~hidden).then(pl.lit("test_seen_gpus"))
        .when(later, hidden, ~pl.col("gpu_uuid").is_in(known.implode())).then(pl.lit("test_unseen_gpus"))
        .otherwise(pl.lit("embargo"))
    )  # fmt: skip
    return Split(rows.select(part.cast(_PART).alias("part")).to_series())


def origins(begin: datetime, end: datetime, *, test_s: int) -> list[tuple[datetime, datetime]]:
    """Rolling origins: (cut, until) of test times of `test_s` one after the other, the first cut at `begin`.

    All that lies before a cut is learnt from. The last test time ends at `end` or before.
    """
    count = int((end - begin).total_seconds()) // test_s
    step = timedelta(seconds=test_s)
    return [(begin + i * step, begin + (i + 1) * step) for i in range(count)]


def refuse_leaks(
    train: pl.DataFrame,
    test: pl.DataFrame,
    *,
    horizon_s: int,
    window_s: int = WINDOW_S,
    unseen_gpus: bool = True,
) -> None:
    """Raises ForeshockError where `test` is not new to a model that learnt `train` (gpu_uuid, node, minute of both).

    With `unseen_gpus` no GPU and no node may be in both. Always: no label of `train` reaches into the time of
    `test`, and no window of `test` into the time that `train` or its labels are made of.
    """
    if train.is_empty() or test.is_empty():
        return
    if unseen_gpus:
        for name in ("node", "gpu_uuid"):
            _refuse_shared(train, test, name)
    learnt, judged = train["minute"].max(), test["minute"].min()
    assert isinstance(learnt, datetime)
    assert isinstance(judged, datetime)
    apart_s = (judged - learnt).total_seconds()
    said = f"split: the last row learnt from is {apart_s:.0f} s before the first one judged"
    hint = f"leave an embargo of {horizon_s} s + {window_s} s between them (models.split.split does)"
    if apart_s < horizon_s:
        raise ForeshockError(f"{said}: its label, of {horizon_s} s, reaches into the test", hint=hint)
    if apart_s < horizon_s + window_s:
        raise ForeshockError(f"{said}: the embargo is short, their windows share telemetry", hint=hint)


def _refuse_shared(train: pl.DataFrame, test: pl.DataFrame, name: str) -> None:
    shared = sorted(set(train[name].unique()) & set(test[name].unique()))
    if shared:
        raise ForeshockError(
            f"split: {len(shared)} {name} of the unseen test are also learnt from, e.g. {shared[0]}",
            hint="hold out whole nodes (models.split.split does), or judge these rows as seen GPUs",
        )


def held_out(node: pl.Series, seed: int, share: float) -> pl.Series:
    """The names in `node` that nothing is learnt from, by the hash that the training set's sample is drawn with.

    The same on every machine and with every version.
    """
    nodes = node.unique().drop_nulls()
    drawn = uniform(nodes, pl.Series([_EPOCH]).new_from_index(0, nodes.len()), seed)
    return nodes.filter(pl.Series(drawn < share))
