from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from models import baselines, evaluate, metrics, proneness
from models.evaluate import dealt, split
from models.history import Floats, Rows, Trace, rows, target_faults

N_UNITS = 150


@pytest.fixture(scope="module")
def weak() -> Trace:
    """Synthetic: a tenth of the units fail every ten days or so, the others hardly ever."""
    rng = np.random.default_rng(1)
    names = [f"n{i:03}" for i in range(N_UNITS)]
    rate = np.where(np.arange(N_UNITS) < 15, 0.1, 0.0005)
    unit = np.repeat(np.arange(N_UNITS), rng.poisson(rate * 200))
    faults = pl.DataFrame({"unit": [names[u] for u in unit], "begin_day": rng.uniform(0, 200, len(unit))})
    faults = faults.with_columns(
        end_day=pl.col("begin_day") + 0.1, kind=pl.lit("gpu"), place=pl.lit(None, pl.String)
    ).sort("begin_day")
    lives = pl.DataFrame({"unit": names}).with_columns(begin_day=pl.lit(-1.0), end_day=pl.lit(float("inf")))
    return Trace("made", faults, lives, names, 200.0, 8, ("gpu",), ("gpu", "fan"))


def test_training_ends_a_whole_horizon_before_the_cut(weak: Trace) -> None:
    """The embargo: no training label reaches into the horizon before the cut, and no test day lies before it."""
    every = rows(weak, np.arange(30.0, 190.0), 7)
    train, test = split(every, 120.0, 7)
    assert (train.day + 7).max() <= 120 - 7
    assert train.day.max() == 106
    assert test.day.min() == 120


def test_validation_inside_the_training_keeps_the_embargo_too(
    weak: Trace, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[float, float]] = []

    def spy(train: Rows) -> baselines.Score:
        def score(judged: Rows) -> Floats:
            seen.append((float(train.day.max()), float(judged.day.min())))
            return np.zeros(len(judged.day))

        return score

    monkeypatch.setattr(proneness, "candidates", lambda _train: {"spy": spy})
    train, _ = split(rows(weak, np.arange(30.0, 190.0), 7), 150.0, 7)
    proneness.choose(train, 7)
    assert len(seen) == 3
    assert all(learnt + 2 * 7 <= judged for learnt, judged in seen)


def test_weak_units_are_found_and_shuffled_labels_give_chance(weak: Trace) -> None:
    train, test = split(rows(weak, np.arange(30.0, 190.0), 7), 120.0, 7)
    fit = proneness.self_exciting((30,))
    assert metrics.roc_auc(fit(train)(test), test.label) > 0.9
    rng = np.random.default_rng(2)
    score = fit(dealt(train, rng))(test)
    shuffled = [metrics.roc_auc(score, dealt(test, rng).label) for _ in range(30)]
    assert abs(np.mean(shuffled) - 0.5) < 0.05


def test_dealing_moves_whole_units(weak: Trace) -> None:
    every = rows(weak, np.arange(30.0, 60.0), 7)
    mixed = dealt(every, np.random.default_rng(2))
    assert not np.array_equal(mixed.label, every.label)
    runs = [np.sort(np.bincount(r.unit, weights=r.label, minlength=N_UNITS)) for r in (every, mixed)]
    assert np.abs(runs[0] - runs[1]).max() <= 2  # a row of a unit under repair is the only loss


def test_a_score_does_not_depend_on_who_is_scored_with_it(weak: Trace) -> None:
    """Ranks among the rows of a call would let later days into the score of an earlier one."""
    train, test = split(rows(weak, np.arange(30.0, 190.0), 7), 120.0, 7)
    today = test.day == 120
    for name, fit in proneness.CANDIDATES.items():
        scorer = fit(train)
        assert np.allclose(scorer(test)[today], scorer(test.take(today))), name


def test_trees_compete_only_where_there_are_faults_enough(weak: Trace) -> None:
    assert "trees" not in proneness.candidates(split(rows(weak, np.arange(30.0, 190.0), 7), 120.0, 7)[0])


def test_a_time_shuffled_history_would_not_pass_for_ours(weak: Trace) -> None:
    """A leak, shown: a scorer that knows the coming faults beats every honest one by far."""
    _, test = split(rows(weak, np.arange(30.0, 190.0), 7), 120.0, 7)
    unit, day = target_faults(weak)
    coming = np.array([((unit == u) & (day >= d) & (day < d + 7)).sum() for u, d in
                       zip(test.unit, test.day, strict=True)])  # fmt: skip
    assert metrics.pr_auc(coming.astype(np.float64), test.label) == 1.0


def test_the_node_trace_from_end_to_end(shared_data: Path, tmp_path: Path) -> None:
    out = io.StringIO()
    folder = shared_data / "infinitehbd_trace"
    assert evaluate.run("nodetrace", str(folder), out, as_json=True, directory=str(tmp_path)) == 0
    report = json.loads(out.getvalue())
    row = next(r for r in report["results"] if r["model"] == evaluate.OURS and r["horizon_days"] == 7)
    assert {"roc_auc", "pr_auc", "base_rate", "recall_at_budget", "top5_capture", "n_faults", "ci95"} <= set(
        row
    )
    assert {(r["horizon_days"], r["cut"]) for r in report["results"]} >= {
        (7, 150),
        (1, 150),
        (7, 200),
        (1, 200),
    }
    assert all(0.3 < c["roc_auc_mean"] < 0.7 for c in report["permuted_label_control"])
    card = (tmp_path / "model-card.md").read_text()
    assert "Recommended" in card
    assert "Real data only" in card


def test_agreement_ranks_a_unit_by_the_member_that_trusts_it_least() -> None:
    """In the top K of all members or not above; and a day's ranking is that day's own: no other day moves it."""

    def by(column: str) -> baselines.Fit:
        return lambda _train: lambda of: baselines.matrix(of, (column,))[:, 0]

    days, label = np.repeat([50.0, 51.0], 4), np.zeros(8, np.bool_)
    x = pl.DataFrame({"a": [9, 8, 1, 2, 900, 800, 100, 200], "b": [1, 8, 9, 2, 100, 800, 900, 200]})
    of = Rows(np.tile(np.arange(4), 2), days, x, label)
    score = baselines.agreement(by("a"), by("b"))(of)(of)
    assert score.tolist() == [0.25, 0.75, 0.25, 0.5] * 2
