import json
import logging
import re
from datetime import UTC, datetime, timedelta, timezone

import msgspec
import pytest

from collector.errors import ForeshockError
from models.cards import (
    SCHEMA,
    Card,
    CurvePoint,
    OperatingPoint,
    check_library,
    decode,
    encode,
    library_versions,
    promised,
)

DAY = datetime(2026, 1, 5, tzinfo=UTC)


def card(**changes):
    return msgspec.structs.replace(
        Card(
            head="imminence",
            created=DAY,
            feature_set="abcd",
            feature_names=("a", "b"),
            label={"min_lead_s": 300},
            label_digest="ee",
            horizon_s=3600,
            point=OperatingPoint(
                threshold=0.4, chosen_by="test", precision=0.9, recall=0.0, alarms_per_day_per_10k=0.5
            ),
            data_from=DAY - timedelta(days=9),
            data_until=DAY,
            n_faults=0,
            n_rows=200,
            dataset="simulated",
            synthetic=True,
            metrics={"ap": 0.5},
            curve=(
                CurvePoint(threshold=0.2, precision=0.5),
                CurvePoint(threshold=0.3, precision=0.7),
                CurvePoint(threshold=0.6, precision=0.95),
            ),
        ),
        **changes,
    )


def test_a_card_comes_back_as_it_was_and_zero_stays_zero():
    once = card(reference={"rows": 2.0, "score": None})
    back = decode(encode(once), "card.json")
    assert back == once
    assert back.n_faults == 0
    assert back.point.recall == 0.0
    assert set(back.versions) >= {"scikit-learn", "skops", "numpy", "python"}


def test_a_card_of_a_newer_foreshock_is_read_without_its_new_fields():
    newer = json.loads(encode(card())) | {"shadow_days": 14}
    newer["point"]["cost"] = 3
    assert decode(json.dumps(newer).encode(), "card.json") == card()


def test_a_newer_schema_is_refused_even_where_its_fields_changed_type():
    newer = json.loads(encode(card())) | {"schema": SCHEMA + 1, "horizon_s": {"low": 600}}
    with pytest.raises(ForeshockError, match="schema 2") as raised:
        decode(json.dumps(newer).encode(), "card.json")
    assert "upgrade" in raised.value.hint


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"{}", b"\xff\xfe", b'{"schema": "1"}'])
def test_what_is_no_card_is_refused_with_the_name_of_the_file(data):
    with pytest.raises(ForeshockError, match=r"somewhere/card\.json"):
        decode(data, "somewhere/card.json")


@pytest.mark.parametrize(
    "changes",
    [
        {"head": "../evil"},
        {"head": ""},
        {"created": datetime(2026, 1, 5)},  # noqa: DTZ001
        {"created": DAY.astimezone(timezone(timedelta(hours=2)))},
        {"data_until": DAY - timedelta(days=10)},
    ],
)
def test_a_card_that_cannot_be_is_refused(changes):
    with pytest.raises(ValueError, match=r"head|UTC|before"):
        Card(**({f: getattr(card(), f) for f in Card.__struct_fields__} | changes))


def test_the_promise_between_two_measured_thresholds_is_the_lower_ones():
    assert promised(card()).precision == 0.9
    assert promised(card(), 0.4).recall == 0.0
    assert promised(card(), 0.59).threshold == 0.3
    assert promised(card(), 0.6).precision == 0.95
    with pytest.raises(ForeshockError, match="nothing was measured"):
        promised(card(), 0.1)


def test_a_synthetic_card_says_so():
    assert "SYNTHETIC" in card().origin
    assert card(synthetic=False).origin == "real"


def test_another_patch_version_is_logged_and_another_minor_refused(caplog):
    major, minor, patch = library_versions()["scikit-learn"].split(".")[:3]
    with caplog.at_level(logging.WARNING):
        check_library(card())
        assert not caplog.records
        check_library(card(versions={"scikit-learn": f"{major}.{minor}.{int(patch) + 1}"}))
    assert len(caplog.records) == 1
    for other in (f"{major}.{int(minor) + 1}.0", f"{int(major) + 1}.{minor}.{patch}"):
        with pytest.raises(ForeshockError, match=re.escape(other)) as raised:
            check_library(card(versions={"scikit-learn": other}))
        assert other in raised.value.hint
    with pytest.raises(ForeshockError, match="unknown"):
        check_library(card(versions={}))
