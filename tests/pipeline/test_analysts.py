"""The documented questions are answered, and the answers mean what the page says."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import duckdb
import polars as pl
import pytest

from collector.errors import ForeshockError
from pipeline.lake import Lake
from pipeline.publish import publish
from pipeline.questions import put_into, questions
from pipeline.sql import Desk, connect
from tests.lake_fixture import JOB, Story, make_lake

PAGE = (Path(__file__).parents[2] / "docs" / "analysts.md").read_text()
QUESTIONS = {question.number: question.sql for question in questions()}


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    """The fixture's lake, where the GPU that fails has failed two days before, in another slot."""
    made = make_lake(tmp_path_factory.mktemp("lake"))
    lake = Lake(made.path)
    first = lake.read("events").filter(pl.col("code") == 79)
    lake.append(
        "events",
        first.with_columns(
            pl.col("time") - timedelta(days=2), fingerprint=pl.lit("earlier"), node=pl.lit("node0001")
        ),
    )
    return made


@pytest.fixture(scope="module")
def desk(story: Story) -> Iterator[Desk]:
    with connect(Lake(story.path).files, story.path) as opened:
        yield opened


def test_there_are_ten_each_with_its_sql_and_what_the_answer_means() -> None:
    assert list(QUESTIONS) == list(range(1, 11))
    assert PAGE.count("```sql") == 10
    assert all(question.title.endswith("?") and len(question.meaning) > 100 for question in questions())


def test_the_page_carries_the_questions_as_they_are() -> None:
    """Else: python -m pipeline.questions docs/analysts.md."""
    assert put_into(PAGE) == PAGE
    assert put_into(PAGE.replace("risk_now", "risk_then")) == PAGE
    with pytest.raises(ForeshockError, match="no place"):
        put_into("# Another page")


ANSWERS: dict[int, Callable[[pl.DataFrame, Story], bool]] = {
    1: lambda r, s: r.row(0)[:5] == (s.failing, "node0002", 3, 0.934, "lost") and r["first_reason"][0] != "",
    2: lambda r, s: r.select("time", "job", "code", "job_gpus").rows() == [(s.xid_time, JOB, 79, s.gpus)],
    3: lambda r, s: (
        r.select("gpu_uuid", "faults", "days_between", "slots").rows() == [(s.failing, 2, 2.0, 2)]
    ),
    4: lambda r, _: r.select("scope", "faults", "mtbf_h").rows() == [("fleet", 1, 0.5), ("node", 1, 0.5)],
    5: lambda r, _: r.select("code", "is_fault", "lines").row(0) == (31, False, 40) and r.height == 3,
    6: lambda r, _: r.height == 1 and r["crc_errors"][0] > 50 * (r["crc_errors_of_peers"][0] + 1),
    7: lambda r, _: r["warned_minutes_before"].to_list() == [None, 3.0],
    8: lambda r, s: r.select("job", "gpus", "gpu_hours").rows() == [(JOB, s.gpus, s.gpus / 2)],
    9: lambda r, s: r.select("name", "gpus", "faults").rows() == [("a simulated H100", s.gpus, 2)],
    10: lambda r, s: r["node"][0] == "node0002" and r["lowest_answered_share"].to_list() == [0.967, 1.0],
}


@pytest.mark.parametrize("number", sorted(QUESTIONS))
def test_the_answer_is_what_the_page_says(desk: Desk, story: Story, number: int) -> None:
    rows = desk.query(QUESTIONS[number])
    assert rows.height > 0
    assert ANSWERS[number](rows, story), rows.rows(named=True)


# --- the catalogue for other tools -------------------------------------------------------------------------


def test_the_catalogue_answers_the_same_to_a_program_that_knows_only_duckdb(
    desk: Desk, story: Story, tmp_path: Path
) -> None:
    file = publish(Lake(story.path).files, tmp_path / "out" / "fleet.duckdb")
    with duckdb.connect(str(file), read_only=True) as other:
        for number, sql in QUESTIONS.items():
            assert other.execute(sql).fetchall() == desk.query(sql).rows(), number
        with pytest.raises(duckdb.Error):
            other.execute("DROP VIEW faults")
    assert [f.name for f in file.parent.iterdir()] == ["fleet.duckdb"]


def test_the_catalogue_is_replaced_under_its_readers(tmp_path: Path) -> None:
    make_lake(tmp_path / "lake", nodes=1, minutes=2)
    lake, file = Lake(tmp_path / "lake"), tmp_path / "fleet.duckdb"
    publish(lake.files, file)
    stop, counts = threading.Event(), list[int]()

    def read() -> None:
        while not stop.is_set():
            with duckdb.connect(str(file), read_only=True) as other:
                counts.append(other.execute("SELECT count(*) FROM events").fetchall()[0][0])

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(5):
        lake.append("events", lake.read("events").head(1))
        publish(lake.files, file)
    stop.set()
    reader.join(timeout=30)
    assert counts == sorted(counts)
    assert set(counts) <= set(range(3, 9))


def test_a_catalogue_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ForeshockError, match="cannot be written"):
        publish(lambda _: [], tmp_path / "file" / "fleet.duckdb")
