import io
import math
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from alerting.bills import bills
from alerting.choice import JobState, choose, main, number
from alerting.economics import JobCosts, break_even_checkpoint, break_even_drain

COSTS = JobCosts(interval_s=1800, checkpoint_s=60, recovery_s=1200, move_s=300)
JOB = JobState(gpus=1024, costs=COSTS)


def test_each_option_has_its_price():
    choice = choose(0.3, JOB)
    assert choice.costs_s == pytest.approx(
        {"observe": 630, "no_new_work": 630, "checkpoint": 60 + 360, "migrate": 360}
    )
    assert choice.option == "migrate"
    assert [choice.saved_s, choice.margin_s] == pytest.approx([270, 60])
    assert choice.gpu_hours == pytest.approx({o: s * 1024 / 3600 for o, s in choice.costs_s.items()})


@pytest.mark.parametrize(
    ("p", "option"), [(0.0, "observe"), (0.06, "observe"), (0.07, "checkpoint"), (0.26, "migrate")]
)
def test_the_higher_the_risk_the_dearer_the_price_that_pays(p, option):
    """60/900 = 0.067 for a checkpoint; a move beats it from P/U = 0.25 on."""
    assert choose(p, JOB).option == option


def test_break_evens_are_those_of_the_economics():
    state = JobState(gpus=8, costs=COSTS, since_checkpoint_s=640)
    assert choose(0.1, state).break_even == pytest.approx({
        "no_new_work": math.inf,
        "checkpoint": break_even_checkpoint(COSTS, 640),
        "migrate": break_even_drain(COSTS, 640),
    })  # fmt: skip


def test_a_fresh_checkpoint_leaves_nothing_for_another_to_save():
    choice = choose(0.24, JobState(gpus=8, costs=COSTS, since_checkpoint_s=0.0))
    assert choice.option == "observe"
    assert choice.break_even["checkpoint"] == math.inf
    assert "checkpoint never" in choice.arithmetic


def test_a_lead_shorter_than_the_checkpoint_makes_saving_worthless():
    late = JobState(gpus=8, costs=COSTS, lead_s=59)
    choice = choose(1.0, late)
    assert choice.option == "observe"
    assert choice.costs_s == pytest.approx(
        {"observe": 2100, "no_new_work": 2100, "checkpoint": 2160, "migrate": 2460}
    )
    assert "lead < C_p: not on disk in time" in choice.arithmetic
    assert choose(1.0, JobState(gpus=8, costs=COSTS, lead_s=60)).option == "migrate"


def test_a_lead_of_a_whole_interval_leaves_the_work_to_the_regular_checkpoint():
    early = JobState(gpus=8, costs=COSTS, lead_s=1800, since_checkpoint_s=900)
    assert choose(0.2, early).costs_s["checkpoint"] == pytest.approx(60 + 0.2 * 2100)
    assert choose(0.3, early).option == "migrate"  # a move is worth as much as ever
    behind = JobState(gpus=8, costs=COSTS, lead_s=1800, since_checkpoint_s=1801)
    assert choose(0.2, behind).option == "checkpoint"  # that job has missed its regular one


def test_without_a_job_keeping_work_off_costs_nothing():
    choice = choose(0.01, JobState(gpus=None))
    assert (choice.option, choice.costs_s["no_new_work"]) == ("no_new_work", 0.0)
    assert set(choice.costs_s) == {"observe", "no_new_work"}
    assert (choice.gpu_hours, choice.saved_value) == (None, None)
    assert "no job on the GPU" in choice.arithmetic
    assert choose(0.0, JobState(gpus=None)).option == "observe"


def test_a_job_that_ends_before_the_fault_is_left_to_end():
    ending = JobState(gpus=8, costs=COSTS, since_checkpoint_s=1500, lead_s=600, ends_in_s=120)
    assert choose(0.9, ending).option == "no_new_work"
    staying = JobState(gpus=8, costs=COSTS, since_checkpoint_s=1500, lead_s=600, ends_in_s=600)
    assert choose(0.9, staying).option == "migrate"


def test_only_what_is_on_offer_is_chosen_and_observing_always_is():
    assert choose(0.9, JOB, offered={"checkpoint"}).option == "checkpoint"
    alone = choose(0.9, JOB, offered=())
    assert (alone.option, alone.margin_s) == ("observe", 0.0)


def test_the_value_of_what_is_saved():
    choice = choose(0.3, JobState(gpus=1024, costs=COSTS, value_per_gpu_hour=2.0))
    assert choice.saved_value == pytest.approx(153.6)
    assert "migrate saves 270 s x 1024 GPUs / 3600 = 76.8 GPU-hours x 2 = 154" in choice.arithmetic
    assert choose(0.3, JOB).saved_value is None


def test_the_line_can_be_checked_by_hand():
    state = JobState(gpus=1024, costs=JobCosts.measured(checkpoint_s=45), since_checkpoint_s=640, lead_s=600)
    assert choose(0.3, state).arithmetic == (
        "migrate saves 207 s x 1024 GPUs / 3600 = 58.9 GPU-hours; "
        "observe = p 0.3 x (w 640 + U 1200) = 552 s; no_new_work = the same (the running job stays); "
        "checkpoint = C_p 45 + p 0.3 x U 1200 = 405 s; migrate = C_p 45 + P 300 = 345 s; "
        "beats observing from p: checkpoint 0.0703, migrate 0.188; lead 600 s; "
        "assumed: U 1200 s, P 300 s, T 1800 s; measured: w 640 s, C_p 45 s"
    )


@pytest.mark.parametrize(
    "senseless",
    [
        lambda: choose(1.01, JOB),
        lambda: choose(math.nan, JOB),
        lambda: JobState(gpus=0),
        lambda: JobState(gpus=8, since_checkpoint_s=-1),
        lambda: JobState(gpus=8, lead_s=math.nan),
        lambda: JobState(gpus=8, value_per_gpu_hour=-1),
    ],
)
def test_senseless_states_are_refused(senseless):
    with pytest.raises(ValueError, match="must be"):
        senseless()


def test_the_page_shows_what_the_command_prints():
    page = (Path(__file__).parents[2] / "docs" / "economics.md").read_text()
    command, shown = re.findall(r"\$ python -m alerting\.choice (.*)\n([^`]*)```", page)[0]
    out = io.StringIO()
    assert main(command.split(), out) == 0
    assert out.getvalue() == shown


def test_the_command_refuses_what_makes_no_sense(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["--p", "2"])
    assert stopped.value.code == 2
    assert "probability must be in [0, 1] (got 2)" in capsys.readouterr().err


seconds = st.one_of(st.just(0.0), st.floats(0.01, 1e6))
costs = st.builds(
    JobCosts, interval_s=st.floats(1, 1e6), checkpoint_s=seconds, recovery_s=seconds, move_s=seconds
)
states = st.builds(
    JobState, gpus=st.none() | st.integers(1, 100_000), since_checkpoint_s=st.none() | seconds, costs=costs,
    lead_s=st.none() | seconds, ends_in_s=st.none() | seconds, value_per_gpu_hour=st.none() | st.floats(0, 100),
)  # fmt: skip
probabilities = st.one_of(st.just(0.0), st.floats(1e-9, 1))


@given(probabilities, states)
def test_never_an_option_that_costs_more(p, state):
    choice = choose(p, state)
    assert choice.costs_s[choice.option] == min(choice.costs_s.values())
    assert min(choice.saved_s, choice.margin_s) >= 0


@given(probabilities, probabilities, states)
def test_more_risk_never_asks_for_less(p, q, state):
    """In the sense that counts: what the fault still takes after the chosen option does not grow with p."""
    left_s = {option: bill.at_risk_s for option, bill in bills(state).items()}
    low, high = choose(min(p, q), state), choose(max(p, q), state)
    assert left_s[high.option] <= left_s[low.option]


@given(probabilities, states, seconds, seconds)
def test_more_unsaved_work_never_sends_the_job_back_to_observing(p, state, one_s, other_s):
    assume(state.gpus is not None)
    less, more = (
        choose(p, JobState(gpus=state.gpus, costs=state.costs, lead_s=state.lead_s, since_checkpoint_s=age_s))
        for age_s in sorted((one_s, other_s))
    )
    assert less.option == "observe" or more.option != "observe"


@given(probabilities, states)
def test_beyond_its_break_even_an_option_costs_less_than_observing(p, state):
    choice = choose(p, state)
    for option, start in choice.break_even.items():
        assume(start == 0.0 or abs(p / start - 1) > 1e-6)
        assert (choice.costs_s[option] < choice.costs_s["observe"]) == (p > start)


@given(probabilities, states)
def test_the_line_holds_every_number_that_was_used(p, state):
    choice = choose(p, state)
    words = set(re.findall(r"[^\s(),;]+", choice.arithmetic))
    used = [p] if choice.costs_s["observe"] > 0 or "p" in words else []
    used += [seconds for bill in bills(state).values() for _, seconds in (*bill.price, *bill.at_risk)]
    used += [cost for option, cost in choice.costs_s.items() if option != "no_new_work"]
    used += [value for value in (state.lead_s, state.ends_in_s) if value is not None]
    used += [start for option, start in choice.break_even.items() if option != "no_new_work" and start <= 1]
    if state.gpus is not None:
        assert f" x {state.gpus} GPUs / 3600 = " in choice.arithmetic
        used += [] if state.value_per_gpu_hour is None else [state.value_per_gpu_hour]
    assert {number(value) for value in used} <= words
    assert "\n" not in choice.arithmetic


@given(probabilities, states)
def test_every_sum_in_the_line_adds_up(p, state):
    """Worked again from the text alone, as the engineer would, with the rounding of what is printed."""
    sums = re.findall(r"\w+ = ([^=;]*?) = ([\d.e+-]+) s", choose(p, state).arithmetic)
    assert sums
    for terms, total in sums:
        formula = re.sub(r"\b(?:T/2|C_p|w|U|P|p) ", "", terms).replace(" x ", " * ")
        assert re.fullmatch(r"[\d.e+*() -]+", formula)
        assert eval(formula) == pytest.approx(float(total), rel=0.03, abs=0.6)


def spend_s(rng, p, state, n):
    """Seconds that each of n alarms costs a job under each option, played out: the same faults for all."""
    costs, comes = state.costs, rng.random(n) < p
    known_s = state.since_checkpoint_s
    work_s = rng.uniform(0, costs.interval_s, n) if known_s is None else np.full(n, known_s)
    on_disk = state.lead_s is None or state.lead_s >= costs.checkpoint_s
    crash_s = comes * (work_s + costs.recovery_s)
    after_s = comes * costs.recovery_s
    return {
        "observe": crash_s,
        "checkpoint": costs.checkpoint_s + (after_s if on_disk else crash_s),
        "migrate": costs.checkpoint_s + costs.move_s + (0.0 if on_disk else crash_s) + np.zeros(n),
    }


@pytest.mark.parametrize("since_s", [None, 300.0, 1500.0])
@pytest.mark.parametrize("option", ["checkpoint", "migrate"])
@pytest.mark.parametrize(("factor", "wins"), [(0.95, False), (1.05, True)])
def test_acting_wins_on_average_just_above_the_break_even_and_loses_just_below(since_s, option, factor, wins):
    state = JobState(gpus=8, costs=COSTS, since_checkpoint_s=since_s)
    p = factor * choose(0.1, state).break_even[option]
    n = 1_000_000
    spent_s = spend_s(np.random.default_rng(7), p, state, n)
    gain_s = spent_s["observe"] - spent_s[option]
    error_s = gain_s.std() / math.sqrt(n)
    assert (gain_s.mean() if wins else -gain_s.mean()) > 4 * error_s


@pytest.mark.parametrize("lead_s", [None, 30.0, 600.0])
@pytest.mark.parametrize("since_s", [None, 0.0, 1500.0])
def test_the_expected_costs_are_the_mean_of_many_alarms(since_s, lead_s):
    state = JobState(gpus=8, costs=COSTS, since_checkpoint_s=since_s, lead_s=lead_s)
    n = 200_000
    costs_s = choose(0.2, state).costs_s
    for option, spent_s in spend_s(np.random.default_rng(11), 0.2, state, n).items():
        assert abs(spent_s.mean() - costs_s[option]) <= 4.5 * spent_s.std() / math.sqrt(n) + 1e-6
