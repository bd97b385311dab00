"""Time and nodes decide, nothing else; what does not keep the rules is refused."""

from __future__ import annotations

from datetime import timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.errors import ForeshockError
from models.split import PARTS, WINDOW_S, Split, origins, refuse_leaks, split
from pipeline.tables import TIME
from tests.pipeline.samples import START

MINUTE = timedelta(minutes=1)
CUT = START + timedelta(days=5)
SCHEMA = {"gpu_uuid": pl.String(), "node": pl.String(), "minute": TIME}


def fleet(nodes: int = 40, days: int = 10, every_h: int = 6) -> pl.DataFrame:
    rows = [
        (f"GPU-{n}-{g}", f"n{n}", START + timedelta(hours=h))
        for n in range(nodes) for g in range(2) for h in range(0, days * 24, every_h)
    ]  # fmt: skip
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def divided(
    rows: pl.DataFrame, *, horizon_s: int = 3600, window_s: int = WINDOW_S, share: float = 0.3
) -> Split:
    return split(rows, cut=CUT, horizon_s=horizon_s, window_s=window_s, seed=1, held_out_share=share)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 999), st.floats(0, 1), st.sampled_from([600, 3600, 86_400]), st.sampled_from([3600, WINDOW_S]),
    st.integers(0, 12 * 1440),
)  # fmt: skip
def test_what_split_gives_is_never_refused_and_nothing_is_lost(
    seed: int, share: float, horizon_s: int, window_s: int, cut: int
):
    rows = fleet(12)
    at = START + cut * MINUTE
    found = split(rows, cut=at, horizon_s=horizon_s, window_s=window_s, seed=seed, held_out_share=share)
    train = rows.filter(found.train)
    seen, unseen = rows.filter(found.test_seen_gpus), rows.filter(found.test_unseen_gpus)
    refuse_leaks(train, unseen, horizon_s=horizon_s, window_s=window_s)
    refuse_leaks(train, seen, horizon_s=horizon_s, window_s=window_s, unseen_gpus=False)
    assert set(found.part.unique()) <= set(PARTS)
    after = rows.filter(pl.col("minute") + MINUTE >= at).height
    assert seen.height + unseen.height == after, "all that is decided from the cut on is judged"
    assert (train["minute"] + MINUTE <= at - timedelta(seconds=horizon_s + window_s)).all()


def test_a_node_is_held_out_as_a_whole_and_for_good():
    rows = fleet()
    one, other = (
        divided(rows),
        split(rows, cut=CUT + timedelta(days=2), horizon_s=60, seed=1, held_out_share=0.3),
    )
    held = set(rows.filter(one.test_unseen_gpus)["node"])
    assert held == set(rows.filter(other.test_unseen_gpus)["node"])
    assert held.isdisjoint(rows.filter(one.train)["node"])
    assert 5 <= len(held) <= 19, "about 12 of 40"
    assert rows.filter(one.test_unseen_gpus, pl.col("node").is_in(held)).n_unique("gpu_uuid") == 2 * len(held)


def test_which_nodes_are_held_out_depends_on_the_seed_and_the_name_alone():
    rows = fleet()
    held = sorted(set(rows.filter(divided(rows).test_unseen_gpus)["node"]))
    assert held[:4] == ["n11", "n16", "n18", "n20"], "on every machine"
    few = rows.filter(pl.col("node").is_in(held[:1])).sample(fraction=1, shuffle=True, seed=3)
    assert divided(few).test_unseen_gpus.any()
    again = split(rows, cut=CUT, horizon_s=3600, seed=2, held_out_share=0.3)
    assert sorted(set(rows.filter(again.test_unseen_gpus)["node"])) != held


def test_a_card_that_moved_to_a_held_out_node_is_not_unseen():
    rows = fleet()
    found = divided(rows)
    held = rows.filter(found.test_unseen_gpus)["node"][0]
    card = rows.filter(found.train)["gpu_uuid"][0]
    moved = rows.with_columns(
        pl.when(pl.col("gpu_uuid") == card, pl.col("minute") > CUT)
        .then(pl.lit(held))
        .otherwise("node")
        .alias("node")
    )
    parts = moved.with_columns(divided(moved).part).filter(pl.col("gpu_uuid") == card, pl.col("minute") > CUT)
    assert parts["part"].unique().to_list() == ["embargo"]
    refuse_leaks(
        moved.filter(divided(moved).train), moved.filter(divided(moved).test_unseen_gpus), horizon_s=3600
    )


def test_the_cut_is_of_decisions_and_the_embargo_is_horizon_and_window():
    at = [CUT - timedelta(hours=25) + i * MINUTE for i in (-2, -1, 0)] + [
        CUT + i * MINUTE for i in (-2, -1, 0)
    ]
    rows = pl.DataFrame([("GPU", "n", m) for m in at], schema=SCHEMA, orient="row")
    parts = divided(rows, share=0.0).part.to_list()
    assert parts == ["train", "train", "embargo", "embargo", "test_seen_gpus", "test_seen_gpus"]


def test_an_origin_ends_where_the_next_begins():
    cuts = origins(CUT, CUT + timedelta(days=3, hours=5), test_s=86_400)
    assert cuts == [(CUT + timedelta(days=i), CUT + timedelta(days=i + 1)) for i in range(3)]
    rows = fleet()
    judged = [
        rows.filter(split(rows, cut=c, until=u, horizon_s=60, seed=1, held_out_share=0.0).test_seen_gpus)
        for c, u in cuts
    ]
    together = pl.concat(judged)
    whole = rows.filter(pl.col("minute") + MINUTE >= CUT, pl.col("minute") + MINUTE < cuts[-1][1])
    assert together.n_unique() == together.height == whole.height, "each row once"
    assert all(
        part.filter(pl.col("minute") + MINUTE < c).is_empty()
        for part, (c, _) in zip(judged, cuts, strict=True)
    )


def test_a_leak_is_refused_with_what_to_do():
    rows = fleet()
    found = divided(rows)
    train, unseen = rows.filter(found.train), rows.filter(found.test_unseen_gpus)
    seen = rows.filter(found.test_seen_gpus)
    with pytest.raises(ForeshockError, match="node of the unseen test") as caught:
        refuse_leaks(train, seen, horizon_s=3600)
    assert "whole nodes" in caught.value.hint
    with pytest.raises(ForeshockError, match="gpu_uuid of the unseen test"):
        refuse_leaks(train, unseen.with_columns(gpu_uuid=pl.lit(train["gpu_uuid"][0])), horizon_s=3600)
    near = unseen.with_columns(pl.lit(train["minute"].max()).alias("minute"))
    for after_s, said in ((0, "reaches into"), (3540, "reaches into"), (3600, "embargo is short")):
        with pytest.raises(ForeshockError, match=said):
            refuse_leaks(
                train, near.with_columns(pl.col("minute") + timedelta(seconds=after_s)), horizon_s=3600
            )
    enough = near.with_columns(pl.col("minute") + timedelta(seconds=3600 + WINDOW_S))
    refuse_leaks(train, enough, horizon_s=3600)


def test_nothing_to_learn_from_is_no_leak_and_a_share_is_a_share():
    rows = fleet()
    assert divided(rows.clear()).part.is_empty()
    refuse_leaks(rows.clear(), rows, horizon_s=3600)
    with pytest.raises(ForeshockError, match="no share"):
        divided(rows, share=1.5)
