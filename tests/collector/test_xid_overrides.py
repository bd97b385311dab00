"""A site's own rows: they count everywhere, and what cannot be meant is refused with the word that was."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from collector import xid_catalogue
from collector.errors import ConfigError
from collector.xid_overrides import load_overrides, parse_overrides


@pytest.fixture(autouse=True)
def _take_them_away_again() -> Iterator[None]:
    yield
    xid_catalogue.use({})


def use(text: str) -> None:
    xid_catalogue.use(parse_overrides(text))


def test_a_row_of_the_site_counts_everywhere() -> None:
    assert not xid_catalogue.is_terminal(63)
    use(
        '[xid.63]\nterminal = "yes"\nlabel = "fault"\naction = "drain_now"\nwhy = "our boards never come back"\n'
    )
    assert xid_catalogue.is_terminal(63)
    assert xid_catalogue.is_fault(63)
    assert not xid_catalogue.is_precursor(63)
    explained = xid_catalogue.explain(63)
    assert explained is not None
    assert (explained.action, explained.why) == ("drain_now", "our boards never come back")
    assert "changed by overrides" in explained.sources


def test_what_a_row_does_not_say_stays_ours() -> None:
    before = xid_catalogue.lookup(79)
    use('[xid.79]\naction = "checkpoint_and_drain"\n')
    after = xid_catalogue.lookup(79)
    assert before is not None
    assert after is not None
    assert (after.action, after.why, after.terminal) == ("checkpoint_and_drain", before.why, before.terminal)
    assert xid_catalogue.shipped()[79] == before


def test_a_code_of_a_driver_yet_to_come_can_be_told() -> None:
    assert xid_catalogue.lookup(180) is None
    use('[xid.180]\nmeaning = "flux capacitor"\nterminal = "yes"\naction = "drain_now"\n')
    assert xid_catalogue.is_terminal(180)
    explained = xid_catalogue.explain(180)
    assert explained is not None
    assert "flux capacitor" in explained.text
    assert 180 in xid_catalogue.nearest(181)


def test_without_overrides_everything_is_as_shipped() -> None:
    use('[xid.79]\nterminal = "no"\n')
    xid_catalogue.use({})
    assert xid_catalogue.is_terminal(79)
    assert xid_catalogue.entries() == xid_catalogue.shipped()
    assert parse_overrides("") == {}


@pytest.mark.parametrize(("text", "message", "hint"), [
    ('[xid.79]\nacton = "drain_now"', "did you mean action?", "keys:"),
    ('[xid.79]\naction = "drain_later"', "did you mean drain", "one of:"),
    ('[xid.79]\nterminal = true', "must be a text (got True)", 'terminal = "..."'),
    ('[xid.79]\nwhy = ""', "must be a text", "why"),
    ('[xids.79]\nwhy = "x"', "did you mean xid?", "[xid.79]"),
    ('[xid.seventynine]\nwhy = "x"', "not an Xid", "[xid.79]"),
    ('[xid.0]\nwhy = "x"', "not an Xid", "[xid.79]"),
    ('[xid.180]\nwhy = "x"', "no meaning is given", "172"),
    ('xid = 79', "must be a table", "[xid.79]"),
    ('[xid]\n79 = "drain"', "must be a table", "[xid.79]"),
    ('[xid.79\n', "not TOML", "[xid.79]"),
])  # fmt: skip
def test_what_cannot_be_meant_is_refused_with_the_nearest_word(text: str, message: str, hint: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_overrides(text)
    assert message in str(refused.value)
    assert hint in refused.value.hint


def test_a_file_is_read_and_a_missing_one_is_named(tmp_path: Path) -> None:
    file = tmp_path / "xid.toml"
    file.write_text('[xid.31]\naction = "observe"\nwhy = "ours"\n')
    assert load_overrides(file)[31].why == "ours"
    file.write_bytes(b"\xff\xfe")
    for path, reason in ((file, "not UTF-8"), (tmp_path / "none.toml", "No such file")):
        with pytest.raises(ConfigError, match=reason) as refused:
            load_overrides(path)
        assert str(path) in str(refused.value)
        assert "collector.xid_overrides" in refused.value.hint
