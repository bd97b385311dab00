"""What the active model is and promises: everything its card holds, and plainly what it does not hold."""

from __future__ import annotations

from typing import Final

import polars as pl
import streamlit as st

from dashboard.colours import Theme
from dashboard.model.charts import operating_curve, precision_over_recall
from dashboard.model.evaluation import spoken
from dashboard.model.files import Card

NOT_EVIDENCE: Final = (
    "Learnt from and measured on a simulated fleet. These figures say how well it learnt the simulator; they are no "
    "evidence about real GPUs, and are not to be set beside figures of a real fleet."
)
_CARD_PAGE: Final = "docs/model-card-telemetry.md"
_SPAN: Final = "%Y-%m-%d %H:%M"


def draw(card: Card, theme: Theme) -> None:
    """Name, origin, figures at the operating point, facts, and the curve."""
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"`{card.model_id}`", width="content")
        st.badge("serves", color="green", icon=":material/bolt:")
        if card.synthetic:
            st.badge("synthetic", color="violet", icon=":material/science:", help=NOT_EVIDENCE)
        else:
            st.badge("measured on this site's data", color="blue")
    if card.synthetic:
        st.caption(NOT_EVIDENCE)
    _figures(card)
    left, right = st.columns([3, 2], gap="medium")
    with left:
        _curve(card, theme)
    with right:
        _facts(card)


def _figures(card: Card) -> None:
    origin = " (synthetic)" if card.synthetic else ""
    st.subheader(f"At the operating point{origin}", anchor=False)
    point = card.point
    lead_s = card.metric("median_lead_s")
    shown = {
        "precision": (_share(point.precision), "of the alarms, how many were right"),
        "recall": (_share(point.recall), "of all faults, how many were alarmed in time"),
        "recall of precursor faults": (
            _share(card.metric("recall_of_precursor")), "of the faults that announce themselves at all",
        ),
        "alarms/day/10k GPUs": (_rate(point.alarms_per_day_per_10k), "right and false ones"),
        "false alarms/day/10k GPUs": (_rate(card.metric("false_per_day_per_10k")), "alarms that no fault followed"),
        "median lead": ("not measured" if lead_s is None else _lead(lead_s), "from the alarm to the fault"),
    }  # fmt: skip
    with st.container(horizontal=True):
        for label, (value, meaning) in shown.items():
            st.metric(label, value, border=True, help=meaning)
    faults = card.metric("n_test_faults")
    on = "a number of faults that the card does not tell" if faults is None else f"{faults:.0f} faults"
    st.caption(
        f"An alarm is a risk of {point.threshold:.3g} or more. Measured on {on} of a test that nothing was learnt "
        f"or chosen on. The threshold was chosen on other days: {point.chosen_by or 'the card does not say how'}."
    )


def _curve(card: Card, theme: Theme) -> None:
    st.markdown("**What another threshold would do**")
    if not card.curve:
        st.caption("The card holds no curve.")
        return
    over_alarms, over_recall = st.tabs(["Over alarms per day", "Precision over recall"])
    with over_alarms:
        st.altair_chart(
            operating_curve(card.curve, card.point, theme), key="operating-curve",
            alt="Recall and precision against alarms per day and 10,000 GPUs; the table below has the same figures",
        )  # fmt: skip
    with over_recall:
        st.altair_chart(
            precision_over_recall(card.curve, card.point, theme), key="precision-recall",
            alt="Precision against recall; the table below has the same figures",
        )  # fmt: skip
    with st.expander("The curve as a table"):
        names = ("threshold", "precision", "recall", "alarms_per_day_per_10k")
        rows = [{name: getattr(p, name) for name in names} for p in card.curve]
        st.dataframe(pl.DataFrame(rows, infer_schema_length=None), hide_index=True, alt="The operating curve")


def _facts(card: Card) -> None:
    st.markdown("**What it is**")
    horizon = "unknown" if card.horizon_s is None else f"a fault within {card.horizon_s / 60:.0f} min"
    span = (
        "unknown" if card.data_from is None or card.data_until is None
        else f"{card.data_from:{_SPAN}} to {card.data_until:{_SPAN}} UTC"
    )  # fmt: skip
    facts = {
        "says": horizon,
        "trained": f"{card.created:{_SPAN}} UTC",
        "on": f"{card.dataset or 'unknown data'}{' (synthetic)' if card.synthetic else ''}, {span}",
        "from": f"{_count(card.n_rows)} GPU minutes, {_count(card.n_faults)} faults",
        "features": f"{len(card.feature_names)}, set {card.feature_set or 'unknown'}",
        "label": f"definition {card.label_digest or 'unknown'}",
        "ranking": f"average precision {_figure(card, 'ap')}, ROC-AUC {_figure(card, 'roc_auc')}, "
        f"base rate {_figure(card, 'base_rate')} a minute",
        "made with": ", ".join(f"{name} {version}" for name, version in card.versions.items()) or "unknown",
        "seed": "unknown" if card.seed is None else str(card.seed),
    }
    rows = pl.DataFrame({"fact": list(facts), "value": list(facts.values())})
    st.table(rows, border="horizontal", hide_index=True, hide_header=True, alt="What the model is")
    with st.expander("What counts as a fault"):
        _label(card)
    with st.expander("Its features"):
        st.caption(", ".join(card.feature_names) or "The card names none.")
    st.caption(f"How such a model is made and judged: `{_CARD_PAGE}` in Foreshock's documentation.")


def _label(card: Card) -> None:
    if not card.label:
        st.caption("The card does not hold the definition.")
    for name, value in card.label.items():
        if name == "classes":
            continue
        told = ", ".join(str(v) for v in value) if isinstance(value, list) else str(value)
        st.markdown(f"`{name}`: {told}")


def _figure(card: Card, name: str) -> str:
    found = card.metric(name)
    return "not measured" if found is None else f"{found:.3g}"


def _share(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.3f}"


def _rate(value: float | None) -> str:
    return "not measured" if value is None else spoken(value)


def _count(value: int | None) -> str:
    return "unknown many" if value is None else f"{value:,}"


def _lead(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
