"""What whoever scores does on this lake now: predictions, alarms per day, and which faults were foretold."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import polars as pl
import streamlit as st

from dashboard.colours import Theme
from dashboard.model import queries
from dashboard.model.charts import alarms_per_day, scored_by
from dashboard.origin import synthetic_badge
from pipeline.labels import DEFINITION

_ORIGINS: Final = ((False, "measured"), (True, "synthetic"))
_ENOUGH_GPU_DAYS: Final = 1_000
"""One alarm on less would read as ten and more a day per 10,000 GPUs."""


def draw(lake: str, active: str | None, theme: Theme) -> None:
    """Measured and simulated rows apart. Nothing is scored or judged anew here: these are the lake's own rows."""
    st.subheader("On this lake, now", anchor=False)
    scored, alarms, foretold = (
        queries.scored(lake), queries.alarms(lake), queries.foretold(lake),
    )  # fmt: skip
    if scored.is_empty() and alarms.is_empty() and foretold.is_empty():
        st.caption(
            f"The lake at `{lake}` has no predictions yet: `foreshock ingest` makes them, every minute."
        )
        return
    _other_scorer(scored, active)
    for synthetic, word in _ORIGINS:
        here = pl.col("synthetic") == synthetic
        parts = [frame.filter(here) for frame in (scored, alarms, foretold)]
        if not all(part.is_empty() for part in parts):
            _origin(parts, synthetic=synthetic, word=word, theme=theme)


def _other_scorer(scored: pl.DataFrame, active: str | None) -> None:
    """The worker takes a new model within a minute; whoever else scores in the newest hour is worth a look."""
    newest = scored.filter(pl.col("bucket") == pl.col("bucket").max())["model_id"].unique().sort().to_list()
    if active is not None and newest and active not in newest:
        st.warning(
            f"The newest predictions here are by `{', '.join(newest)}`, not by the active model. Does "
            "`foreshock ingest` run, with this `models.registry`? Its log says why it does not take the model."
        )


def _origin(parts: list[pl.DataFrame], *, synthetic: bool, word: str, theme: Theme) -> None:
    scored, alarms, foretold = parts
    if synthetic:
        synthetic_badge()
    for row in foretold.iter_rows(named=True):
        _foretold(row)
    left, right = st.columns(2, gap="medium")
    with left:
        st.markdown(f"**Who scored**, last {queries.SCORED_DAYS} days")
        _chart(scored, scored_by, theme, f"scored-{word}", "Predictions per hour and model")
    with right:
        st.markdown(f"**Alarms**, last {queries.ALARM_DAYS} days: {_per_10k(alarms)}")
        _chart(alarms, alarms_per_day, theme, f"alarms-{word}", "Incidents that a risk opened, per day")


def _chart(
    rows: pl.DataFrame, draw_it: Callable[[pl.DataFrame, Theme], Any], theme: Theme, key: str, alt: str
) -> None:
    if rows.is_empty():
        st.caption("None.")
    else:
        st.altair_chart(draw_it(rows, theme), key=key, alt=alt)


def _per_10k(alarms: pl.DataFrame) -> str:
    """Alarms over days and GPUs, in the unit of the card."""
    gpu_days = int(alarms["gpus"].sum())
    if not gpu_days:
        return "no GPU was heard"
    count = int(alarms["alarms"].sum())
    seen = f"{count:,} on {gpu_days:,} GPU-days begun"
    if gpu_days < _ENOUGH_GPU_DAYS:
        return f"{seen}, too few for a rate"
    return f"{seen}, {count / gpu_days * 10_000:.2g} a day per 10,000 GPUs"


def _foretold(row: dict[str, Any]) -> None:
    faults, told = row["faults"], row["foretold"]
    lead_s = row["lead_s"]
    shown = {
        "faults the watcher saw": f"{faults}",
        "of them foretold": f"{told}" + (f" ({told / faults:.0%})" if faults else ""),
        f"by {DEFINITION.min_lead_s / 60:.0f} min or more": f"{row['in_time']}",
        "median lead here": "none" if lead_s is None else f"{lead_s / 60:.0f} min",
        "alarms in vain": f"{row['in_vain']}",
        "alarms still open": f"{row['waiting']}",
    }
    with st.container(horizontal=True):
        for label, value in shown.items():
            st.metric(label, value, border=True)
    st.caption(
        "Counted from incidents: foretold is what a risk opened before the fault came. The watcher's level, not the "
        "card's threshold alone, decides what opens one, so do not read these as the card's precision and recall."
    )
