from __future__ import annotations

import math

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.rules import RULES, Rule, RuleScorer
from pipeline.features import NAMES
from pipeline.tables import REASON


def matrix(*rows: dict[str, float]) -> pl.DataFrame:
    return pl.DataFrame(
        [{n: r.get(n) for n in NAMES} for r in rows], schema=dict.fromkeys(NAMES, pl.Float64())
    )


def meant(rule: Rule, value: float | None) -> float:
    (x0, p0), (x1, p1) = rule.low, rule.high
    if value is None or value < x0:
        return 0.0
    if x0 == x1:
        return p1
    share = (math.log(value) - math.log(x0)) / (math.log(x1) - math.log(x0))
    return p0 + (p1 - p0) * min(max(share, 0.0), 1.0)


ROWS = st.lists(
    st.dictionaries(st.sampled_from([r.feature for r in RULES]), st.floats(-10, 1e6), max_size=4), max_size=8
)


@settings(deadline=None)
@given(ROWS)
def test_risk_is_the_noisy_or_of_the_rules_and_shares_are_their_evidence(rows):
    scored = RuleScorer().score(matrix(*rows))
    assert scored.schema == pl.Schema({"risk": pl.Float64(), "reasons": pl.List(REASON)})
    assert scored.height == len(rows)
    for row, (risk, reasons) in zip(rows, scored.iter_rows(), strict=True):
        spoke = {r.feature: p for r in RULES if (p := meant(r, row.get(r.feature))) > 0}
        assert risk == pytest.approx(1 - math.prod(1 - p for p in spoke.values()))
        assert {r["feature"] for r in reasons} == set(spoke)
        assert sum(r["share"] for r in reasons) == pytest.approx(1 if spoke else 0)
        assert [r["share"] for r in reasons] == sorted((r["share"] for r in reasons), reverse=True)
        for r in reasons:
            assert r["value"] == row[r["feature"]]
            assert r["text"]
            assert r["healthy"]


def test_what_is_unknown_says_nothing():
    scored = RuleScorer().score(matrix({}, {n: float("nan") for n in NAMES}, dict.fromkeys(NAMES, 0.0)))
    assert scored["risk"].to_list() == [0, 0, 0]
    assert scored["reasons"].to_list() == [[], [], []]


def test_every_rule_is_about_a_feature_and_rises():
    assert {r.feature for r in RULES} <= set(NAMES)
    assert all(r.low[0] > 0 and r.low <= r.high and 0 < r.low[1] <= r.high[1] < 1 for r in RULES)
    assert all(r.healthy and r.text and r.source for r in RULES)
