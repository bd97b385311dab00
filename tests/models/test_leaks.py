"""Three leaks, each introduced on purpose: the check passes on our code and fails on the sabotaged one.

A future column in the features, a split that tears GPUs of one node apart, a missing embargo. The checks look at what
comes out, not at how it is made: whoever changes the code in such a way is told here.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import cache

import polars as pl
import pytest

from collector.errors import ForeshockError
from models.split import WINDOW_S, refuse_leaks, split
from pipeline.event_history import is_a_fault
from pipeline.features import INPUTS, KEYS, NAMES, features
from pipeline.labels import FAULTS, label
from pipeline.training_set import uniform
from tests.pipeline.random_lakes import random_events, random_rollups
from tests.pipeline.samples import START

MINUTE = timedelta(minutes=1)
Features = Callable[[pl.DataFrame, pl.DataFrame], pl.DataFrame]
Rows = pl.DataFrame
HORIZON_S = 3600


# --- (a) a future column

NOW = START + 70 * MINUTE
LATER = pl.col("minute") > NOW
COMING = pl.col("time") >= NOW + MINUTE  # a row of this minute is decided at its end


@cache
def lake() -> tuple[Rows, Rows]:
    return random_rollups(3, range(75), missing=0.0), random_events(3, 0, 75, count=1500)


def without_the_future() -> tuple[Rows, Rows]:
    rollups, events = lake()
    return rollups.filter(~LATER), events.filter(~COMING)


def with_another_future() -> tuple[Rows, Rows]:
    rollups, events = lake()
    other = random_rollups(4, range(75), missing=0.0).filter(LATER)
    named = pl.format("other {}", "fingerprint").alias("fingerprint")
    others = random_events(5, 0, 75, count=1500).with_columns(named)
    return pl.concat([rollups.filter(~LATER), other]), pl.concat(
        [events.filter(~COMING), others.filter(COMING)]
    )


def columns_that_know_the_future(made: Features, names: tuple[str, ...] = NAMES) -> set[str]:
    """Those whose values of rows up to NOW change when what comes after is taken away, or comes otherwise."""
    was = made(*lake()).filter(~LATER).sort("gpu_uuid", "minute")
    caught: set[str] = set()
    for changed in (without_the_future(), with_another_future()):
        now = made(*changed).filter(~LATER).sort("gpu_uuid", "minute")
        assert now.select("gpu_uuid", "minute").equals(was.select("gpu_uuid", "minute"))
        caught |= {n for n in names if not now[n].equals(was[n], null_equal=True)}
    return caught


def looking_ahead(name: str, made: Features = features) -> Features:
    """The sabotage: `name` is what it will be one minute later."""

    def ahead(rollups: Rows, events: Rows) -> Rows:
        matrix = made(rollups, events).sort("gpu_uuid", "minute")
        return matrix.with_columns(pl.col(name).shift(-1).over("gpu_uuid"))

    return ahead


def test_no_feature_knows_the_future():
    assert columns_that_know_the_future(features) == set()


def test_the_data_of_this_check_could_show_it():
    """Every feature is known in the minute after NOW, and its inputs and events differ in the other future."""
    (rollups, events), (other, others) = lake(), with_another_future()
    next_minute = features(rollups, events).filter(pl.col("minute") == NOW + MINUTE)
    assert [n for n in NAMES if next_minute[n].null_count() == next_minute.height] == []
    assert all(not other.filter(LATER)[c].equals(rollups.filter(LATER)[c]) for c in INPUTS)
    in_it = pl.col("time").is_between(NOW + MINUTE, NOW + 2 * MINUTE, closed="left")
    for known in (events, others):
        assert known.filter(in_it, is_a_fault()).height > 0, "who looks one minute too far must see one"


@pytest.mark.parametrize("name", NAMES)
def test_a_feature_that_looks_one_minute_ahead_is_caught(name: str):
    assert columns_that_know_the_future(looking_ahead(name)) == {name}


def test_an_event_that_is_known_before_it_happens_is_caught():
    def early(rollups: Rows, events: Rows) -> Rows:
        return features(rollups, events.with_columns(pl.col("time") - MINUTE))

    assert columns_that_know_the_future(early) >= {"fault_events_24h", "hours_since_fault"}


# --- (b) a split that tears the GPUs of one node, or the rows of one GPU, apart

CUT = START + timedelta(days=2)
END = START + timedelta(days=3)


@cache
def rollups() -> Rows:
    return random_rollups(7, range(0, 3 * 1440, 20), nodes=8, missing=0.0)


def divided(horizon_s: int = HORIZON_S, window_s: int = WINDOW_S) -> pl.Series:
    rows = rollups()
    return split(rows, cut=CUT, horizon_s=horizon_s, window_s=window_s, seed=1, held_out_share=0.4).part


def unseen_by(names: pl.Series, minutes: pl.Series) -> pl.Series:
    """The sabotage: the parts in time as they are, but who is unseen is drawn by another name than the node's."""
    drawn = pl.Series(uniform(names, minutes, 1)) < 0.4
    decision = pl.col("minute") + MINUTE
    past, later = decision <= CUT - timedelta(seconds=HORIZON_S + WINDOW_S), decision >= CUT
    chosen = (
        pl.when(past, ~pl.col("drawn"))
        .then(pl.lit("train"))
        .when(later, "drawn")
        .then(pl.lit("test_unseen_gpus"))
    )
    return rollups().with_columns(drawn.alias("drawn")).select(chosen.alias("part")).to_series()


def refuse(part: pl.Series) -> None:
    """The check as an evaluation makes it."""
    rows = rollups().select(KEYS)
    train, unseen = rows.filter(part == "train"), rows.filter(part == "test_unseen_gpus")
    assert train.height > 100
    assert unseen.height > 100
    refuse_leaks(train, unseen, horizon_s=HORIZON_S)


def test_our_split_keeps_nodes_whole():
    refuse(divided())


def test_a_split_by_gpu_instead_of_by_node_is_caught():
    same = pl.Series([START]).new_from_index(0, rollups().height)
    with pytest.raises(ForeshockError, match="node of the unseen test are also learnt from"):
        refuse(unseen_by(rollups()["gpu_uuid"], same))


def test_a_split_by_row_is_caught():
    with pytest.raises(ForeshockError, match="of the unseen test are also learnt from"):
        refuse(unseen_by(rollups()["gpu_uuid"], rollups()["minute"]))


# --- (c) a missing embargo


@cache
def faults() -> Rows:
    """Every second GPU fails ten minutes after the cut, every other one a day before it."""
    cards = rollups().select("node", "gpu_uuid", "pci_bdf").unique().sort("gpu_uuid").with_row_index("i")
    times = (
        pl.when(pl.col("i") % 2 == 0)
        .then(pl.lit(CUT + 10 * MINUTE))
        .otherwise(pl.lit(CUT - timedelta(hours=26)))
    )
    named = cards.select(times.alias("time"), "node", "gpu_uuid", "pci_bdf")
    return pl.concat([pl.DataFrame(schema=FAULTS), named], how="diagonal_relaxed").cast(FAULTS).sort("time")


def labels_made_of_the_test(part: pl.Series) -> int:
    """Rows learnt from whose label is another one where the faults from the cut on are taken away."""
    rows, past = rollups().select(KEYS), faults().filter(pl.col("time") < CUT)
    whole = label(rows, faults(), horizon_s=HORIZON_S, until=END)
    known = label(rows, past, horizon_s=HORIZON_S, until=END)
    assert whole.sum() > known.sum() > 0
    return int((~whole.eq_missing(known) & (part == "train")).sum())


def rows_that_share_telemetry(part: pl.Series) -> int:
    """Judged rows whose features are others where the telemetry learnt from comes otherwise."""
    other = random_rollups(8, range(0, 3 * 1440, 20), nodes=8, missing=0.0)
    train = rollups().filter(part == "train").select("gpu_uuid", "minute")
    key = ["gpu_uuid", "minute"]
    changed = pl.concat([rollups().join(train, on=key, how="anti"), other.join(train, on=key, how="semi")])
    judged = rollups().filter(part.cast(pl.String).str.starts_with("test")).select(key)
    was, now = (
        judged.join(features(r, random_events(7, 0, 4320)), on=key).sort(key) for r in (rollups(), changed)
    )
    assert was.height == now.height == judged.height > 100
    differs = pl.any_horizontal(pl.col(n).ne_missing(pl.col(f"{n}_now")) for n in NAMES)
    return was.hstack(now.select(pl.col(n).alias(f"{n}_now") for n in NAMES)).filter(differs).height


def test_with_our_embargo_the_past_knows_no_label_of_the_test_and_shares_no_telemetry_with_it():
    assert labels_made_of_the_test(divided()) == 0
    assert rows_that_share_telemetry(divided()) == 0
    refuse(divided())


def test_no_embargo_is_caught():
    none = divided(horizon_s=0, window_s=0)
    assert labels_made_of_the_test(none) > 0
    assert rows_that_share_telemetry(none) > 0
    with pytest.raises(ForeshockError, match="reaches into the test"):
        refuse(none)


def test_an_embargo_of_the_horizon_alone_is_caught():
    short = divided(window_s=0)
    assert labels_made_of_the_test(short) == 0
    assert rows_that_share_telemetry(short) > 0
    with pytest.raises(ForeshockError, match="embargo is short"):
        refuse(short)


def test_an_embargo_of_the_window_alone_is_short_by_the_horizon():
    with pytest.raises(ForeshockError, match="embargo is short"):
        refuse(divided(horizon_s=0))
