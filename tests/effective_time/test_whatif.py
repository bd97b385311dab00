"""`foreshock whatif`: what it answers, and what it refuses."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import foreshock
from alerting.waste import product_ettr
from collector.errors import ForeshockError
from effective_time import caps, closed
from effective_time.compare import Case, compare
from effective_time.rates import PRESETS
from effective_time.rates_named import rates
from effective_time.stack import STACKS
from effective_time.whatif import advise, of_gpus
from tests.lake_fixture import make_lake

LLAMA3 = PRESETS["llama3"]
ISSUE = (
    "whatif --gpus 16384 --rates llama3 --checkpoint-s 5 --recovery-s 600 --proactive-checkpoint-s 10 --swap-s 120 "
    "--recall 0.25 --precision 0.85 --json"
)
QUICK = ["--seeds", "2", "--days", "20"]
REGISTRY = Path(__file__).parents[2] / "demo" / "registry"


def case(**given: Any) -> Case:
    plain = Case(gpus=16_384, rates=LLAMA3, stack=STACKS[1], days=10.0, precision=0.85)
    return replace(plain, **given)


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "foreshock.toml"
    path.write_text(f'[models]\nregistry = "{REGISTRY}"\n[lake]\npath = "{tmp_path / "lake"}"\n')
    return str(path)


@pytest.fixture
def ask(config: str, capsys: pytest.CaptureFixture[str]):
    def asked(*argv: str) -> dict[str, Any]:
        assert foreshock.main(["--config", config, "whatif", "--json", *QUICK, *argv]) == 0

        def refused(name: str) -> None:
            raise AssertionError(f"{name} is no JSON")

        told: dict[str, Any] = json.loads(capsys.readouterr().out, parse_constant=refused)
        return told

    return asked


@pytest.fixture
def refused(config: str, capsys: pytest.CaptureFixture[str]):
    def why(*argv: str) -> str:
        assert foreshock.main(["--config", config, "whatif", *QUICK, *argv]) == 1
        return capsys.readouterr().err

    return why


def test_the_command_of_the_issue_gives_the_literatures_numbers(capsys: pytest.CaptureFixture[str]):
    assert foreshock.main(ISSUE.split()) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["ettr_without"] == pytest.approx(0.9204, abs=0.0001)
    assert told["ettr_with"] == pytest.approx(0.9331, abs=0.0001)
    assert told["mtbf_s"] == pytest.approx(11_135, abs=1)
    assert told["interval_s"] == pytest.approx((2 * 11_135 * 5 / 0.75) ** 0.5, rel=0.001)
    assert told["interval_without_s"] == pytest.approx((2 * 11_135 * 5) ** 0.5, rel=0.001)
    assert told["budget_s"]["0.995"] == pytest.approx(55.7, abs=0.05)
    for arm, form in (("ettr_without", 0.9204), ("ettr_with", 0.9331)):
        seen = told["simulation"][arm]
        assert seen["low"] - 0.002 < form < seen["high"] + 0.002
    assert all(x["origin"] == "given" for name, x in told["inputs"].items() if name != "lead_s")


def test_without_options_it_answers_for_a_middling_stack_and_says_what_it_assumed(ask):
    told = ask()
    assert told["gpus"] == 16_384
    assert told["inputs"]["recovery_s"] == {
        "value": 600.0,
        "origin": "assumed: asynchronous saves, warm spares",
    }
    assert told["inputs"]["recall"]["origin"] == "assumed"


def test_every_second_of_both_arms_is_work_or_a_cause(ask):
    s = ask("--gpus", "4096")["simulation"]
    for arm in ("without", "with"):
        assert s[f"ettr_{arm}"]["mean"] + sum(s[f"lost_share_{arm}"].values()) == pytest.approx(1.0)


def test_a_job_that_is_never_interrupted_has_no_mtbf(ask):
    s = ask("--gpus", "8", "--days", "1")["simulation"]
    assert s["mtbf_s"] == {"mean": None, "low": None, "high": None}
    assert s["ettr_without"]["mean"] > 0.99


def test_more_recall_than_gpus_cause_is_refused_with_a_sentence(refused):
    err = refused("--recall", "0.8")
    assert "GPUs cause only 0.640 of them" in err
    assert "Try: a lower recall" in err


def test_the_rounded_share_of_the_literature_is_every_fault_of_a_gpu():
    assert of_gpus(0.64, LLAMA3) == 1.0
    assert of_gpus(0.25, LLAMA3) == pytest.approx(0.25 * 419 / 268)
    with pytest.raises(ForeshockError):
        of_gpus(0.66, LLAMA3)


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_a_preset_is_known_by_its_name(name: str, tmp_path: Path):
    assert rates(name, tmp_path) is PRESETS[name]


def test_a_number_is_a_rate_and_its_gpu_share_can_be_given(tmp_path: Path):
    found = rates("1e-3", tmp_path, 0.5)
    assert (found.faults_per_gpu_day, found.gpu_share) == (1e-3, 0.5)


@pytest.mark.parametrize("name", ["llama4", "-1", "0", "nan", "nodetrace:/nowhere"])
def test_rates_that_nobody_knows_are_refused(name: str, tmp_path: Path):
    with pytest.raises(ForeshockError):
        rates(name, tmp_path)


def test_the_fleets_own_history_is_faults_over_gpu_days(tmp_path: Path):
    story = make_lake(tmp_path / "lake")
    found = rates("lake", story.path)
    assert found.faults_per_gpu_day == pytest.approx(1 / (16 * 0.5 / 24))
    assert "SYNTHETIC" in found.source


def test_a_lake_without_faults_has_no_rate(refused):
    assert "no fault in 0 GPU-days" in refused("--rates", "lake")


def test_the_real_trace_is_measured_by_moments_with_outages(shared_data: Path):
    found = rates(f"nodetrace:{shared_data / 'infinitehbd_trace'}", Path())
    assert found.faults_per_gpu_day == pytest.approx(331 / (400 * 8 * 239.921), rel=1e-3)
    assert 0.2 < found.gpu_share < 0.25


def test_a_model_brings_its_measured_curve_and_says_that_it_is_synthetic(ask, config: str, capsys):
    told = ask("--model")
    predictor = told["predictor"]
    assert predictor["synthetic"] is True
    assert predictor["model_id"].startswith("imminence-")
    assert "SYNTHETIC" in told["inputs"]["recall"]["origin"]
    best = max(predictor["curve"], key=lambda p: p["ettr"])
    assert predictor["threshold"] == best["threshold"]
    assert told["ettr_with"] == pytest.approx(best["ettr"])
    assert told["ettr_with"] > told["ettr_without"]
    assert predictor["recall"] == pytest.approx(predictor["recall_of_gpu_faults"] * LLAMA3.gpu_share)
    assert foreshock.main(["--config", config, "whatif", "--model", *QUICK]) == 0
    assert "(SYNTHETIC, no evidence about real GPUs)" in capsys.readouterr().out


def test_precision_of_a_model_follows_from_how_often_faults_come(ask):
    often, seldom = (ask("--model", "--rates", r)["predictor"]["curve"] for r in ("llama3", "rsc2"))
    assert [p["false_per_day"] for p in often] == [p["false_per_day"] for p in seldom]
    assert all(
        a["precision"] > b["precision"] for a, b in zip(often, seldom, strict=True) if b["precision"] < 1
    )


def test_a_model_and_a_recall_contradict_each_other(refused):
    assert "--model has its own recall" in refused("--model", "--recall", "0.1")


def test_a_model_that_is_not_there_is_refused(refused):
    assert "models list" in refused("--model", "imminence-20200101T0000-000000000000")


@pytest.mark.parametrize(
    "option", [["--recall", "1.5"], ["--precision", "0"], ["--checkpoint-s", "nan"], ["--gpus", "0"]]
)
def test_values_out_of_range_are_wrong_use(option: list[str], capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as e:
        foreshock.main(["whatif", *option])
    assert e.value.code == 2
    assert option[0] in capsys.readouterr().err


def test_a_job_that_saves_more_slowly_than_it_fails_is_refused(refused):
    assert "does not fit" in refused("--gpus", "100000", "--checkpoint-s", "8000")


def test_plots_are_one_png_or_one_page_that_holds_it(config: str, tmp_path: Path):
    for name in ("a.png", "b.png", "c.html"):
        argv = ["--config", config, "whatif", *QUICK, "--gpus", "2048", "--plot", str(tmp_path / name)]
        assert foreshock.main(argv) == 0
    first, page = (tmp_path / "a.png").read_bytes(), (tmp_path / "c.html").read_text()
    assert first.startswith(b"\x89PNG")
    assert first == (tmp_path / "b.png").read_bytes()
    assert "data:image/png;base64," in page
    assert "ETTR in %" in page
    assert "http" not in page


def test_a_plot_without_a_place_or_kind_is_refused(refused, tmp_path: Path):
    assert "no kind of picture" in refused("--plot", "x.pdf")
    assert "name a file" in refused("--plot", str(tmp_path / "none" / "x.png"))


def test_alarms_that_do_not_pay_change_nothing():
    wrong = case(gpus=2_048, recall=0.4, precision=0.05)
    found = advise(wrong, range(1))
    assert found.ettr_with == found.ettr_without
    assert found.best_interval_s == found.best_interval_without_s
    assert found.breaks_even_at == pytest.approx(130 / (943.8 / 2 + 600), rel=1e-3)
    assert "drain_now" not in found.simulated.asked_on_risk


def test_without_leave_to_move_a_long_lead_saves_no_work():
    long, short = (case(recall=0.4, migrate=False, lead_s=s) for s in (1800.0, 60.0))
    assert closed.with_(long) == closed.without(long)
    assert closed.without(short) < closed.with_(short) < closed.with_(replace(short, migrate=True))


def test_saves_without_moves_are_simulated_as_the_closed_form_says():
    saving = case(recall=0.9, migrate=False, lead_s=20.0, days=40.0)
    found = compare(saving, range(5))
    gain = closed.with_(saving) - closed.without(saving)
    assert found.gain.low - 0.002 < gain < found.gain.high + 0.002
    assert found.gain.low > 0
    assert "drain_now" not in found.asked_on_risk


def test_faster_recovery_matches_the_predictor_exactly():
    found = advise(case(recall=0.4), range(1))
    match = found.recovery_to_match_s
    assert match is not None
    assert match < 600
    faster = replace(found.case.run, recovery_s=match)
    assert product_ettr(faster) == pytest.approx(found.ettr_with, abs=1e-9)


def test_the_caps_that_it_recommends_hold_nothing_back_and_those_shipped_do():
    free = case(recall=0.9, days=40.0)
    need = caps.needed(free)
    mine = compare(replace(free, caps=(need.drained_nodes, need.predicted_drains)), range(2))
    none, shipped = compare(free, range(2)), advise(free, range(2))
    assert need.drained_nodes > 16
    assert mine.asked_on_risk["drain_now"] > 0.99 * none.asked_on_risk["drain_now"]
    assert shipped.drains_held_back is not None
    assert 0.01 < shipped.drains_held_back < 0.5


def test_most_is_the_quantile_of_a_poisson_number():
    from scipy.stats import poisson

    for mean in (0.01, 1.0, 14.0, 300.0):
        assert caps.most(mean) == poisson.ppf(0.999, mean)


def test_each_seed_of_each_run_ticks_once():
    ticks: list[None] = []
    advise(case(gpus=1024, recall=0.2), range(3), lambda: ticks.append(None))
    assert len(ticks) == 6
