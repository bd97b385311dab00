from __future__ import annotations

import msgspec
import pytest

from collector.batch import SCHEMA
from collector.records import COUNTERS, FIELDS, GAUGES, READINGS, STATES, Event, Reason, Risk

UNITS = {"_c": "C", "_w": "W", "_mib": "MiB", "_s": "s", "_us": "us", "_mhz": "MHz", "_pct": "%", "_j": "J"}


def test_every_field_has_its_unit_in_its_name():
    for field in FIELDS:
        suffix = max((s for s in UNITS if field.name.endswith(s)), key=len, default="")
        if suffix:
            assert field.unit == UNITS[suffix], field.name
    assert len({f.name for f in FIELDS}) == len(FIELDS)
    assert all(f.source and f.meaning for f in FIELDS)


def test_the_arrow_schema_is_the_table():
    assert SCHEMA.names == [f.name for f in FIELDS]
    assert {*COUNTERS, *GAUGES, *STATES} == set(READINGS)


EVENT = (
    b'{"fingerprint":"f","time":1.5,"node":"n","kind":"xid","source":"kmsg","gpu_uuid":"G","gpu_index":0,'
    b'"pci_bdf":"0000:18:00","code":79,"pid":null,"process":null,"job":null,"text":"t","root_code":null,'
    b'"recovery_action":null,"count":1,"synthetic":true,"root_fingerprint":null,"last_time":null}'
)
RISK = (
    b'{"time":60.0,"node":"n","gpu_uuid":"G","gpu_index":0,"pci_bdf":null,"risk":0.5,"horizon_s":3600,'
    b'"model_id":"m","feature_set":"f","reasons":[{"feature":"x","value":null,"healthy":"0","share":1.0,'
    b'"text":""}],"synthetic":true,"job":null}'
)


@pytest.mark.parametrize(("kind", "golden"), [(Event, EVENT), (Risk, RISK)])
def test_the_bytes_on_the_wire_are_frozen(kind: type[Event] | type[Risk], golden: bytes):
    """A change here is a new schema version, with a reader for the old one."""
    assert msgspec.json.encode(msgspec.json.decode(golden, type=kind)) == golden


@pytest.mark.parametrize(("kind", "golden"), [(Event, EVENT), (Risk, RISK)])
def test_a_newer_writers_extra_keys_are_ignored(kind: type[Event] | type[Risk], golden: bytes):
    newer = golden.replace(b"{", b'{"brand_new":1,', 1)
    assert msgspec.json.decode(newer, type=kind) == msgspec.json.decode(golden, type=kind)


def test_an_event_of_an_older_writer_is_still_read():
    older = EVENT.replace(b',"root_fingerprint":null,"last_time":null', b"")
    assert older != EVENT
    assert msgspec.json.decode(older, type=Event) == msgspec.json.decode(EVENT, type=Event)


def test_a_risk_of_an_older_writer_is_still_read():
    older = RISK.replace(b',"job":null', b"")
    assert older != RISK
    assert msgspec.json.decode(older, type=Risk) == msgspec.json.decode(RISK, type=Risk)


def test_a_reason_without_a_value_says_null():
    assert b'"value":null' in msgspec.json.encode(Reason(feature="x", value=None, healthy="0", share=0.0))
