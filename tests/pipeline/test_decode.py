from __future__ import annotations

import io

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from collector.records import TOPIC_EVENTS, TOPIC_TELEMETRY
from pipeline import decode
from pipeline.stream import Record
from pipeline.tables import EVENTS, TELEMETRY
from tests.pipeline.samples import event, event_record, sample, telemetry_record


def test_good_records_are_rows_and_bad_ones_have_a_reason():
    good = telemetry_record([sample(0), sample(1)], 3)
    bad = Record(TOPIC_TELEMETRY, 0, 4, "n1", b"not arrow")
    rows, rejected = decode.telemetry([bad, good])
    assert rows.height == 2
    assert rows[decode.RECORD].to_list() == [1, 1]
    assert [(r.record.offset, "Arrow" in r.reason) for r in rejected] == [(4, True)]


def test_an_older_or_newer_agent_is_understood():
    older = pl.DataFrame({"time": [1], "node": ["n1"], "gpu_uuid": ["G"], "power_w": [3]}).with_columns(
        pl.col("time").cast(TELEMETRY["time"])
    )
    newer = older.with_columns(brand_new_c=pl.lit(1.0))
    for rows in (older, newer):
        sink = io.BytesIO()
        rows.write_ipc_stream(sink)
        decoded, rejected = decode.telemetry([Record(TOPIC_TELEMETRY, 0, 0, "n1", sink.getvalue())])
        assert not rejected
        assert decoded["power_w"].to_list() == [3.0]
        assert decoded["temperature_c"].to_list() == [None]


def test_telemetry_without_its_identity_is_rejected():
    sink = io.BytesIO()
    pl.DataFrame({"time": [1]}).write_ipc_stream(sink)
    _, rejected = decode.telemetry([Record(TOPIC_TELEMETRY, 0, 0, "n1", sink.getvalue())])
    assert "node" in rejected[0].reason


def test_one_record_with_impossible_values_takes_no_other_with_it():
    def record(offset: int, power: str) -> Record:
        sink = io.BytesIO()
        rows = pl.DataFrame({"time": [1], "node": ["n1"], "gpu_uuid": ["G"], "power_w": [power]})
        rows.with_columns(pl.col("time").cast(TELEMETRY["time"])).write_ipc_stream(sink)
        return Record(TOPIC_TELEMETRY, 0, offset, "n1", sink.getvalue())

    rows, rejected = decode.telemetry([record(0, "300"), record(1, "lots"), record(2, "310")])
    assert rows["power_w"].to_list() == [300.0, 310.0]
    assert rows[decode.RECORD].to_list() == [0, 2]
    assert [r.record.offset for r in rejected] == [1]


def test_events_keep_their_microseconds():
    rows, rejected = decode.events([event_record(event(1.000001), 0)])
    assert not rejected
    assert rows["time"].dt.microsecond().to_list() == [1]
    assert rows.drop(decode.RECORD).schema == EVENTS


@given(st.binary(max_size=300))
def test_no_bytes_stop_the_stream(value: bytes):
    for topic, read in ((TOPIC_TELEMETRY, decode.telemetry), (TOPIC_EVENTS, decode.events)):
        rows, rejected = read([Record(topic, 0, 0, "n1", value)])
        assert (rows.height, len(rejected)) == (0, 1)


def test_a_batch_that_was_cut_short_is_whole_or_rejected():
    whole = telemetry_record([sample(0, power_w=300.0)], 0).value
    expected, _ = decode.telemetry([Record(TOPIC_TELEMETRY, 0, 0, "n1", whole)])
    cuts = [*range(0, len(whole), 97), *range(len(whole) - 130, len(whole))]
    rejections = 0
    for cut in cuts:
        rows, rejected = decode.telemetry([Record(TOPIC_TELEMETRY, 0, 0, "n1", whole[:cut])])
        rejections += len(rejected)
        assert len(rejected) == 1 or rows.equals(expected), cut
    assert rejections > len(cuts) / 2, "only padding may be missing"
