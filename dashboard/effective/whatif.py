"""What if: the same command that a shell has, run for the form's values, so that page and command never differ."""

from __future__ import annotations

import json
import shlex
from typing import Any, Final, NamedTuple

import streamlit as st

from collector.config import Config
from collector.errors import ForeshockError
from dashboard import command
from dashboard.colours import Theme
from dashboard.effective import curves
from dashboard.effective.charts import arms
from dashboard.freshness import spoken

DEADLINE_S: Final = 60.0
FIRST_ORDER_WITHIN: Final = 0.005
"""As `foreshock whatif` has it: further from the exponential form than this, its text says so too."""
RATES: Final = ("llama3", "rsc1", "rsc2", "delta-a100", "delta-h100", "lake")


class Field(NamedTuple):
    """An option of `foreshock whatif`, and how the form asks for it."""

    option: str
    label: str
    default: float
    least: float
    most: float
    step: float


FIELDS: Final = (
    Field("gpus", "GPUs of the job", 16384, 8, 200_000, 8),
    Field("checkpoint-s", "a checkpoint stops the job for (s)", 5, 0.01, 3600, 1),
    Field("recovery-s", "recovery after a fault (s)", 600, 0, 36_000, 10),
    Field("proactive-checkpoint-s", "a checkpoint on an alarm (s)", 10, 0, 3600, 1),
    Field("swap-s", "a planned move after it (s)", 120, 0, 36_000, 10),
    Field("recall", "recall, of all interruptions", 0.25, 0, 0.99, 0.05),
    Field("precision", "precision", 0.85, 0.05, 1, 0.05),
)


def draw(config: Config, theme: Theme) -> None:
    """The form, and what follows from it. Raises ForeshockError with the command's own words where it refuses."""
    st.caption(
        "Recovery speed sets the level; prediction adds what it adds. Faults are drawn at random at the chosen rate "
        "(synthetic); the policy in the simulation is the one that runs."
    )
    with st.form("what-if", border=True):
        rates = st.selectbox(
            "Fault rates", RATES, index=_chosen_rates(), help="`lake`: this fleet's own history"
        )
        columns = st.columns(4)
        values = {f.option: _number(f, columns[i % 4]) for i, f in enumerate(FIELDS)}
        asked = st.form_submit_button("Work it out", type="primary")
    if not asked and not any(f.option in st.query_params for f in FIELDS):
        return
    for option, value in values.items():
        st.query_params[option] = f"{value:g}"
    st.query_params["rates"] = rates
    argv = arguments(rates, values)
    _show(_answer(config.path, tuple(argv)), theme)
    st.code(shlex.join(["foreshock", "whatif", *argv]), language="sh")


def arguments(rates: str, values: dict[str, float]) -> list[str]:
    """Argv after `foreshock whatif`, without --json."""
    given = [part for option, value in values.items() for part in (f"--{option}", f"{value:g}")]
    return ["--rates", rates, *given]


def _chosen_rates() -> int:
    asked = st.query_params.get("rates", "")
    return RATES.index(asked) if asked in RATES else 0


def _number(field: Field, where: Any) -> float:
    try:
        asked = min(max(float(st.query_params.get(field.option, field.default)), field.least), field.most)
    except ValueError:
        asked = field.default
    whole = field.option == "gpus"
    kind: Any = int if whole else float
    return float(
        where.number_input(
            field.label, kind(field.least), kind(field.most), kind(asked), kind(field.step),
            format="%d" if whole else "%g", key=f"what-if-{field.option}",
        )
    )  # fmt: skip


@st.cache_data(
    ttl=3600, max_entries=100, show_spinner="Simulating months of faults, with and without Foreshock"
)
def _answer(config: str | None, argv: tuple[str, ...]) -> dict[str, Any]:
    return fetch(config, argv)


def fetch(config: str | None, argv: tuple[str, ...]) -> dict[str, Any]:
    """What `foreshock whatif ARGV --json` says, with curves. Raises ForeshockError with its words where it refuses."""
    late = ForeshockError(
        f"`foreshock whatif` did not end within {DEADLINE_S:.0f} s",
        hint="run it in a shell: --days 30 is faster",
    )
    told = command.run(command.argv(config, ["whatif", *argv, "--json", "--curves"]), DEADLINE_S, late=late)
    answer: dict[str, Any] = json.loads(told)
    return answer


def _show(answer: dict[str, Any], theme: Theme) -> None:
    simulated = answer["simulation"]
    st.badge("synthetic faults at the chosen rate", color="violet", icon=":material/science:")
    shown = {
        "without Foreshock": (percent(answer["ettr_without"]), _simulated(simulated["ettr_without"])),
        "with Foreshock": (percent(answer["ettr_with"]), _simulated(simulated["ettr_with"])),
        "gain, same faults": (_points(simulated["ettr_gain"]["mean"]), _between(simulated["ettr_gain"])),
        "checkpoint every": (
            spoken(answer["interval_s"]),
            f"without: {spoken(answer['interval_without_s'])}",
        ),
        "mean time between faults": (
            spoken(answer["mtbf_s"]),
            f"99.5 % leaves {answer['budget_s']['0.995']:.0f} s each",
        ),
    }
    with st.container(horizontal=True):
        for label, (value, more) in shown.items():
            st.metric(label, value, more, delta_color="off", delta_arrow="off", border=True, height="stretch")
    st.vega_lite_chart(
        arms(simulated["lost_share_without"], simulated["lost_share_with"], theme), width="stretch"
    )
    for line in advice(answer):
        st.markdown(f"- {line}")
    _draw_curves(answer, theme)
    st.caption(f"{answer['rates']['source']}. {answer['definition']}")


def _draw_curves(answer: dict[str, Any], theme: Theme) -> None:
    told, simulated = answer["curves"], answer["simulation"]
    seen = [
        {"name": arm, "x": answer["gpus"], **{k: 100 * v for k, v in simulated[f"ettr_{arm}"].items()}}
        for arm in ("without", "with")
    ]
    pictures = {
        "Waste against interval": curves.waste_by_interval(told["waste_by_interval_s"], theme),
        "What recall is worth": curves.gain_by_recall(told["gain_by_recall"], told["gpu_share"], theme),
        "Effective time against size": curves.ettr_by_gpus(told["ettr_by_gpus"], seen, theme),
    }
    for column, (title, spec) in zip(st.columns(len(pictures)), pictures.items(), strict=True):
        column.markdown(f"**{title}**")
        column.vega_lite_chart(spec, width="stretch")


def advice(answer: dict[str, Any]) -> list[str]:
    """What follows, in sentences."""
    caps, tenth = answer["caps"], answer["ettr_per_tenth_recall"]
    held_back, needed = caps["drains_held_back_share"], caps["needed"]["drained_nodes"]
    lines = [
        "A tenth more recall would be more than GPUs cause."
        if tenth is None
        else f"A tenth more recall is worth {_points(tenth)}.",
        f"{answer['spare_nodes_needed']:,} spare nodes are needed for the job not to wait for one.",
    ]
    if (match_s := answer["recovery_to_match_s"]) is not None:
        lines.append(f"Without a predictor, recovery within {spoken(match_s)} would do as much.")
    if (alarm_at := answer["alarm_threshold"]) is None:
        lines.append("A planned move never pays here: it costs more than a recovery.")
    else:
        lines.append(
            f"Alarm from a probability of {alarm_at:.2f} on: below it a move costs more than it saves."
        )
    if held_back:
        lines.append(
            f"The caps as configured would hold back {percent(held_back)} of the drains: set "
            f"`watch.drained_nodes = {needed}`."
        )
    above = answer["ettr_without"] - answer["ettr_without_exponential"]
    if abs(above) > FIRST_ORDER_WITHIN:
        lines.append(
            f"The closed form is {_points(above)} off here, being first order: go by the simulation."
        )
    return lines


def percent(share: float) -> str:
    return f"{100 * share:.2f} %"


def _points(share: float) -> str:
    return f"{100 * share:+.2f} points"


def _between(spread: dict[str, float]) -> str:
    return f"95 %: {100 * spread['low']:+.2f} to {100 * spread['high']:+.2f}"


def _simulated(spread: dict[str, float]) -> str:
    return f"simulated {100 * spread['mean']:.2f} ({100 * spread['low']:.2f} to {100 * spread['high']:.2f})"
