"""The analysts' door reads the lake, all of it, and does nothing else."""

from __future__ import annotations

import csv
import io
import json
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import get_args

import msgspec
import polars as pl
import pytest

from alerting.incident import Incident, IncidentState
from collector import xid_catalogue
from collector.config import Config, LakeConfig
from collector.errors import ForeshockError
from pipeline import sql_cli
from pipeline.lake import Lake
from pipeline.sql import Desk, Limits, connect
from pipeline.sql_guard import split_explain
from pipeline.tables import TABLES
from tests.lake_fixture import JOB, Story, make_lake, uuid

VIEWS = (
    "events_now", "fault_codes", "gpu_now", "gpu_minute", "gpu_day", "xid_events", "faults", "repeat_offenders",
    "risk_now", "incidents_now", "actions_log", "job_impact", "fleet_mtbf", "inventory_now",
)  # fmt: skip


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    return make_lake(tmp_path_factory.mktemp("lake"))


@pytest.fixture(scope="module")
def desk(story: Story) -> Iterator[Desk]:
    with connect(Lake(story.path).files, story.path, Limits(memory_mib=512, threads=1, time_s=20)) as opened:
        yield opened


@pytest.fixture(scope="module")
def empty_desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    with connect(lambda _: [], tmp_path_factory.mktemp("empty")) as opened:
        yield opened


# --- what is answered -------------------------------------------------------------------------------------


@pytest.mark.parametrize("table", TABLES)
def test_every_table_has_its_columns_and_types_with_and_without_rows(
    desk: Desk, empty_desk: Desk, table: str
) -> None:
    wanted = [*TABLES[table].items(), ("date", pl.Date())]
    full, empty = desk.query(f"FROM {table}"), empty_desk.query(f"FROM {table}")
    assert full.height > 0
    assert empty.height == 0
    assert list(full.schema.items()) == wanted
    assert list(empty.schema.items()) == wanted


@pytest.mark.parametrize("view", VIEWS)
def test_every_view_answers_also_on_an_empty_lake(desk: Desk, empty_desk: Desk, view: str) -> None:
    assert desk.query(f"FROM {view}").schema == empty_desk.query(f"FROM {view}").schema


def test_the_desk_lists_its_views_with_what_each_is_for(desk: Desk) -> None:
    listed = {view.name: view.comment for view in desk.views()}
    assert set(listed) == {*TABLES, *VIEWS}
    assert all(listed.values())


@pytest.mark.parametrize(
    "text",
    [
        "SELECT 1", "FROM gpu_now", "WITH a AS (SELECT 1 AS x) FROM a", "VALUES (1), (2)", "TABLE events",
        "DESCRIBE gpu_now", "DESCRIBE SELECT 1", "SUMMARIZE telemetry", "SHOW TABLES", "SHOW ALL TABLES",
        "EXPLAIN SELECT 1", "explain analyze FROM gpu_now", "-- why\n EXPLAIN /* x */ SELECT 1", "SELECT 1;",
        "SELECT unnest(range(3))", "FROM range(3)", "FROM duckdb_views()", "FROM information_schema.tables",
        "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r WHERE n < 5) FROM r",
        "FROM (PIVOT events ON code IN (31, 79) USING sum(count) GROUP BY node)",
        "SELECT * FROM events SEMI JOIN faults USING (node)",
        "SELECT a.x, b.x FROM (SELECT 1 AS x) a, (SELECT 2 AS x) b", "SELECT 'COPY events TO ''/tmp/x'''",
        "SELECT node, unnest(reasons) FROM risk_now", "SELECT 1 UNION ALL BY NAME SELECT 2 AS b",
    ],
)  # fmt: skip
def test_reading_statements_are_answered(desk: Desk, text: str) -> None:
    assert desk.query(text).width > 0


def test_types_that_polars_cannot_hold_come_as_text(desk: Desk) -> None:
    rows = desk.query(
        "SELECT INTERVAL 90 SECOND AS a, [INTERVAL 1 DAY] AS b, union_value(k := 1) AS c, 1 AS d"
    )
    assert rows.row(0) == ("00:01:30", "[1 day]", "1", 1)


def test_times_are_utc_whatever_the_machine_says(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    rows = desk.query("SELECT max(time) AS t, strftime(max(time), '%H:%M') AS text FROM events")
    assert rows.schema["t"] == pl.Datetime("us", "UTC")
    assert rows["text"].item() == "11:59"


def test_a_parameter_is_a_value_and_never_sql(desk: Desk, story: Story) -> None:
    asked = "SELECT count(*) AS n FROM events WHERE gpu_uuid = $gpu"
    assert desk.query(asked, {"gpu": story.failing}).item() == 2
    assert desk.query(asked, {"gpu": "' OR true --"}).item() == 0


def test_old_files_without_a_column_and_new_ones_with_one_more_are_read_together(tmp_path: Path) -> None:
    folder = tmp_path / "events" / "date=2026-03-01"
    folder.mkdir(parents=True)
    when = datetime(2026, 3, 1, tzinfo=UTC)
    pl.DataFrame({"time": [when], "node": ["a"]}).write_parquet(folder / "old.parquet")
    pl.DataFrame({"time": [when], "node": ["b"], "rack": ["r1"]}).write_parquet(folder / "new.parquet")
    files = {"events": [str(folder / "old.parquet"), str(folder / "new.parquet")]}
    with connect(lambda table: files.get(table, []), tmp_path) as desk:
        rows = desk.query("SELECT node, code, rack, date FROM events ORDER BY node")
    assert rows.rows() == [("a", None, None, when.date()), ("b", None, "r1", when.date())]


# --- what the views mean ----------------------------------------------------------------------------------


def test_gpu_now_is_one_row_per_gpu_the_newest(desk: Desk, story: Story) -> None:
    rows = desk.query("SELECT gpu_uuid, time, gpu_state FROM gpu_now")
    assert rows.height == rows["gpu_uuid"].n_unique() == story.gpus
    assert rows["time"].n_unique() == 1
    assert rows.filter(pl.col("gpu_state") != "ok")["gpu_uuid"].to_list() == [story.failing]


def test_gpu_now_knows_the_silent_and_forgets_them_after_a_day(tmp_path: Path) -> None:
    """By rollups, since only the newest files are read: the last row, not the last rollup's minute."""
    lake, now = Lake(tmp_path), datetime(2026, 3, 2, 12, tzinfo=UTC)
    heard = {
        "fresh": timedelta(0),
        "slow": timedelta(minutes=9),
        "silent": timedelta(hours=3),
        "old": timedelta(days=2),
    }
    for gpu, ago in heard.items():
        for s in (40, 0, 20):
            at = now - ago - timedelta(seconds=s)
            row = {"time": [at], "gpu_uuid": [gpu], "node": ["n"], "power_w": [float(s)]}
            lake.append(
                "telemetry", pl.DataFrame(row, schema_overrides={"time": TABLES["telemetry"]["time"]})
            )
        minute = {"minute": [at.replace(second=0)], "gpu_uuid": [gpu], "node": ["n"], "samples": [3]}
        lake.append("rollups", pl.DataFrame(minute, schema_overrides={"minute": TABLES["rollups"]["minute"]}))
    with connect(lake.files, lake.path) as desk:
        rows = desk.query("SELECT gpu_uuid, time, power_w FROM gpu_now ORDER BY time DESC")
    assert rows.rows() == [(gpu, now - heard[gpu], 0.0) for gpu in ("fresh", "slow", "silent")]


def test_risk_now_agrees_with_the_log_of_predictions(desk: Desk, story: Story) -> None:
    rows = desk.query("SELECT gpu_uuid, risk, reasons FROM risk_now ORDER BY risk DESC")
    assert rows.height == story.gpus
    assert rows["gpu_uuid"][0] == story.failing
    assert rows["risk"][0] == desk.query("SELECT max(risk) FROM predictions").item()
    assert rows["reasons"][0][0]["feature"] == "nvlink_crc_per_min"


def test_application_xids_are_no_faults(desk: Desk, story: Story) -> None:
    marked = dict(desk.query("SELECT code, is_fault FROM xid_events").iter_rows())
    assert marked == {31: False, 63: False, 79: True}
    faults = desk.query("SELECT gpu_uuid, first_code, time FROM faults")
    assert faults.rows() == [(story.failing, 79, story.xid_time)]


def test_the_fault_codes_are_those_of_the_xid_catalogue(desk: Desk) -> None:
    catalogue = Path(__file__).parents[2] / "collector" / "xid_catalogue.tsv"
    with catalogue.open() as file:
        rows = csv.DictReader(file, delimiter="\t")
        wanted = {int(row["code"]) for row in rows if row["label"] in ("fault", "fault_if_fatal")}
    assert set(desk.query("FROM fault_codes")["code"]) == wanted


def test_a_site_says_what_a_fault_is(story: Story) -> None:
    rows = xid_catalogue.shipped()
    try:
        xid_catalogue.use({31: msgspec.structs.replace(rows[31], label="fault"),
                           79: msgspec.structs.replace(rows[79], label="none")})  # fmt: skip
        with connect(Lake(story.path).files, story.path) as desk:
            marked = dict(desk.query("SELECT code, is_fault FROM xid_events").iter_rows())
        xid_catalogue.use({code: msgspec.structs.replace(row, label="none") for code, row in rows.items()})
        with connect(Lake(story.path).files, story.path) as desk:
            assert desk.query("FROM faults").height == desk.query("FROM fault_codes").height == 0
    finally:
        xid_catalogue.use({})
    assert marked == {31: True, 63: False, 79: False}


def test_a_fault_names_the_job_it_hit_and_how_large_it_was(desk: Desk, story: Story) -> None:
    rows = desk.query("SELECT job, gpu_uuid, code, time, job_gpus, job_nodes FROM job_impact")
    assert rows.rows() == [(JOB, story.failing, 79, story.xid_time, story.gpus, 2)]


def test_a_fault_of_an_idle_gpu_hits_no_job_and_the_events_own_job_wins(tmp_path: Path) -> None:
    start, lake = datetime(2026, 3, 1, tzinfo=UTC), Lake(tmp_path)
    told = [_event(start, uuid(0, 0), 79), _event(start, uuid(0, 1), 79, job="own")]
    minutes = [
        {"minute": start - timedelta(minutes=m), "node": "n1", "gpu_uuid": uuid(0, g), "job": job}
        for m, g, job in [(11, 0, "long gone"), (1, 1, "other"), (1, 2, "own"), (30, 3, "own")]
    ]
    lake.append("events", pl.DataFrame(told, infer_schema_length=None))
    lake.append("rollups", pl.DataFrame(minutes))
    with connect(lake.files, tmp_path) as desk:
        assert desk.query("SELECT job, job_gpus FROM job_impact").rows() == [("own", 1)]


def test_mtbf_is_observed_hours_over_faults_and_unknown_without_any(desk: Desk) -> None:
    rows = desk.query(
        "SELECT scope, gpus, gpu_days, faults, gpu_mtbf_h, mtbf_h FROM fleet_mtbf ORDER BY scope, faults"
    )
    hours = 8 * 30 / 60
    assert rows.rows() == [
        ("fleet", 16, pytest.approx(2 * hours / 24), 1, 2 * hours, 0.5),
        ("node", 8, pytest.approx(hours / 24), 0, None, None),
        ("node", 8, pytest.approx(hours / 24), 1, hours, 0.5),
    ]


def test_inventory_now_is_the_last_word_on_each_gpu(tmp_path: Path) -> None:
    start, lake = datetime(2026, 3, 1, tzinfo=UTC), Lake(tmp_path)
    rows = [
        {"time": start + timedelta(days=d), "gpu_uuid": g, "driver_version": f"{g}{d}"}
        for g in "ab"
        for d in (1, 0)
    ]
    lake.append("inventory", pl.DataFrame(rows))
    with connect(lake.files, tmp_path) as desk:
        assert sorted(desk.query("FROM inventory_now")["driver_version"]) == ["a1", "b1"]


def _event(at: datetime, gpu: str, code: int | None, kind: str = "xid", **more: object) -> dict[str, object]:
    return {"time": at, "fingerprint": f"{at}{gpu}{code}", "node": "n1", "kind": kind, "source": "sim", "code": code,
            "gpu_uuid": gpu, "pci_bdf": "0000:18:00", "text": "", "count": 1, "synthetic": True} | more  # fmt: skip


def test_a_burst_is_one_fault_and_a_gpu_that_fails_again_is_a_repeat_offender(tmp_path: Path) -> None:
    start, gpu = datetime(2026, 3, 1, tzinfo=UTC), uuid(0, 0)
    lake = Lake(tmp_path)
    told = [
        _event(start, gpu, 48),
        _event(start + timedelta(minutes=20), gpu, 79),
        _event(start + timedelta(minutes=40), gpu, None, "gpu_lost"),
        _event(start + timedelta(minutes=5), gpu, 31),
        _event(start + timedelta(days=4), gpu, 79, node="n2"),
        _event(start + timedelta(days=4), uuid(0, 1), 149, text="NETIR Nonfatal link"),
        _event(start + timedelta(days=5), uuid(0, 1), 149, text="NETIR Fatal link"),
    ]
    lake.append("events", pl.DataFrame(told, infer_schema_length=None))
    with connect(lake.files, tmp_path) as desk:
        faults = desk.query("SELECT gpu_uuid, codes, events FROM faults ORDER BY time")
        repeats = desk.query("SELECT gpu_uuid, faults, days_between, slots, codes FROM repeat_offenders")
    assert faults.rows() == [(gpu, [48, 79], 3), (gpu, [79], 1), (uuid(0, 1), [149], 1)]
    assert repeats.rows() == [(gpu, 2, 4.0, 2, [48, 79])]


def test_a_storm_is_one_row_with_its_last_count_and_a_replay_does_not_take_it_back(tmp_path: Path) -> None:
    start, gpu = datetime(2026, 3, 1, tzinfo=UTC), uuid(0, 0)
    last = start + timedelta(seconds=17)
    told = [
        _event(start, gpu, 45, fingerprint="storm", seq=1),
        _event(start, gpu, 45, fingerprint="storm", seq=2, count=168_924, last_time=last),
        _event(start, gpu, None, "gpu_lost", fingerprint="lost", seq=3),
        _event(start, gpu, 79, fingerprint="lost", seq=4, text="fallen off the bus"),
        _event(start, gpu, 45, fingerprint="storm", seq=5),
    ]
    Lake(tmp_path).append("events", pl.DataFrame(told, infer_schema_length=None))
    with connect(Lake(tmp_path).files, tmp_path) as desk:
        shown = desk.query("SELECT code, count, last_time FROM xid_events ORDER BY code")
        faults = desk.query("SELECT first_kind, codes, events FROM faults")
    assert shown.rows() == [(45, 168_924, last), (79, 1, None)]
    assert faults.rows() == [("xid", [79], 1)]


def test_an_incident_is_what_its_last_row_says(desk: Desk, story: Story) -> None:
    rows = desk.query("SELECT gpu_uuid, severity, code, is_open FROM incidents_now")
    assert rows.rows() == [(story.failing, "critical", 79, True)]


def test_open_and_closed_are_what_the_watcher_means_by_them(tmp_path: Path) -> None:
    states: tuple[IncidentState, ...] = get_args(IncidentState)
    when = datetime(2026, 3, 1, tzinfo=UTC)
    rows = [
        {"time": when, "incident_id": last, "state": state}
        for last in states
        for state in ("open", last)  # of one moment: the later state counts
    ]
    Lake(tmp_path).append("incidents", pl.DataFrame(rows))
    with connect(Lake(tmp_path).files, tmp_path) as desk:
        shown = {name: (state, is_open) for name, state, is_open in desk.query(
            "SELECT incident_id, state, is_open FROM incidents_now"
        ).iter_rows()}  # fmt: skip
    assert shown == {state: (state, _incident(state).is_open) for state in states}


def _incident(state: IncidentState) -> Incident:
    return Incident(
        incident_id="i", cause="c", node="n", gpu_uuid=None, gpu_index=None, pci_bdf=None, opened_s=0.0,
        last_signal_s=0.0, state=state,
    )  # fmt: skip


def test_actions_say_how_long_after_the_incident_they_came(desk: Desk) -> None:
    rows = desk.query("SELECT state, after_opening_s FROM actions_log ORDER BY time")
    assert rows.rows() == [("decided", 0.0), ("delivered", 1.0), ("acknowledged", 9.0)]


# --- what is refused --------------------------------------------------------------------------------------

HOSTILE = """
COPY events TO '/tmp/foreshock-stolen.csv'
COPY (SELECT 1) TO '/tmp/foreshock-stolen.parquet'
COPY events FROM '/etc/passwd'
EXPORT DATABASE '/tmp/foreshock-stolen'
IMPORT DATABASE '/tmp/foreshock-stolen'
ATTACH '/tmp/foreshock-stolen.db'
ATTACH ':memory:' AS other
DETACH memory
USE memory
INSTALL httpfs
LOAD httpfs
FORCE INSTALL httpfs
SET enable_external_access = true
SET memory_limit = '1TB'
SET lock_configuration = false
SET VARIABLE x = 1
SET allowed_directories = ['/']
RESET memory_limit
PRAGMA version
PRAGMA enable_profiling
PRAGMA memory_limit = '1TB'
CALL pragma_version()
CREATE TABLE t (a INT)
CREATE TABLE t AS SELECT 1
CREATE OR REPLACE VIEW gpu_now AS SELECT 1
CREATE TEMP TABLE t (a INT)
CREATE MACRO f(x) AS x + 1
CREATE SECRET s (TYPE s3)
CREATE SEQUENCE s
CREATE SCHEMA s
CREATE TYPE t AS ENUM ('a')
CREATE INDEX i ON events (node)
DROP VIEW gpu_now
ALTER VIEW gpu_now RENAME TO gone
COMMENT ON VIEW gpu_now IS 'mine'
INSERT INTO events SELECT * FROM events
UPDATE events SET node = 'x'
DELETE FROM events
TRUNCATE events
MERGE INTO events USING faults ON true WHEN MATCHED THEN DELETE
WITH a AS (INSERT INTO events SELECT * FROM events RETURNING *) FROM a
WITH a AS (DELETE FROM events RETURNING *) FROM a
WITH a AS (UPDATE events SET node = 'x' RETURNING *) FROM a
FROM (WITH a AS (DELETE FROM events RETURNING *) FROM a)
BEGIN
COMMIT
CHECKPOINT
FORCE CHECKPOINT
VACUUM
ANALYZE
PREPARE p AS SELECT 1
EXECUTE p
DEALLOCATE p
SELECT 1; SELECT 2
SELECT 1; DROP VIEW gpu_now
SELECT 1; COPY events TO '/tmp/foreshock-stolen.csv'
EXPLAIN ANALYZE COPY (SELECT 1) TO '/tmp/foreshock-stolen.csv'
EXPLAIN COPY (SELECT 1) TO '/tmp/foreshock-stolen.csv'
EXPLAIN ANALYZE INSERT INTO events SELECT * FROM events
EXPLAIN /* ( */ ANALYZE COPY (SELECT 1) TO '/tmp/foreshock-stolen.csv'
EXPLAIN (ANALYZE) COPY (SELECT 1) TO '/tmp/foreshock-stolen.csv'
EXPLAIN EXPLAIN ANALYZE COPY (SELECT 1) TO '/tmp/foreshock-stolen.csv'
/* /* */ EXPLAIN SELECT 1 */ EXPLAIN ANALYZE COPY (SELECT 1) TO '/tmp/foreshock-stolen.csv'
EXPLAIN SELECT 1; COPY (SELECT 1) TO '/tmp/foreshock-stolen.csv'
EXPLAIN SELECT * FROM read_text('/etc/passwd')
FROM read_csv('/etc/passwd')
FROM read_csv_auto('/etc/passwd')
FROM read_text('/etc/passwd')
FROM read_blob('/etc/passwd')
FROM read_json('/etc/passwd')
FROM read_json_objects('/etc/passwd')
FROM read_ndjson('/etc/passwd')
FROM read_parquet('/etc/passwd')
FROM parquet_scan('/etc/passwd')
FROM parquet_metadata('/etc/passwd')
FROM parquet_schema('/etc/passwd')
FROM sniff_csv('/etc/passwd')
FROM read_duckdb('/etc/passwd')
FROM glob('/etc/*')
FROM glob('{lake}/**')
FROM read_parquet('{lake}/**/*.parquet')
FROM read_text('{lake}/../../../../../../../etc/passwd')
FROM '/etc/passwd'
FROM "/etc/passwd"
FROM '{lake}/events/*.parquet'
FROM 'events.csv'
FROM 'https://example.org/x.parquet'
FROM 's3://bucket/x.parquet'
DESCRIBE '/etc/passwd'
SUMMARIZE 'x.parquet'
SELECT (SELECT content FROM read_text('/etc/passwd'))
SELECT * FROM events WHERE node IN (SELECT content FROM read_text('/etc/passwd'))
WITH a AS (FROM read_text('/etc/passwd')) FROM a
SELECT 1 UNION ALL SELECT content FROM read_text('/etc/passwd')
SELECT * FROM events, LATERAL (SELECT * FROM read_text('/etc/passwd'))
FROM query('SELECT 1')
FROM query_table('events')
FROM query('FROM read_text(''/etc/passwd'')')
FROM json_execute_serialized_sql(json_serialize_sql('SELECT 1'))
SELECT read_text('/etc/passwd')
SELECT getenv('HOME')
SELECT write_log('x')
SELECT sleep_ms(10)
SELECT nextval('s')
FROM duckdb_secrets()
FROM which_secret('s3://x', 's3')
FROM duckdb_settings()
FROM duckdb_logs()
FROM pandas_scan(1)
FROM python_map_function(1)
FROM enable_logging()
FROM checkpoint()
FROM truncate_duckdb_logs()
FROM register_external_resource()
PIVOT events ON node
COPY FROM DATABASE memory TO other
KILL 1
SELECT
SELEC 1
-- nothing
"""


@pytest.mark.parametrize("text", [line for line in HOSTILE.splitlines() if line])
def test_a_hostile_statement_is_refused_with_a_hint(desk: Desk, story: Story, text: str) -> None:
    with pytest.raises(ForeshockError) as refused:
        desk.query(text.replace("{lake}", str(story.path)))
    assert str(refused.value)
    assert refused.value.hint
    assert not list(Path("/tmp").glob("foreshock-stolen*"))


def test_there_are_at_least_sixty_hostile_statements() -> None:
    assert len([line for line in HOSTILE.splitlines() if line]) >= 60


def test_after_all_refusals_the_desk_still_answers_the_same(desk: Desk, story: Story) -> None:
    for text in HOSTILE.splitlines():
        with pytest.raises(ForeshockError):
            desk.query(text.replace("{lake}", str(story.path)))
    assert desk.query("SELECT count(*) FROM events").item() == 3
    assert desk.query("SELECT count(*) FROM gpu_now").item() == story.gpus


def test_this_process_variables_cannot_be_read(desk: Desk) -> None:
    secrets = pl.DataFrame({"password": ["hunter2"]})
    assert secrets.height == 1
    with pytest.raises(ForeshockError, match="secrets"):
        desk.query("FROM secrets")


@pytest.mark.parametrize(
    "file_function", ["FROM read_text('/etc/passwd')", "FROM read_csv('/etc/passwd')", "FROM glob('/etc/*')",
                      "COPY (SELECT 1) TO '/tmp/foreshock-stolen.csv'", "SET memory_limit = '1TB'",
                      "ATTACH '/tmp/foreshock-stolen.db'", "INSTALL httpfs"],
)  # fmt: skip
def test_the_lock_behind_the_guard_holds_by_itself(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, file_function: str
) -> None:
    """Without the syntax check, DuckDB's own lock refuses what would leave the lake."""
    monkeypatch.setattr("pipeline.sql._checked", lambda _, text, views: text)
    with pytest.raises(ForeshockError):
        desk.query(file_function)
    assert not list(Path("/tmp").glob("foreshock-stolen*"))


@pytest.mark.parametrize(
    "text",
    [
        "SELECT count(*) FROM range(10000000000) a, range(10000000000) b",
        "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r) SELECT count(*) FROM r",
        "SELECT a.range + b.range FROM range(10000000) a, range(10000000) b",
        "EXPLAIN ANALYZE SELECT count(*) FROM range(10000000000) a, range(10000000000) b",
    ],
)
def test_a_runaway_query_is_stopped(desk: Desk, text: str) -> None:
    start = time.monotonic()
    with pytest.raises(ForeshockError, match=r"longer than 0\.3 s|Out of Memory"):
        desk.query(text, time_limit_s=0.3)
    assert time.monotonic() - start < 10
    assert desk.query("SELECT 1").item() == 1


def test_a_query_that_needs_too_much_memory_is_refused_in_words(desk: Desk) -> None:
    with pytest.raises(ForeshockError, match="Out of Memory") as refused:
        desk.query("SELECT count(*), max(l) FROM (SELECT array_agg(range) AS l FROM range(500000000))")
    assert "date" in refused.value.hint


def test_a_statement_nested_beyond_reason_is_refused(desk: Desk) -> None:
    with pytest.raises(ForeshockError):
        desk.query("SELECT " + "(" * 5000 + "1" + ")" * 5000)
    with pytest.raises(ForeshockError):
        desk.query("SELECT " + "-(" * 900 + "1" + ")" * 900)


def test_two_threads_may_ask_at_once(desk: Desk, story: Story) -> None:
    found: list[int] = []
    threads = [
        threading.Thread(target=lambda: found.append(desk.query("FROM gpu_now").height)) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert found == [story.gpus] * 8


def test_a_broken_table_is_named(tmp_path: Path) -> None:
    broken = tmp_path / "x.parquet"
    broken.write_bytes(b"PAR1 not really")
    with pytest.raises(ForeshockError, match="'events' cannot be read") as refused:
        connect(lambda table: [str(broken)] if table == "events" else [], tmp_path)
    assert "doctor" in refused.value.hint


def test_a_file_that_compaction_took_away_says_ask_again(tmp_path: Path) -> None:
    make_lake(tmp_path, nodes=1, minutes=2)
    with connect(Lake(tmp_path).files, tmp_path) as desk:
        for path in Lake(tmp_path).files("events"):
            Path(path).unlink()
        with pytest.raises(ForeshockError) as refused:
            desk.query("FROM events")
    assert "ask again" in refused.value.hint


@pytest.mark.parametrize(
    ("text", "prefix", "rest"),
    [
        ("SELECT 1", "", "SELECT 1"),
        ("explain SELECT 1", "EXPLAIN ", " SELECT 1"),
        (" -- a\n/* b */EXPLAIN ANALYZE FROM x", "EXPLAIN ANALYZE ", " FROM x"),
        ("SELECT 'EXPLAIN'", "", "SELECT 'EXPLAIN'"),
        ("explained", "", "explained"),
    ],
)
def test_explain_is_taken_off(text: str, prefix: str, rest: str) -> None:
    assert split_explain(text) == (prefix, rest)


# --- the command ------------------------------------------------------------------------------------------


def _ask(story: Story, query: str, fmt: sql_cli.Format, row_limit: int | None = None) -> str:
    out = io.StringIO()
    config = Config(lake=LakeConfig(path=story.path))
    assert sql_cli.run(query, config, out, fmt=fmt, row_limit=row_limit) == 0
    return out.getvalue()


def test_without_a_query_the_command_lists_the_views(story: Story) -> None:
    listed = _ask(story, "", "table")
    assert all(view in listed for view in VIEWS)
    assert "with its reasons" in listed


def test_json_is_one_array_with_nulls_and_times(story: Story) -> None:
    answer = json.loads(_ask(story, "SELECT time, code, job FROM xid_events ORDER BY time", "json"))
    assert answer[-1] == {"time": "2026-03-01T11:59:00Z", "code": 79, "job": None}
    assert json.loads(_ask(story, "SELECT 1 AS a WHERE false", "json")) == []


def test_csv_reads_back(story: Story) -> None:
    rows = list(csv.DictReader(io.StringIO(_ask(story, "FROM risk_now ORDER BY risk DESC", "csv"))))
    assert rows[0]["gpu_uuid"] == story.failing
    assert json.loads(rows[0]["reasons"])[0]["feature"] == "nvlink_crc_per_min"


def test_the_table_shows_null_and_zero_apart_and_says_when_it_is_cut(story: Story) -> None:
    shown = _ask(story, "SELECT 0 AS zero, NULL AS nothing FROM range(5)", "table", row_limit=3)
    assert shown.count("NULL") == 3
    assert "cut after 3 rows" in shown
    assert "cut" not in _ask(story, "SELECT 0 FROM range(3)", "table", row_limit=3)


def test_a_very_long_cell_is_cut_in_the_table_and_whole_in_json(story: Story) -> None:
    shown = _ask(story, "SELECT repeat('x', 5000) AS long, 1 AS short", "table")
    assert "…" in shown
    assert len(shown) < 1000
    assert json.loads(_ask(story, "SELECT repeat('x', 5000) AS long", "json")) == [{"long": "x" * 5000}]


def test_a_cut_json_stays_json(story: Story, capsys: pytest.CaptureFixture[str]) -> None:
    assert len(json.loads(_ask(story, "FROM range(5)", "json", row_limit=2))) == 2
    assert "cut after 2 rows" in capsys.readouterr().err


def test_a_dash_reads_the_query_from_standard_input(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("SELECT 41 + 1 AS answer"))
    assert json.loads(_ask(story, "-", "json")) == [{"answer": 42}]
