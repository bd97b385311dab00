from __future__ import annotations

import io
import json
from typing import Any, get_args

import pytest

from collector import xid_catalogue
from collector.errors import ForeshockError
from collector.xid_diff import TOOLS, Step, opinions, run_diff, step
from collector.xid_overrides import parse_overrides


def shown(**how: Any) -> str:
    out = io.StringIO()
    assert run_diff(False, out, **how) == 0
    return out.getvalue()


def listed(**how: Any) -> list[dict[str, Any]]:
    out = io.StringIO()
    assert run_diff(True, out, **how) == 0
    rows: list[dict[str, Any]] = json.loads(out.getvalue())
    return rows


def test_every_code_of_ours_has_an_opinion_of_every_tool_on_the_scale() -> None:
    every = list(opinions())
    assert [o.code for o in every] == sorted(xid_catalogue.entries())
    for one in every:
        assert list(one.tools) == list(TOOLS.values())
        assert {one.ours, *one.tools.values()} <= set(get_args(Step))
        assert one.why


@pytest.mark.parametrize(("said", "wanted"), [
    ("Warning:NONE", "observe"), ("Info:NONE", "ignore"), ("Fatal:RebootSystem|HardwareInspection", "reboot"),
    ("Warning:CheckUserAppAndGPU", "restart_app"), ("Warning:IgnoreNoActionRequired", "ignore"),
    ("CONTACT_SUPPORT(no-row)", "support"), ("NONE", "observe"), ("ERROR(default)", "alarm"),
    ("unknown(dropped)", "-"), ("", "-"), ("-", "-"), ("RESTART_VM", "reboot"),
])  # fmt: skip
def test_the_words_of_each_tool_are_read_on_one_scale(said: str, wanted: str) -> None:
    assert step(said) == wanted


def test_a_word_that_nobody_has_read_is_not_guessed() -> None:
    with pytest.raises(KeyError):
        step("EXPLODE")


def test_all_agree_on_a_gpu_off_the_bus_and_not_on_a_remapped_row() -> None:
    gone, remapped = listed(only=[79, 63])
    assert (gone["ours"], gone["differs"]) == ("drain", [])
    assert gone["tools"]["NVIDIA"] == "reboot"
    assert gone["said"]["gpud"] == "Fatal:RebootSystem|HardwareInspection"
    assert "NVIDIA" in remapped["differs"]


def test_the_table_says_where_we_differ_from_nvidia_and_why() -> None:
    text = shown()
    for one in opinions():
        if one.used and "NVIDIA" in one.differs:
            assert f"  Xid {one.code}: {one.action}, not {one.said['NVIDIA']}: {one.why}\n" in text
    assert "Xid 79:" not in text
    assert all(name in text.splitlines()[0] for name in TOOLS.values())
    assert "gpud        differs at" in text


def test_only_the_codes_in_use_or_those_that_were_asked_for() -> None:
    assert {row["code"] for row in listed()} == {o.code for o in opinions() if o.used}
    assert [row["code"] for row in listed(only=[48, 1])] == [48, 1]
    differing = listed(differing=True)
    assert 0 < len(differing) < 20
    assert all("NVIDIA" in row["differs"] for row in differing)


def test_a_row_of_this_site_is_compared_too() -> None:
    assert 13 not in [row["code"] for row in listed(differing=True)]
    xid_catalogue.use(parse_overrides('[xid.13]\naction = "drain_now"\nwhy = "we test our kernels"\n'))
    try:
        assert "Xid 13: drain_now, not RESTART_APP: we test our kernels" in shown(differing=True)
    finally:
        xid_catalogue.use({})


def test_an_unknown_code_is_refused_with_a_hint() -> None:
    with pytest.raises(ForeshockError, match="no Xid 999") as refused:
        shown(only=[999])
    assert "172" in refused.value.hint
