"""What the active model's evaluation measured beside its card: intervals, baselines, classes, leads, calibration."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import polars as pl
import streamlit as st

from dashboard.colours import Theme
from dashboard.model import evaluation as model_evaluation
from dashboard.model.charts import calibration, recall_of
from dashboard.model.evaluation import Evaluation, Row, Test, compared, number, spoken, with_interval
from dashboard.model.files import Card

_FIGURES: Final = {
    "precision": "precision", "recall": "recall", "recall_of_precursor": "recall of precursor faults",
    "false_per_day_per_10k": "false alarms/day/10k GPUs",
}  # fmt: skip
_PART: Final = {"part": pl.String, "n": pl.Int64, "recall": pl.Float64, "low": pl.Float64, "high": pl.Float64}


def draw(folder: Path, card: Card, theme: Theme) -> None:
    """One test of the evaluation, chosen by name. Raises ForeshockError where the file is another model's."""
    st.subheader("How it was measured" + (" (synthetic)" if card.synthetic else ""), anchor=False)
    evaluation = model_evaluation.read(folder, card)
    if evaluation is None or not evaluation.tests:
        _absent(folder)
        return
    names = [t.test for t in evaluation.tests]
    chosen = st.selectbox("Test", names, index=len(names) - 1, key="test", bind="query-params")
    test = next(t for t in evaluation.tests if t.test == chosen)
    _intervals(test)
    _baselines(evaluation, test, card)
    left, right = st.columns(2, gap="medium")
    with left:
        _parts(test, theme)
        _leads(test)
    with right:
        _calibration(test, theme)


def _absent(folder: Path) -> None:
    st.caption(
        "The card holds no intervals, no baselines, no classes, no first against repeat, no lead times and no "
        "calibration. They are in the evaluation.json that `foreshock evaluate --save --out DIR` writes with the "
        f"model; put it into `{folder}` and they stand here."
    )


def _intervals(test: Test) -> None:
    rows = []
    for name, title in _FIGURES.items():
        value, bounds = number(test.at_operating_point.get(name)), test.interval(name)
        rows.append({
            "figure": title, "value": "not measured" if value is None else spoken(value),
            "95 % interval": "not measured" if bounds is None else f"{spoken(bounds[0])} to {spoken(bounds[1])}",
        })  # fmt: skip
    faults = number(test.at_operating_point.get("faults"))
    st.markdown(
        f"**At the operating point**, on {'unknown many' if faults is None else f'{faults:.0f}'} faults"
    )
    st.table(pl.DataFrame(rows), border="horizontal", hide_index=True, alt="Figures with their intervals")


def _baselines(evaluation: Evaluation, test: Test, card: Card) -> None:
    rows = compared(evaluation, test.test, card.horizon_s or 0)
    st.markdown("**Beside its baselines**, on the same test")
    if not rows:
        st.caption("The evaluation compares nothing at this model's horizon.")
        return
    shown = [
        {"model": str(row.get("model")), "average precision (95 %)": with_interval(row, "pr_auc"),
         "ROC-AUC (95 %)": with_interval(row, "roc_auc"), "recall at 1 alarm/day/10k (95 %)": _at_one(row)}
        for row in rows
    ]  # fmt: skip
    st.table(pl.DataFrame(shown), border="horizontal", hide_index=True, alt="Our model and its baselines")
    for told in evaluation.verdicts:
        if (
            told.get("test") == test.test
            and round((number(told.get("horizon_days")) or 0) * 86_400) == card.horizon_s
        ):
            word = (told.get("pr_auc") or {}).get("verdict", "not compared")
            st.caption(f"Against the best of them, {told.get('best_baseline')}: {word} on average precision.")


def _at_one(row: Row) -> str:
    """The report keys the budgets by their text, `1.0` for one alarm."""
    flat = {"recall": (row.get("recall_at_budget") or {}).get("1.0"),
            "ci95": {"recall": ((row.get("ci95") or {}).get("recall_at_budget") or {}).get("1.0")}}  # fmt: skip
    return with_interval(flat, "recall")


def _parts(test: Test, theme: Theme) -> None:
    st.markdown("**Recall by class, and first against repeat**")
    parts = [(str(row.get("class")), row) for row in test.by_class]
    parts += [("repeat fault" if row.get("repeat") else "first fault", row) for row in test.first_and_repeat]
    rows = [{"part": name, **{f: row.get(f) for f in ("n", "recall", "low", "high")}} for name, row in parts]
    if not rows:
        st.caption("No faults of this test are told apart.")
        return
    frame = pl.DataFrame(rows, schema=_PART)
    st.altair_chart(
        recall_of(frame, theme), key="recall-by-part", alt="Recall by class of fault, with intervals"
    )
    with st.expander("As a table"):
        st.dataframe(frame, hide_index=True, alt="Recall by class of fault, with intervals")


def _leads(test: Test) -> None:
    st.markdown("**How long before the fault**")
    rows = [(number(r.get("quantile")), number(r.get("lead_s"))) for r in test.lead_times]
    known = [(q, lead_s) for q, lead_s in rows if q is not None and lead_s is not None]
    if not known:
        st.caption("No fault of this test was alarmed.")
        return
    shown = pl.DataFrame({
        "of the alarmed faults": [f"{1 - q:.0%}" for q, _ in known],
        "had at least": [f"{lead_s / 60:,.0f} min" for _, lead_s in known],
    })  # fmt: skip
    st.table(shown, border="horizontal", hide_index=True, alt="Lead times of the alarmed faults")


def _calibration(test: Test, theme: Theme) -> None:
    st.markdown("**Is a risk of 0.1 a risk of 0.1?**")
    if not test.calibration:
        st.caption("Calibration was not measured.")
        return
    frame = pl.DataFrame(list(test.calibration), infer_schema_length=None)
    st.altair_chart(
        calibration(frame, theme), key="calibration", alt="Share that failed against the risk that was said"
    )
    error = test.expected_calibration_error
    told = "" if error is None else f" Mean distance {error:.1e}."
    hidden = frame.filter(pl.col("rate") == 0).height
    st.caption(f"On the dashed line every risk is true.{told} {hidden} bins without any fault are not drawn.")
