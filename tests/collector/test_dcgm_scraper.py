from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from collector.dcgm_scraper import Scraper, Tick
from collector.errors import ConfigError
from collector.records import COLUMNS
from tests.collector.dcgm_text import OTHER, UUID, dev, series

ONE = dev("GPU_TEMP", 40)
TWO = ONE + series("DCGM_FI_DEV_GPU_TEMP", 50, gpu=1, of=OTHER)


class Exporter:
    """A real HTTP server that gives the text it is told to."""

    def __init__(self) -> None:
        self.text = ONE
        self.status = 200
        self.respond: Callable[[BaseHTTPRequestHandler], None] | None = None
        self.release = threading.Event()
        self.authorization: list[str | None] = []
        exporter = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                exporter.authorization.append(self.headers["Authorization"])
                if exporter.respond is not None:
                    exporter.respond(self)
                    return
                body = exporter.text.encode()
                self.send_response(exporter.status)
                self.send_header("Location", "file:///etc/passwd")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,))
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/metrics"

    def close(self) -> None:
        self.release.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(timeout=5)


@pytest.fixture
def exporter() -> Iterator[Exporter]:
    exporter = Exporter()
    yield exporter
    exporter.close()


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def named(tick: Tick) -> list[dict[str, object]]:
    return [dict(zip(COLUMNS, row, strict=True)) for row in tick.rows]


def states(tick: Tick) -> list[tuple[object, object]]:
    return [(row["gpu_state"], row["gap_s"]) for row in named(tick)]


def test_a_scrape_gives_a_row_per_gpu_and_the_gap_since_the_last(exporter: Exporter, clock: Clock):
    scraper = Scraper(exporter.url, node="n", now_s=clock)
    exporter.text = TWO
    rows = named(scraper.tick())
    assert [(r["node"], r["gpu_uuid"], r["temperature_c"], r["gap_s"]) for r in rows] == [
        ("n", UUID, 40, None), ("n", OTHER, 50, None),
    ]  # fmt: skip
    clock.now += 30
    assert states(scraper.tick()) == [("ok", 30.0), ("ok", 30.0)]


def test_a_scrape_that_fails_leaves_every_known_gpu_its_row(exporter: Exporter, clock: Clock):
    scraper = Scraper(exporter.url, node="n", now_s=clock)
    exporter.text = TWO
    scraper.tick()
    exporter.status = 503
    clock.now += 30
    tick = scraper.tick()
    assert states(tick) == [("unread", 30.0), ("unread", 30.0)]
    assert [r["temperature_c"] for r in named(tick)] == [None, None]
    assert [r["gpu_index"] for r in named(tick)] == [0, 1]
    assert (scraper.counts.scrapes, scraper.counts.failures) == (2, 1)
    assert "503" in scraper.counts.last_error
    exporter.status = 200
    clock.now += 30
    assert states(scraper.tick()) == [("ok", 60.0), ("ok", 60.0)]
    assert scraper.counts.last_error == ""


def test_an_exporter_that_is_not_there_is_no_exception(exporter: Exporter, clock: Clock):
    exporter.close()
    scraper = Scraper(exporter.url, node="n", now_s=clock)
    assert scraper.tick() == Tick([], [])
    assert scraper.counts.failures == 1


def test_headers_alone_are_the_exporters_fault_not_the_gpus(exporter: Exporter, clock: Clock):
    """dcgm-exporter issue 222: every HELP and TYPE line, and no series."""
    scraper = Scraper(exporter.url, node="n", now_s=clock)
    scraper.tick()
    exporter.text = "# HELP DCGM_FI_DEV_SM_CLOCK SM clock\n# TYPE DCGM_FI_DEV_SM_CLOCK gauge\n"
    tick = scraper.tick()
    assert [state for state, _ in states(tick)] == ["unread"]
    assert tick.events == []
    assert scraper.counts.problems == {"no_gpus": 1}


def test_a_gpu_that_is_no_longer_listed_is_missing_and_told_once(exporter: Exporter, clock: Clock):
    scraper = Scraper(exporter.url, node="n", now_s=clock)
    exporter.text = TWO
    scraper.tick()
    exporter.text = ONE
    ticks = [scraper.tick() for _ in range(4)]
    assert [[state for state, _ in states(t)] for t in ticks] == [["ok", "missing"]] * 4
    events = [e for t in ticks for e in t.events]
    assert [(e.kind, e.source, e.gpu_uuid) for e in events] == [("gpu_missing", "dcgm", OTHER)]
    exporter.text = TWO
    assert [state for state, _ in states(scraper.tick())] == ["ok", "ok"]


def test_one_scrape_without_a_gpu_is_no_event(exporter: Exporter, clock: Clock):
    scraper = Scraper(exporter.url, node="n", now_s=clock)
    events = []
    for text in (TWO, ONE, TWO, ONE, TWO):
        exporter.text = text
        events += scraper.tick().events
    assert events == []


def test_a_swapped_card_starts_a_new_history(exporter: Exporter, clock: Clock):
    scraper = Scraper(exporter.url, node="n", now_s=clock)
    scraper.tick()
    exporter.text = series("DCGM_FI_DEV_GPU_TEMP", 41, of=OTHER) + series(
        "DCGM_FI_DEV_XID_ERRORS", 79, of=OTHER
    )
    tick = scraper.tick()
    assert [(r["gpu_uuid"], r["gap_s"]) for r in named(tick)] == [(OTHER, None)]
    assert tick.events == []
    assert [gpu.uuid for gpu in scraper.gpus()] == [OTHER]


def test_an_xid_is_told_once_and_not_again_after_a_failed_scrape(exporter: Exporter, clock: Clock):
    scraper = Scraper(exporter.url, node="n", now_s=clock, synthetic=True)
    scraper.tick()
    exporter.text = ONE + dev("XID_ERRORS", 79)
    (event,) = scraper.tick().events
    assert (event.code, event.synthetic) == (79, True)
    exporter.status = 500
    scraper.tick()
    exporter.status = 200
    assert scraper.tick().events == []


def test_the_last_node_left_in_a_federated_text_keeps_its_own_name(exporter: Exporter, clock: Clock):
    scraper = Scraper(exporter.url, node="here", now_s=clock)
    exporter.text = dev("GPU_TEMP", 40, Hostname="a") + series(
        "DCGM_FI_DEV_GPU_TEMP", 50, of=OTHER, Hostname="b"
    )
    assert [r["node"] for r in named(scraper.tick())] == ["a", "b"]
    exporter.text = dev("GPU_TEMP", 40, Hostname="a")
    rows = named(scraper.tick())
    assert [(r["node"], r["gpu_state"]) for r in rows] == [("a", "ok"), ("b", "unread")]


def test_an_answer_that_never_ends_is_cut_off_in_time(exporter: Exporter, clock: Clock):
    def drip(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        try:
            while not exporter.release.wait(0.02):
                handler.wfile.write(b"x")
        except OSError:
            return  # the scraper hung up

    exporter.respond = drip
    scraper = Scraper(exporter.url, node="n", now_s=clock, timeout_s=0.2)
    assert scraper.tick() == Tick([], [])
    assert scraper.counts.last_error == "the answer did not end in time"
    assert scraper.counts.last_duration_s is not None
    assert scraper.counts.last_duration_s < 2


def test_a_silent_exporter_is_given_up_in_time(exporter: Exporter, clock: Clock):
    exporter.respond = lambda _: (exporter.release.wait(10), None)[1]
    scraper = Scraper(exporter.url, node="n", now_s=clock, timeout_s=0.2)
    scraper.tick()
    assert scraper.counts.failures == 1
    assert "timed out" in scraper.counts.last_error


def test_an_answer_that_is_too_long_is_refused(exporter: Exporter, clock: Clock):
    exporter.text = ONE * 1000
    scraper = Scraper(exporter.url, node="n", now_s=clock, max_bytes=10_000)
    scraper.tick()
    assert scraper.counts.last_error == "the answer is longer than 10000 bytes"


def test_a_redirect_is_not_followed(exporter: Exporter, clock: Clock):
    exporter.status = 302
    scraper = Scraper(exporter.url, node="n", now_s=clock)
    scraper.tick()
    assert scraper.counts.last_error == "HTTP status 302"


def test_a_proxy_of_the_environment_is_not_asked(
    exporter: Exporter, clock: Clock, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    assert len(Scraper(exporter.url, node="n", now_s=clock).tick().rows) == 1


def test_binary_rubbish_is_counted(exporter: Exporter, clock: Clock):
    def rubbish(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(b"\xff\xfe\0DCGM_FI_DEV_X{\xff} 1\nDCGM_FI_\xff{ 1\n")

    exporter.respond = rubbish
    scraper = Scraper(exporter.url, node="n", now_s=clock)
    assert scraper.tick() == Tick([], [])
    assert scraper.counts.problems == {"no_gpus": 1, "unreadable_line": 1}


def test_the_authorization_is_read_from_its_file(exporter: Exporter, clock: Clock, tmp_path: Path):
    secret = tmp_path / "token"
    secret.write_text("Bearer abc\n")
    Scraper(exporter.url, node="n", now_s=clock, authorization_file=str(secret)).tick()
    assert exporter.authorization == ["Bearer abc"]
    scraper = Scraper(exporter.url, node="n", now_s=clock, authorization_file=str(tmp_path / "gone"))
    scraper.tick()
    assert "No such file" in scraper.counts.last_error


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://h/x", "localhost:9400", "", "http://"])
def test_an_address_that_is_not_http_is_refused(url: str, clock: Clock):
    with pytest.raises(ConfigError, match="dcgm_url"):
        Scraper(url, node="n", now_s=clock)
