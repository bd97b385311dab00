from __future__ import annotations

import dataclasses
import typing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.config import Config
from collector.config_file import load, parse
from collector.errors import ConfigError


def test_every_table_and_key_can_be_written_and_read_back():
    hints = typing.get_type_hints(Config)
    for stage in (f.name for f in dataclasses.fields(Config) if f.name != "path"):
        for key in typing.get_type_hints(hints[stage]):
            default = getattr(getattr(Config(), stage), key)
            written = (
                {True: "true", False: "false"}.get(default, repr(default))
                if isinstance(default, bool)
                else None
            )
            if isinstance(default, str | Path):
                written = f'"{default}"'
            elif isinstance(default, tuple):
                written = str(list(default)).replace("'", '"')
            text = f"[{stage}]\n{key} = {written if written is not None else default}\n"
            assert getattr(getattr(parse(text), stage), key) == default


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[collecter]\n", "did you mean collector?"),
        ("[collector]\nintervl_s = 1\n", "did you mean interval_s?"),
        ("[collector]\ninterval_s = -1\n", "must be >= 0 (got -1)"),
        ('[collector]\ninterval_s = "1"\n', "must be a number"),
        ("[collector]\nnode = 3\n", "must be a str"),
        ("[collector]\nsynthetic = 1\n", "must be a bool"),
        ("[ingest]\ndead_letters_per_minute = true\n", "must be a int"),
        ('[bridge]\ndrain_command = "x"\n', "must be a list of strings"),
        ("collector = 1\n", "must be a table"),
        ("[collector\n", "not TOML"),
    ],
)
def test_what_is_wrong_is_named_with_the_rule(text: str, says: str):
    with pytest.raises(ConfigError) as e:
        parse(text, "f.toml")
    assert says in str(e.value)
    assert e.value.hint


def test_without_a_file_the_defaults_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("FORESHOCK_CONFIG", raising=False)
    assert load().collector.interval_s == 1.0
    (tmp_path / "foreshock.toml").write_text("[collector]\ninterval_s = 2\n")
    assert load().collector.interval_s == 2.0
    monkeypatch.setenv("FORESHOCK_CONFIG", str(tmp_path / "gone.toml"))
    with pytest.raises(ConfigError, match=r"gone\.toml"):
        load()


@given(st.text(max_size=200))
def test_no_text_is_a_traceback(text: str):
    try:
        parse(text)
    except ConfigError as e:
        assert e.hint  # noqa: PT017 - most texts are refused, and some are fine
