from __future__ import annotations

import json
from pathlib import Path

import pytest

import foreshock
from tests.pipeline.job_lakes import at, fault, lake, minutes, save


@pytest.fixture
def config(tmp_path: Path) -> str:
    """A lake in which job 7 meets one fault and job 8 none."""
    story = "w" * 52 + "i" * 4 + "lll" + "w" * 21 + "i" * 5
    eight = minutes("w" * 80, "8", range(4, 6))
    lake(tmp_path / "lake", minutes(story), eight, events=[save(40, 30), fault(50.5)])
    path = tmp_path / "foreshock.toml"
    path.write_text(f'[lake]\npath = "{tmp_path / "lake"}"\n')
    return str(path)


def test_the_table_says_where_the_time_went_and_what_the_number_means(
    config: str, capsys: pytest.CaptureFixture[str]
):
    assert foreshock.main(["--config", config, "ettr"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("SYNTHETIC")
    seven = next(line.split() for line in text.splitlines() if line.startswith("7 "))
    assert seven == ["7", "4", "1.3", "76.25", "76.25", "0.62", "12.50", "1.88", "5.00", "3.75"]
    assert "FLEET" in text
    assert "Effective training time (ETTR) of a job = " in text
    assert "Baige's definition" in text


def test_json_has_all_of_it(config: str, capsys: pytest.CaptureFixture[str]):
    assert foreshock.main(["--config", config, "ettr", "--json", "--job", "7"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [j["job"] for j in told["jobs"]] == ["7"]
    assert told["fleet"]["ettr"] == told["jobs"][0]["ettr"] == 0.7625
    assert told["interruptions"][0]["code"] == 79
    assert told["synthetic"] is True
    assert "lost work" in told["definition"]


def test_a_time_without_a_zone_is_utc(config: str, capsys: pytest.CaptureFixture[str]):
    since, until = f"{at(60):%Y-%m-%dT%H:%M}", f"{at(70):%Y-%m-%dT%H:%M}+00:00"
    assert foreshock.main(["--config", config, "ettr", "--json", "--since", since, "--until", until]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {j["span_s"] for j in told["jobs"]} == {600.0}


def test_the_plot_is_a_png_and_the_same_each_time(config: str, tmp_path: Path):
    first, second = tmp_path / "a.png", tmp_path / "b.png"
    for file in (first, second):
        assert foreshock.main(["--config", config, "ettr", "--plot", str(file)]) == 0
    assert first.read_bytes().startswith(b"\x89PNG")
    assert first.read_bytes() == second.read_bytes()


def test_what_cannot_be_answered_says_why(config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert foreshock.main(["--config", config, "ettr", "--job", "9"]) == 1
    assert "no job 9" in capsys.readouterr().err
    assert foreshock.main(["--config", config, "ettr", "--plot", str(tmp_path / "no" / "x.png")]) == 1
    assert "--plot" in capsys.readouterr().err
    assert foreshock.main(["--config", config, "ettr", "--plot", str(tmp_path / "x.html")]) == 1
    assert "FILE.png" in capsys.readouterr().err
    assert not (tmp_path / "x.html").exists(), "a PNG under another name would open in nothing"
    with pytest.raises(SystemExit) as e:
        foreshock.main(["--config", config, "ettr", "--since", "yesterday"])
    assert e.value.code == 2
    assert "Try: " in capsys.readouterr().err
