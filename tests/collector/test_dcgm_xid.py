from __future__ import annotations

from collections.abc import Iterable

from collector.dcgm import parse
from collector.dcgm_xid import GpuKey, Xids, events, remember
from collector.records import Event
from tests.collector.dcgm_text import OTHER, UUID, dev, series

TEMP = dev("GPU_TEMP", 40)


def xid(code: int, **labels: str) -> str:
    return TEMP + dev("XID_ERRORS", code, **labels)


def counted(name: str, **codes: int) -> str:
    return TEMP + "".join(
        series(f"DCGM_EXP_XID_ERRORS_{name}", n, xid=code.removeprefix("x")) for code, n in codes.items()
    )


def told(texts: Iterable[str]) -> list[list[Event]]:
    """What each scrape in turn tells."""
    before: dict[GpuKey, Xids] = {}
    out = []
    for at, text in enumerate(texts):
        scrape = parse(text, float(at), "n")
        gpus = {gpu.key: gpu for gpu in scrape.gpus}
        out.append(events(before, scrape.events_state, gpus, float(at)))
        before = remember(before, scrape.events_state)
    return out


def codes(texts: Iterable[str]) -> list[list[tuple[int | None, int]]]:
    return [[(e.code, e.count) for e in scrape] for scrape in told(texts)]


def test_a_sticky_xid_is_told_once_per_change():
    assert codes([xid(0), xid(79), xid(79), xid(79), xid(48), xid(48)]) == [
        [], [(79, 1)], [], [], [(48, 1)], [],
    ]  # fmt: skip


def test_the_xid_first_seen_is_not_told():
    """It may be weeks old, and would be told again at every start."""
    assert codes([xid(79), xid(79), xid(31)]) == [[], [], [(31, 1)]]


def test_a_driver_reload_is_no_event_and_the_same_xid_after_it_is():
    assert codes([xid(79), xid(0), xid(79)]) == [[], [], [(79, 1)]]


def test_a_series_that_appears_with_the_first_xid_is_told():
    """Real exporters leave the series out until there was an Xid."""
    assert codes([TEMP, TEMP, xid(79)]) == [[], [], [(79, 1)]]


def test_a_series_that_is_away_for_a_scrape_is_not_news_when_it_is_back():
    assert codes([xid(79), TEMP, xid(79)]) == [[], [], []]
    assert codes([xid(79), "", xid(79)]) == [[], [], []]


def test_a_blank_xid_is_none():
    blank = TEMP + dev("XID_ERRORS", 9223372036854775794)
    assert codes([xid(0), blank, TEMP + dev("XID_ERRORS", 4294967295), xid(0)]) == [[], [], [], []]


def test_a_gpu_that_is_new_brings_no_old_xid():
    newcomer = series("DCGM_FI_DEV_XID_ERRORS", 79, gpu=1, of=OTHER)
    assert codes([xid(0), xid(0) + newcomer]) == [[], []]


def test_repeats_of_one_code_show_in_the_counts():
    assert codes([counted("COUNT", x31=0), counted("COUNT", x31=1), counted("COUNT", x31=4)]) == [
        [], [(31, 1)], [(31, 3)],
    ]  # fmt: skip
    assert codes([counted("TOTAL", x31=5), counted("TOTAL", x31=5, x79=1)]) == [[], [(79, 1)]]


def test_a_window_that_moves_on_is_no_event():
    assert codes([counted("COUNT", x31=3), counted("COUNT", x31=1), TEMP]) == [[], [], []]


def test_the_gauge_and_the_count_tell_one_event():
    before = xid(0) + counted("COUNT", x79=0)
    after = xid(79) + counted("COUNT", x79=2)
    assert codes([before, after]) == [[], [(79, 2)]]


def test_mig_instances_repeat_the_xid_and_it_is_told_once():
    rows = "".join(dev("XID_ERRORS", 94, GPU_I_ID=str(i)) for i in (3, 5))
    assert codes([TEMP, TEMP + rows]) == [[], [(94, 1)]]


def test_an_event_says_where_what_and_whose():
    (event,) = told([TEMP, xid(79, err_code="79", err_msg="GPU has fallen off the bus", hpc_job="17")])[1]
    assert (event.source, event.kind, event.node) == ("dcgm", "xid", "n")
    assert (event.gpu_uuid, event.gpu_index, event.pci_bdf) == (UUID, 0, "0000:00:00")
    assert event.text == "Xid 79 by dcgm-exporter: GPU has fallen off the bus"
    assert event.job == "17"
    assert event.time == 1.0
