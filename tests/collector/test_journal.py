from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from collector.batch import Row
from collector.journal import Journal
from collector.records import COLUMNS


@contextmanager
def journal_at(path: Path, last_spooled: int) -> Iterator[Journal]:
    journal = Journal(path, last_spooled)
    yield journal
    journal.close()


def left_at(path: Path, last_spooled: int) -> list[Row]:
    """What an agent that starts now finds."""
    with journal_at(path, last_spooled) as journal:
        return journal.recover()


def row(n: int) -> tuple[object, ...]:
    return (n, "n1", *([None] * (len(COLUMNS) - 2)))


def test_a_killed_agents_rows_are_there_and_a_spooled_batchs_are_not(tmp_path: Path):
    path = tmp_path / "j"
    with journal_at(path, 0) as journal:
        journal.append([row(1), row(2)])
        journal.append([row(3)])
    with journal_at(path, 0) as again:
        assert again.recover() == [row(1), row(2), row(3)]
        assert again.batch == 1
        again.spooled()
    assert left_at(path, 1) == []


def test_a_crash_between_spool_and_journal_repeats_nothing(tmp_path: Path):
    path = tmp_path / "j"
    with journal_at(path, 0) as journal:
        journal.append([row(1)])
        spooled_but_not_told = journal.batch
    assert left_at(path, spooled_but_not_told) == []


def test_rows_after_a_recovery_are_a_batch_of_their_own(tmp_path: Path):
    path = tmp_path / "j"
    with journal_at(path, 4) as journal:
        journal.append([row(1)])
    with journal_at(path, 4) as again:
        again.spooled()
        again.append([row(2)])
    assert left_at(path, 5) == [row(2)]


def test_rows_added_before_the_recovered_ones_are_spooled_join_them(tmp_path: Path):
    path = tmp_path / "j"
    for n in (1, 2):
        with journal_at(path, 0) as journal:
            journal.append([row(n)])
    assert left_at(path, 0) == [row(1), row(2)]


@given(st.integers(0, 400))
def test_wherever_the_write_was_torn_whole_ticks_come_back(tmp_path_factory, cut: int):
    path = tmp_path_factory.mktemp("j") / "j"
    with journal_at(path, 0) as journal:
        for n in range(3):
            journal.append([row(n)])
    os.truncate(path, max(0, path.stat().st_size - cut))
    rows = left_at(path, 0)
    assert rows == [row(n) for n in range(len(rows))]
    assert cut > 0 or len(rows) == 3


@given(st.binary(max_size=200))
def test_a_file_of_anything_is_no_crash(tmp_path_factory, content: bytes):
    path = tmp_path_factory.mktemp("j") / "j"
    path.write_bytes(content)
    with journal_at(path, 0) as journal:
        journal.append([row(1)])


def test_a_journal_of_another_versions_columns_is_set_aside(tmp_path: Path):
    path = tmp_path / "j"
    with journal_at(path, 0) as journal:
        journal.append([row(1)])
    data = bytearray(path.read_bytes())
    data[4] += 1
    path.write_bytes(data)
    assert left_at(path, 0) == []
