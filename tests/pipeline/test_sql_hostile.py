"""What a stranger may type into the desk: nothing written, no file or setting read, nothing left running.

More of what the guard refuses is in test_sql.py; here are the ways around a guard, and what cannot be interrupted.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collector.errors import ForeshockError
from pipeline.lake import Lake
from pipeline.sql import Desk, Limits, connect
from pipeline.sql_apart import ask
from tests.lake_fixture import Story, make_lake

SMALL = Limits(memory_mib=256, threads=1, time_s=1.0)

HOSTILE = r"""
FROM "{lake}/stolen".csv
FROM "{lake}/stolen"."csv"
FROM main."{lake}/stolen.csv"
FROM memory."{lake}/stolen".csv
SELECT * FROM "{lake}/stolen".csv AS t
WITH x AS (FROM "{lake}/stolen".csv) FROM x
SELECT (SELECT max(a) FROM "{lake}/stolen".csv)
DESCRIBE "{lake}/stolen".csv
SUMMARIZE "{lake}/stolen".csv
EXPLAIN ANALYZE FROM "{lake}/stolen".csv
FROM '{lake}/stolen.csv'
FROM "{lake}/events/_delta_log/00000000000000000000".json
FROM stolen.csv
FROM main.csv
FROM main.parquet
FROM "stolen.csv"
FROM (WITH "stolen.csv" AS (SELECT 1) FROM "stolen.csv"), "stolen.csv"
FROM "https://example.org/x".csv
FROM "s3://bucket/x".parquet
FROM 'gs://bucket/x.parquet'
FROM 'hf://datasets/a/b.parquet'
FROM 'file:{lake}/stolen.csv'
FROM '~/stolen.csv'
FROM "stolen*"
FROM nobody.nothing.events
FROM pg_settings
FROM pg_catalog.pg_settings
FROM system.pg_catalog.pg_settings
FROM PG_SETTINGS
FROM duckdb_logs
FROM main.duckdb_logs
FROM duckdb_databases
FROM pragma_database_list
FROM pg_catalog.pg_prepared_statements
FROM duckdb_logs_parsed('x')
FROM duckdb_extensions()
FROM duckdb_memory()
FROM duckdb_temporary_files()
FROM duckdb_variables()
FROM duckdb_prepared_statements()
FROM duckdb_external_file_cache()
FROM duckdb_external_resources()
FROM duckdb_profiling_settings()
FROM pragma_platform()
FROM pragma_database_size()
FROM pragma_storage_info('events')
FROM pragma_metadata_info()
FROM pragma_user_agent()
FROM create_external_resource('x')
FROM register_external_resource_type('x')
FROM enable_profiling()
FROM force_checkpoint()
FROM seq_scan('events')
FROM arrow_scan(1, 2, 3)
FROM python_arrow_scan(1, 2)
FROM parquet_full_metadata('{lake}/stolen.csv')
FROM parquet_kv_metadata('{lake}/stolen.csv')
FROM parquet_file_metadata('{lake}/stolen.csv')
FROM parquet_bloom_probe('{lake}/stolen.csv', 'a', 1)
FROM read_single_csv_file('{lake}/stolen.csv')
FROM read_json_auto('{lake}/stolen.csv')
FROM READ_CSV('{lake}/stolen.csv')
FROM "read_csv"('{lake}/stolen.csv')
FROM main.read_csv('{lake}/stolen.csv')
FROM system.main.read_csv('{lake}/stolen.csv')
SELECT '{lake}/stolen.csv'.read_text()
SELECT getenv('PATH')
SELECT main.getenv('PATH')
SELECT system.main.getenv('PATH')
SELECT "GetEnv"('PATH')
SELECT 'PATH'.getenv()
SELECT list_transform(['PATH'], lambda x: getenv(x))
SELECT node FROM events ORDER BY getenv('PATH')
SELECT max(getenv('PATH')) OVER () FROM events
SELECT current_setting('allowed_directories')
SELECT current_setting('home_directory')
SELECT getvariable('x')
SELECT pg_sleep(100)
SELECT sleep_ms(100000)
SELECT currval('s')
SELECT setseed(0.5)
SHOW VARIABLES
SHOW "{lake}/stolen.csv"
DESCRIBE duckdb_logs
SELECT 1;;SELECT 2
SELECT 1; -- ; SELECT 2\nSELECT 3
SELECT /* ; */ 1; DETACH memory
;
/* SELECT 1 */
--SELECT 1
SELECT 1 /*
SELECT 'a
SELECT $1
SELECT ?
SELECT $name
ＳＥＬＥＣＴ 1
SEL\u200bECT 1
\u202eSELECT 1
\ufeffDROP VIEW events
DROP\u00a0VIEW events
SELECT 1\x00; DROP VIEW events
SELECT '\ud800'
CREATE MACRO f() AS TABLE FROM events
CREATE OR REPLACE TEMP MACRO count(x) AS 0
CREATE TEMP VIEW gpu_now AS SELECT 1
CREATE FUNCTION f(x) AS x
CREATE TRIGGER t AFTER INSERT ON events FOR EACH ROW SELECT 1
PREPARE p AS DELETE FROM events
EXECUTE p(1)
VACUUM ANALYZE events
CHECKPOINT memory
PIVOT events ON code USING count(*)
PIVOT (FROM events) ON node
COPY (FROM events) TO '{lake}/stolen.csv' (FORMAT csv)
COPY (FROM events) TO '{lake}/stolen.parquet'
COPY (WITH x AS (SELECT 1) FROM x) TO '/dev/stdout'
EXPORT DATABASE '{lake}/stolen' (FORMAT parquet)
ATTACH '{lake}/stolen.db' AS s
ATTACH 'https://example.org/x.db'
ATTACH 'postgres:host=example.org' AS p (TYPE postgres)
DETACH DATABASE IF EXISTS memory
INSTALL httpfs FROM community
LOAD '{lake}/stolen.csv'
UPDATE EXTENSIONS
SET GLOBAL threads = 64
SET SESSION schema = 'x'
RESET ALL
PRAGMA database_list
CALL duckdb_settings()
CREATE PERSISTENT SECRET s (TYPE s3, KEY_ID 'a', SECRET 'b')
DROP SECRET s
BEGIN TRANSACTION READ ONLY
ROLLBACK
ABORT
TRUNCATE TABLE telemetry
MERGE INTO events USING (SELECT 1 AS a) ON true WHEN NOT MATCHED THEN INSERT DEFAULT VALUES
INSERT OR REPLACE INTO events DEFAULT VALUES
UPDATE telemetry SET power_w = 0
DELETE FROM telemetry USING events
WITH RECURSIVE a AS (DELETE FROM events RETURNING *) FROM a
SELECT * FROM (DELETE FROM events RETURNING *)
FROM query('DELETE FROM events')
FROM query_table(['events', 'telemetry'])
FROM json_execute_serialized_sql('{}')
SELECT json_execute_serialized_sql('{}')
SELECT COLUMNS(lambda c: getenv('PATH')) FROM events
SELECT * REPLACE (getenv('PATH') AS node) FROM events
SELECT 1 LIMIT (SELECT count(*) FROM read_csv('/etc/passwd'))
TABLE '{lake}/stolen.csv'
FROM events ASOF JOIN '{lake}/stolen.csv' AS x USING (time)
PIVOT '{lake}/stolen.csv' ON a
UNPIVOT '{lake}/stolen.csv' ON COLUMNS(*)
SELECT * FROM (DESCRIBE '{lake}/stolen.csv')
SELECT * FROM events AT (VERSION => 1)
EXPLAIN ANALYZE COPY events TO '{lake}/stolen2.csv'
FROM which_secret('s3://x', 's3')
FROM duckdb_secrets()
FROM sniff_csv('/etc/passwd')
FROM delta_scan('{lake}/events')
FROM checkpoint()
FROM test_all_types()
FROM sql_auto_complete('SEL')
IMPORT DATABASE '{lake}/stolen'
SET VARIABLE x = 1
COMMENT ON VIEW events IS 'x'
ALTER VIEW events RENAME TO stolen
"""
LINES = [
    line.encode("ascii", "backslashreplace").decode("unicode_escape") if "\\" in line else line
    for line in HOSTILE.replace("{{}}", "{}").splitlines()
    if line
]


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    made = make_lake(tmp_path_factory.mktemp("lake"), minutes=5)
    (made.path / "stolen.csv").write_text("a\n1\n")
    return made


@pytest.fixture(scope="module")
def desk(story: Story) -> Iterator[Desk]:
    with connect(Lake(story.path).files, story.path, Limits(256, 1, 30.0)) as opened:
        yield opened


@pytest.fixture(scope="module", autouse=True)
def _the_lake_is_untouched(story: Story) -> Iterator[None]:
    """After everything that is tried here, each file of the lake has the bytes that it had."""
    before = _bytes_of(story.path)
    yield
    assert _bytes_of(story.path) == before


def _bytes_of(lake: Path) -> dict[str, str]:
    return {
        str(path.relative_to(lake)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(lake.rglob("*"))
        if path.is_file()
    }


def test_the_statements_are_many_and_different() -> None:
    assert len(set(LINES)) == len(LINES) >= 60


@pytest.mark.parametrize("text", LINES)
def test_a_hostile_statement_is_refused_in_words(
    desk: Desk, story: Story, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also for a reader that stands in the lake's own folder, where a bare name is a file's."""
    monkeypatch.chdir(story.path)
    with pytest.raises(ForeshockError) as refused:
        desk.query(text.replace("{lake}", str(story.path)))
    assert str(refused.value)
    assert refused.value.hint
    assert desk.query("SELECT count(*) FROM gpu_now").item() == story.gpus


@pytest.mark.parametrize(
    "text",
    [
        "FROM main.events", "FROM memory.main.gpu_now", "FROM information_schema.columns", "FROM duckdb_views",
        "SELECT node AS csv FROM events", "WITH csv AS (SELECT 1 AS a) FROM csv", "SHOW TABLES", "SHOW SCHEMAS",
        "UNPIVOT events ON code",
        "SELECT '/etc/passwd' AS a", 'SELECT 1 AS "a.csv"', "SELECT * FROM events WHERE node IN ('/x.csv')",
        "SELECT sum(count) OVER () FROM events", "SELECT max(node) FILTER (code = 79) FROM events",
    ],
)  # fmt: skip
def test_what_only_looks_hostile_is_answered(desk: Desk, text: str) -> None:
    assert desk.query(text).width > 0


def test_a_statement_longer_than_any_person_writes_is_refused(desk: Desk) -> None:
    with pytest.raises(ForeshockError, match="longer than"):
        desk.query("SELECT " + "1 + " * 30_000 + "1")


WORDS = [
    "SELECT", "FROM", "events", "read_text", "(", ")", "'/etc/passwd'", ";", "--", "/*", "*/", "DELETE", "WITH", "a",
    "AS", "\n", "EXPLAIN", "ANALYZE", "COPY", "TO", '"x"', ".", "csv", "getenv", "'PATH'", "1", ",", "UNION", "\x00",
]  # fmt: skip


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join))
def test_whatever_is_typed_is_answered_or_refused_in_words(desk: Desk, text: str) -> None:
    try:
        rows = desk.query(text, row_limit=10)
    except ForeshockError:
        return
    assert os.environ["PATH"] not in str(rows.rows())


# --- in a process of its own --------------------------------------------------------------------------------

RUNAWAY = {
    "within one call": "SELECT levenshtein(repeat('a', 300000), repeat('b', 300000))",
    "a memory that nobody counts": "SELECT damerau_levenshtein(repeat('a', 30000), repeat('b', 30000))",
    "a string of gigabytes": "SELECT length(repeat('x', 3000000000))",
    "a list of everything": "SELECT list_sum(range(300000000))",
    "a cross join": "SELECT count(*) FROM range(1000000000000) a, range(1000000000000) b",
    "a recursion without end": "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n FROM r) SELECT max(n) FROM r",
    "sorting a trillion": "SELECT random() FROM range(1000000000000) ORDER BY 1",
    "one huge answer": "SELECT repeat('x', 50000000) AS a FROM range(100)",
    "a padding of gigabytes": "SELECT lpad('x', 2000000000, 'y')",
    "an aggregate of all": "SELECT length(string_agg(repeat('x', 1000000), '')) FROM range(100000)",
}  # fmt: skip


@pytest.mark.parametrize("text", RUNAWAY.values(), ids=RUNAWAY)
def test_a_runaway_query_ends_with_its_process(story: Story, text: str) -> None:
    start_s = time.monotonic()
    with pytest.raises(ForeshockError, match=r"longer than 1 s|emory") as refused:
        ask(story.path, text, SMALL, row_limit=1000)
    assert refused.value.hint
    assert time.monotonic() - start_s < 30
    assert not _children()


def test_an_answer_comes_back_whole_and_says_when_it_is_cut(story: Story) -> None:
    found = ask(story.path, "SELECT node, reasons FROM risk_now ORDER BY risk DESC", SMALL, row_limit=3)
    assert found.is_cut
    assert found.rows.height == 3
    assert found.rows["reasons"][0][0]["feature"] == "nvlink_crc_per_min"
    assert not ask(story.path, "FROM range(3)", SMALL, row_limit=3).is_cut
    assert 0 < found.elapsed_s < 10


@pytest.mark.parametrize(
    "text", ["DROP VIEW events", "SELECT '\ud800'", "", "SELECT getenv('PATH')", "FROM nowhere"]
)
def test_the_guard_stands_there_too(story: Story, text: str) -> None:
    with pytest.raises(ForeshockError) as refused:
        ask(story.path, text, SMALL, row_limit=10)
    assert refused.value.hint


def test_a_broken_lake_says_so(tmp_path: Path) -> None:
    make_lake(tmp_path, nodes=1, minutes=2)
    for path in (tmp_path / "events").rglob("*.parquet"):
        path.write_bytes(b"{nonsense")
    with pytest.raises(ForeshockError, match="'events' cannot be read") as refused:
        ask(tmp_path, "SELECT 1", SMALL, row_limit=10)
    assert "doctor" in refused.value.hint


def test_who_goes_away_ends_the_query(story: Story) -> None:
    class GoneError(Exception):
        pass

    def leave(elapsed_s: float) -> None:
        if elapsed_s > 0.3:
            raise GoneError

    with pytest.raises(GoneError):
        ask(story.path, RUNAWAY["within one call"], Limits(256, 1, 60.0), row_limit=10, tick=leave)
    assert not _children()


def test_a_quick_query_does_not_wait_for_a_slow_one(story: Story) -> None:
    ended: list[str] = []
    begun = threading.Event()

    def slow() -> None:
        with pytest.raises(ForeshockError, match="longer than 12 s"):
            ask(
                story.path,
                RUNAWAY["within one call"],
                Limits(256, 1, 12.0),
                row_limit=1,
                tick=lambda _: begun.set(),
            )
        ended.append("slow")

    thread = threading.Thread(target=slow)
    thread.start()
    assert begun.wait(timeout=30)
    assert ask(story.path, "SELECT 42 AS answer", SMALL, row_limit=1).rows.item() == 42
    ended.append("quick")
    thread.join(timeout=60)
    assert ended == ["quick", "slow"]


def _children() -> list[str]:
    """This process's own children that still answer queries."""
    found = []
    for task in Path("/proc/self/task").iterdir():
        for pid in (task / "children").read_text().split():
            command = Path("/proc", pid, "cmdline").read_bytes().replace(b"\0", b" ").decode()
            if "sql_child" in command:
                found.append(command)
    return found
