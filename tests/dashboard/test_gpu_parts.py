"""The parts of the GPU page that need no page: what is measured, what differs, and what is shown of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import altair as alt
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard.colours import Theme
from dashboard.gpu import facts, life_queries, past
from dashboard.gpu import life as gpu_life
from dashboard.gpu.choice import WINDOWS, resolve, window_of
from dashboard.gpu.facts import Facts, span
from dashboard.gpu.life_chart import Panel, View, life
from dashboard.gpu.node_chart import lines
from dashboard.gpu.node_queries import node_life
from dashboard.gpu.readings import READINGS
from dashboard.gpu.reasons_chart import reasons
from dashboard.gpu.signs import differences, verdict
from dashboard.gpu.words import plain
from pipeline.lake import Lake
from tests.lake_fixture import END, Story, make_lake, uuid

HOUR = (END - timedelta(hours=1), END)


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    return make_lake(tmp_path_factory.mktemp("lake"))


def _life(story: Story, gpu: str, peers: list[str], source: life_queries.Source) -> pl.DataFrame:
    return life_queries.life(str(story.path), gpu, peers, HOUR, bucket_s=60, source=source)


def test_counters_are_told_a_minute_and_read_alike_from_both_tables(story: Story) -> None:
    node = [uuid(1, i) for i in range(8)]
    raw = _life(story, story.failing, node, "telemetry")
    rolled = _life(story, story.failing, node, "rollups")
    both = raw.join(rolled, on="time", suffix="_rolled").drop_nulls(["nvlink_crc", "nvlink_crc_rolled"])
    assert both.height > 20
    assert both["temperature_c"].to_list() == pytest.approx(both["temperature_c_rolled"].to_list())
    assert both["nvlink_crc"].max() == pytest.approx(
        both["nvlink_crc_rolled"].max(), rel=0.35
    )  # the fixture's rollups miss the step between two minutes
    assert raw["peers"].to_list() == [7] * raw.height


def test_a_counter_that_began_again_counts_from_0(tmp_path: Path) -> None:
    values = [100, 160, 5, 65]
    rows = [
        {"time": END - timedelta(minutes=3 - n), "gpu_uuid": "g", "node": "n", "pcie_replay": v}
        for n, v in enumerate(values)
    ]
    Lake(tmp_path).append("telemetry", pl.DataFrame(rows))
    found = life_queries.life(str(tmp_path), "g", [], HOUR, bucket_s=60, source="telemetry")
    assert found["pcie_replay"].to_list() == [None, 60, 5, 60]


def test_peers_are_those_of_the_same_job(tmp_path: Path) -> None:
    rows = [
        {"time": END, "gpu_uuid": f"g{n}", "node": "n", "temperature_c": t, "job": job}
        for n, (t, job) in enumerate([(50, "a"), (60, "a"), (60, "a"), (90, "b"), (95, None)])
    ]
    Lake(tmp_path).append("telemetry", pl.DataFrame(rows))
    uuids = [f"g{n}" for n in range(5)]

    def band(gpu: str) -> tuple[object, ...]:
        found = life_queries.life(str(tmp_path), gpu, uuids, HOUR, bucket_s=60, source="telemetry")
        return found.select("peers", "temperature_c", "temperature_c_mid").row(0)

    assert band("g0") == (2, 50, 60)
    assert band("g3") == (0, 90, None)
    assert band("g4") == (0, 95, None)


def test_what_its_peers_do_not_show_is_told(story: Story) -> None:
    node = [uuid(1, i) for i in range(8)]
    found = differences(_life(story, story.failing, node, "rollups"))
    assert [sentence.partition(":")[0] for sentence in found] == [
        "NVLink CRC errors",
        "Longest gap between answers",
        "NVML latency, worst",
    ]
    assert differences(_life(story, uuid(1, 0), node, "rollups")) == []


def test_without_peers_nothing_differs(story: Story) -> None:
    assert differences(_life(story, story.failing, [story.failing], "rollups")) == []


@pytest.mark.parametrize(
    ("alarmed", "failed", "state", "differs", "word"),
    [
        (True, ["Xid 79"], "ok", [], "failed"),
        (False, [], "lost", [], "failed"),
        (True, [], "ok", ["CRC"], "likely"),
        (True, [], "hung", [], "likely"),
        (True, [], "ok", [], "alone"),
        (False, [], "ok", ["CRC"], "odd"),
        (False, [], "ok", [], "calm"),
    ],
)
def test_a_second_sign_makes_an_alert_true(
    alarmed: bool, failed: list[str], state: str, differs: list[str], word: str
) -> None:
    assert verdict(alarmed=alarmed, failed=failed, state=state, differs=differs).word == word


@given(st.booleans(), st.lists(st.text(), max_size=3), st.sampled_from(["ok", "hung", "silent"]))
def test_no_alarm_is_confirmed_without_a_sign(alarmed: bool, differs: list[str], state: str) -> None:
    found = verdict(alarmed=alarmed, failed=[], state=state, differs=differs)
    assert (found.word in ("likely", "odd")) == bool(found.signs)
    assert all(sign in found.signs for sign in differs)


def _facts(heard: datetime, incident: Mapping[str, object] | None = None) -> Facts:
    return Facts("g", {"time": heard}, "ok", END, None, None, incident, [])


def test_the_view_ends_with_the_lake_or_with_what_is_over() -> None:
    hour = WINDOWS["1h"]
    assert span(_facts(END), hour, asked=False) == HOUR
    silent = END - timedelta(minutes=20)
    assert span(_facts(silent), hour, asked=False)[1] == END  # its silence is in view
    gone = END - timedelta(days=2)
    since, until = span(_facts(gone), hour, asked=False)
    assert since < gone < until < END
    old = {"time": END - timedelta(days=5)}
    since, until = span(_facts(END, old), hour, asked=True)
    assert since < old["time"] < until < END
    assert span(_facts(END, old), hour, asked=False)[1] == END


def test_no_window_has_more_than_600_points_and_a_large_fleet_reads_minutes() -> None:
    assert all(w.seconds / w.bucket_s <= 600 for w in WINDOWS.values())
    assert window_of("1h", 8).source == "telemetry"
    assert window_of("1h", 10_000).source == "rollups"


def test_readings_without_data_have_no_panel_and_still_counters_a_word(story: Story) -> None:
    rows = _life(story, uuid(1, 0), [uuid(1, i) for i in range(1, 3)], "telemetry")
    shown, quiet = gpu_life.sort_out(rows)
    assert [r.key for r in shown] == ["temperature_c", "power_w", "sm_util_pct", "gap_s", "nvml_latency_ms"]
    assert quiet == ["NVLink CRC errors"]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_all_panels_share_one_pointer_and_one_time_axis(story: Story, theme: Theme) -> None:
    rows = _life(story, story.failing, [uuid(1, i) for i in range(8)], "telemetry").with_columns(
        risk=pl.lit(0.5)
    )
    marks = life_queries.marks(str(story.path), story.failing, HOUR)
    panels = [Panel("risk", "Risk", (0, 1), level=0.5), *(Panel(r.key, r.title, r.least) for r in READINGS)]
    spec = life(panels, rows, marks, View(HOUR, theme))
    assert len(spec["vconcat"]) == len(panels) + 1
    named = {layer.get("name") for chart in spec["vconcat"] for layer in chart.get("layer", [])}
    assert set(spec["params"][0]["views"]) <= named
    domains = {str(chart["encoding"]["x"]["scale"]["domain"]) for chart in spec["vconcat"]}
    assert len(domains) == 1
    assert set(marks["kind"]) == {"fault", "event", "incident", "action"}


def test_the_charts_are_vega_lite(story: Story) -> None:
    rows = _life(story, story.failing, [uuid(1, 0)], "telemetry")
    marks = life_queries.marks(str(story.path), story.failing, HOUR)
    panel = Panel("power_w", "Power", (0, 1), level=0.5)
    told = gpu_life.reason_rows([{"feature": "a", "value": 1.0, "healthy": "0", "share": 0.4, "text": ""}])
    node = node_life(str(story.path), [story.failing], HOUR, 60, "rollups")
    view = View(HOUR, "light")
    for spec in (life([panel], rows, marks, view), lines(READINGS[:1], node, view), reasons(told, "light")):
        alt.Chart.from_dict({k: v for k, v in spec.items() if k != "datasets"}, validate=True)


def test_a_life_without_marks_and_with_one_reading_is_a_chart_too() -> None:
    rows = pl.DataFrame({"time": [END], "risk": [0.0]})
    marks = pl.DataFrame(schema={"time": pl.Datetime("us", "UTC"), "kind": pl.String})
    spec = life([Panel("risk", "Risk", (0, 1))], rows, marks, View(HOUR, "light"))
    assert len(spec["vconcat"]) == 1


def test_reasons_keep_their_sign_and_a_missing_value_is_no_0() -> None:
    given: list[dict[str, Any]] = [
        {"feature": "a", "value": None, "healthy": "0", "share": -0.4, "text": ""},
        {"feature": "b", "value": 0.0, "healthy": "< 1", "share": 0.1, "text": "it is warm"},
    ]
    rows = gpu_life.reason_rows(given)
    assert rows["what"].to_list() == ["a", "it is warm"]
    assert rows["told"].to_list() == ["no value (healthy 0), share -0.40", "0 (healthy < 1), share +0.10"]
    assert len(reasons(rows, "dark")["layer"]) == 3


def test_a_node_has_a_line_for_each_gpu(story: Story) -> None:
    uuids = [uuid(0, i) for i in range(8)]
    rows = node_life(str(story.path), uuids, HOUR, 60, "rollups")
    assert rows["gpu_uuid"].n_unique() == 8
    assert rows["time"].is_sorted()
    spec = lines(READINGS[:2], rows, View(HOUR, "light"))
    assert spec["vconcat"][0]["encoding"]["color"]["scale"]["domain"] == [f"GPU {i}" for i in range(8)]


@pytest.mark.parametrize(
    ("faults", "words"), [(0, "did not fail here"), (1, "failed here too"), (3, "3 times")]
)
def test_the_card_before_is_judged_by_what_it_did_in_this_slot(faults: int, words: str) -> None:
    day = timedelta(days=1)
    rows = pl.DataFrame({
        "gpu_uuid": ["new", "old", "older"], "first": [END - day, END - 3 * day, END - 9 * day],
        "last": [END, END - day, END - 4 * day], "faults": [0, faults, 7], "fault": [None, "Xid 79", "Xid 48"],
    })  # fmt: skip
    assert words in past.before(rows, "new", "n 0")
    assert "`older`" in past.before(rows, "old", "n 0")
    assert "no other card" in past.before(rows, "older", "n 0")


def test_a_gpu_that_nobody_knows_has_no_facts(story: Story) -> None:
    assert facts.of(str(story.path), "GPU-nobody", pl.DataFrame({"node": [], "gpu_uuid": []}), None) is None


def test_a_gpu_is_found_by_uuid_by_place_and_by_part() -> None:
    labels = {
        uuid(0, 1): f"node0001 GPU 1 · risk 0.90 · ok · {uuid(0, 1)}",
        uuid(0, 10): f"node0001 GPU 10 · risk 0.95 · ok · {uuid(0, 10)}",
    }
    assert resolve(labels, uuid(0, 10)) == uuid(0, 10)
    assert resolve(labels, "node0001  gpu 1") == uuid(0, 1)
    assert resolve(labels, "NODE0001 GPU 10") == uuid(0, 10)
    assert resolve(labels, "00000000000a") == uuid(0, 10)
    assert resolve(labels, "nowhere") == "nowhere"


@given(st.text())
def test_text_of_the_lake_is_never_markup(text: str) -> None:
    bare = re.sub(r"`[^`]*`|\\[\\`*_{}\[\]<>()#+!|~:$&-]", "", plain(text))
    assert not set(bare) & set("<>:*_`[]$&\\\n")


def test_a_pci_address_is_no_emoji() -> None:
    assert plain("GPU 5 (0000:ab:00) is lost") == r"GPU 5 `(0000:ab:00)` is lost"
    assert plain("Xid: 79") == r"Xid\: 79"
