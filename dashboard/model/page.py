"""The model page: what serves, what it was measured to do, what it does on this lake, and what came before it."""

from __future__ import annotations

import polars as pl
import streamlit as st

from collector.config import Config
from dashboard import notices
from dashboard.colours import Theme
from dashboard.model import drift, files, measured, now, promise
from dashboard.model.files import Card, Registry


def page(config: Config) -> None:
    """Draw the page. The files of the registry are small, and read anew each time."""
    st.title("Model", anchor=False)
    theme: Theme = "dark" if st.context.theme.type == "dark" else "light"
    with notices.instead_of_tracebacks():
        registry = files.read(config.models.registry)
        card = _serving(config, registry)
        if card is not None and registry is not None:
            promise.draw(card, theme)
            with notices.instead_of_tracebacks():
                measured.draw(registry.root / card.model_id, card, theme)
            with notices.instead_of_tracebacks():
                drift.draw(config, card.model_id)
        with notices.instead_of_tracebacks():
            now.draw(str(config.lake.path), None if card is None else card.model_id, theme)
        if registry is not None:
            _others(registry)
            _history(registry)


def _serving(config: Config, registry: Registry | None) -> Card | None:
    """The card of the active model; where there is none, the page says why and what to do."""
    if registry is None or registry.active is None:
        where = "there is no registry" if registry is None else "no model is active"
        st.info(
            f"The rules score: {where} at `{config.models.registry}`. They promise no figures.",
            icon=":material/rule:",
        )
        st.markdown(
            "Train one with `foreshock train` once the lake holds some weeks with faults, look at its figures with "
            "`foreshock models show ID`, and let it serve with `foreshock models promote ID --reason WHY`."
        )
        return None
    card = registry.cards.get(registry.active, "its folder is not there")
    if isinstance(card, str):
        st.error(f"The active model `{registry.active}` cannot be shown: {card}.", icon=":material/error:")
        st.caption(
            "Try: `foreshock models check`; `foreshock models rollback --reason WHY` goes back to the one before."
        )
        return None
    return card


def _others(registry: Registry) -> None:
    st.subheader("Models in the registry", anchor=False)
    if not registry.cards:
        st.caption("None.")
        return
    for synthetic, title in (
        (False, "Measured on real faults"),
        (True, "Measured on simulated faults (synthetic)"),
    ):
        rows = [
            _row(registry, card)
            for card in registry.cards.values()
            if isinstance(card, Card) and card.synthetic == synthetic
        ]
        if rows:
            st.markdown(f"**{title}**")
            st.dataframe(pl.DataFrame(rows, infer_schema_length=None), hide_index=True, alt=title)
    for name, why in registry.cards.items():
        if isinstance(why, str):
            st.warning(f"`{name}` cannot be read: {why}.", icon=":material/broken_image:")


def _row(registry: Registry, card: Card) -> dict[str, object]:
    point = card.point
    return {
        "model": card.model_id, "serves": card.model_id == registry.active,
        "made (UTC)": f"{card.created:%Y-%m-%d %H:%M}",
        "data": card.dataset, "faults learnt": card.n_faults, "threshold": point.threshold,
        "precision": point.precision, "recall": point.recall, "alarms/day/10k GPUs": point.alarms_per_day_per_10k,
        "AP": card.metric("ap"), "feature set": card.feature_set,
    }  # fmt: skip


def _history(registry: Registry) -> None:
    st.subheader("What came, went and served", anchor=False)
    if not registry.changes:
        st.caption("No change is on record.")
    else:
        rows = [
            {"UTC": f"{c.time:%Y-%m-%d %H:%M:%S}", "change": c.change, "model": c.model_id or "the rules",
             "before": c.before or "", "why": c.reason, "who": c.who}
            for c in reversed(registry.changes)
        ]  # fmt: skip
        st.dataframe(pl.DataFrame(rows), hide_index=True, alt="Changes of the registry, newest first")
    if registry.unread:
        st.warning(f"{registry.unread} lines of `{registry.root / 'log.jsonl'}` cannot be read.")
