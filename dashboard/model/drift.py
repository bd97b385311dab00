"""Is the active model still what its card says? The command that knows, run when somebody asks for it.

It scores days of the lake anew, in a process of its own: the page itself never does, and keeps its answer for an hour.
"""

from __future__ import annotations

import json
from typing import Any, Final

import polars as pl
import streamlit as st

from collector.config import Config
from collector.errors import ForeshockError
from dashboard import command, notices
from dashboard.model.evaluation import number, spoken
from dashboard.origin import synthetic_badge

DAYS: Final = (1, 7, 30)
_DEADLINE_S: Final = 180.0
_SHOWN: Final = 12
_SENTENCES: Final = {
    "decayed": ("error", "Decayed: its alarms are worse than its card promises. See what it missed; train anew."),
    "drifted": ("warning", "Drifted: an input or the risk is unlike what it learnt from. Its promise may not hold."),
    "look": ("warning", "Look: an input changed somewhat, or a rare one became ten times as frequent or as rare."),
    "too few faults": ("info", "The inputs are as they were; too few faults came to judge precision and recall."),
    "stable": ("success", "Stable: inputs, risks and alarms are as the card says."),
}  # fmt: skip


def draw(config: Config, model_id: str) -> None:
    """The days, the button, and the last answer for this model."""
    st.subheader("Is it still what its card says?", anchor=False)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        days = st.segmented_control(
            "Newest days of the lake", DAYS, default=7, key="drift-days", required=True
        )
        asked = st.button("Compute the drift", icon=":material/troubleshoot:")
    key = f"drift-{model_id}"
    if asked:
        st.session_state[key] = _asked(config.path, model_id, days or 7)
    found: dict[str, Any] | ForeshockError | None = st.session_state.get(key)
    if found is None:
        st.caption(
            f"Scores these days anew, beside the page: seconds to minutes. The same in a shell: "
            f"`foreshock models drift --days {days}`."
        )
    elif isinstance(found, ForeshockError):
        notices.say(found)
    else:
        _show(found)


def _asked(config: str | None, model_id: str, days: int) -> dict[str, Any] | ForeshockError:
    try:
        return answer(config, model_id, days)
    except ForeshockError as e:
        return e


@st.cache_data(ttl=3600, max_entries=20, show_spinner="Scoring these days anew")
def answer(config: str | None, model_id: str, days: int) -> dict[str, Any]:
    """What `foreshock models drift --json` says of the active model, `model_id`. Raises ForeshockError."""
    late = ForeshockError(
        f"`foreshock models drift` did not end within {_DEADLINE_S:.0f} s",
        hint=f"ask for fewer days, or run `foreshock models drift --days {days}` in a shell",
    )
    argv = command.argv(config, ["models", "drift", f"--days={days}", "--json"])
    # 1 is a verdict: decayed or drifted
    told: dict[str, Any] = json.loads(command.run(argv, _DEADLINE_S, late=late, fine=(0, 1)))
    return told


def _show(told: dict[str, Any]) -> None:
    kind, sentence = _SENTENCES.get(told["verdict"], ("info", str(told["verdict"])))
    getattr(st, kind)(sentence)
    with st.container(horizontal=True, vertical_alignment="center"):
        if told["synthetic"]:
            synthetic_badge()
        st.caption(
            f"`{told['model_id']}`, {told['since'][:16]} to {told['until'][:16]} UTC, "
            f"{told['gpu_days']:,.1f} GPU-days, {told['n_faults']} faults, {told['n_rows']:,} minutes compared.",
            width="content",
        )
    left, right = st.columns(2, gap="medium")
    with left:
        st.markdown("**Alarms against the promise**")
        st.table(_decay(told["decay"]), border="horizontal", hide_index=True, alt="Promised and measured")
    with right:
        st.markdown("**Inputs against what it learnt from**")
        st.dataframe(
            _inputs(told["drift"]), hide_index=True, height=38 + 35 * _SHOWN,
            alt="Each input and how far it drifted, the farthest first",
        )  # fmt: skip
        st.caption(
            "PSI, the population stability index: under 0.1 stable, over 0.25 drifted."
            + _untold(told["drift"])
        )


def _decay(rows: list[dict[str, Any]]) -> pl.DataFrame:
    return pl.DataFrame(
        [
            {"figure": str(row["measure"]).replace("_", " "), "promised": _told(row["promised"]),
             "measured (95 %)": _measured(row), "verdict": row["verdict"]}
            for row in rows
        ]
    )  # fmt: skip


def _measured(row: dict[str, Any]) -> str:
    low, high = number(row["low"]), number(row["high"])
    between = "" if low is None or high is None else f" ({spoken(low)} to {spoken(high)})"
    return f"{_told(row['measured'])}{between}, of {row['n']}"


def _untold(rows: list[dict[str, Any]]) -> str:
    """What the verdict of all says nothing of."""
    counts = {word: sum(row["verdict"] == word for row in rows) for word in ("too few rows", "missing")}
    return "".join(f" {count} of {len(rows)} inputs: {word}." for word, count in counts.items() if count)


def _told(value: object) -> str:
    found = number(value)
    return "not known" if found is None else spoken(found)


def _inputs(rows: list[dict[str, Any]]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "input": [row["feature"] for row in rows],
            "PSI": [number(row["psi"]) for row in rows],
            "verdict": [row["verdict"] for row in rows],
        },
        schema={"input": pl.String, "PSI": pl.Float64, "verdict": pl.String},
    ).with_columns(pl.col("PSI").round(3))
