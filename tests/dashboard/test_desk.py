"""The analyst's desk: worked questions, SQL of one's own, its limits, and what is said when it fails."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from streamlit.testing.v1 import AppTest

from dashboard.desk import page as desk
from dashboard.desk import result
from dashboard.desk.chart import Choice, choose, draw, is_mixed, suggest
from pipeline.questions import questions
from pipeline.sql import Limits
from pipeline.sql_apart import Answer
from tests.lake_fixture import Story, make_lake


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    return make_lake(tmp_path_factory.mktemp("lake"), minutes=5)


def _page(config_path: str) -> None:
    from collector.config_file import load
    from dashboard.desk import page as desk

    desk.page(load(config_path))


def _open(lake: Path, folder: Path, **url: str) -> AppTest:
    config = folder / "foreshock.toml"
    config.write_text(f'[lake]\npath = "{lake}"\n')
    app = AppTest.from_function(_page, args=(str(config),), default_timeout=60)
    app.query_params.update(url)
    return app.run()


def _text(app: AppTest) -> str:
    kinds = (app.title, app.subheader, app.markdown, app.caption, app.error, app.info, app.warning)
    return "\n".join(element.value for kind in kinds for element in kind)


def _run(app: AppTest, sql: str) -> AppTest:
    app.text_area[0].set_value(sql)
    return next(button for button in app.button if button.label == "Run").click().run()


def test_a_link_to_a_worked_question_answers_it(story: Story, tmp_path: Path) -> None:
    app = _open(story.path, tmp_path, q="1")
    assert not app.exception
    assert not app.error
    assert app.selectbox[0].value == 1
    rows = app.dataframe[0].value
    assert rows["gpu_uuid"][0] == story.failing
    assert rows.shape == (10, 8)
    assert "10 rows, 8 columns, " in _text(app)
    assert "probability of a fault" in _text(app)


def test_choosing_a_question_runs_it_and_names_it_in_the_link(story: Story, tmp_path: Path) -> None:
    app = _open(story.path, tmp_path)
    assert not app.dataframe
    app.selectbox[0].select(8).run()
    assert app.text_area[0].value == questions()[7].sql.rstrip()
    assert app.dataframe[0].value["job"].to_list() == ["4711"]
    assert app.query_params[desk.ASKED] in ("8", ["8"])


def test_sql_in_a_link_is_shown_and_not_run(story: Story, tmp_path: Path) -> None:
    app = _open(story.path, tmp_path, q="SELECT 41 + 1 AS answer")
    assert app.text_area[0].value == "SELECT 41 + 1 AS answer"
    assert not app.dataframe
    next(button for button in app.button if button.label == "Run").click().run()
    assert app.dataframe[0].value["answer"].to_list() == [42]


def test_what_is_typed_is_answered_stays_and_can_be_linked(story: Story, tmp_path: Path) -> None:
    app = _run(_open(story.path, tmp_path, q="1"), "SELECT node FROM events WHERE code = 79")
    assert app.dataframe[0].value["node"].to_list() == ["node0002"]
    assert "1 row, 1 columns" in _text(app)
    assert app.query_params[desk.ASKED] in (
        "SELECT node FROM events WHERE code = 79",
        ["SELECT node FROM events WHERE code = 79"],
    )
    app.run()
    assert app.text_area[0].value == "SELECT node FROM events WHERE code = 79"
    assert app.dataframe[0].value["node"].to_list() == ["node0002"]


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("DROP VIEW events", "only reading is allowed"),
        ("FROM read_text('/etc/passwd')", "read_text() is not allowed"),
        ("SELECT nothing FROM events", "nothing"),
        ("   ", "nothing to ask"),
    ],
)
def test_what_cannot_be_asked_is_said_in_words_and_the_page_lives_on(
    story: Story, tmp_path: Path, sql: str, said: str
) -> None:
    app = _run(_open(story.path, tmp_path), sql)
    assert not app.exception
    assert said in app.error[0].value
    assert "Try: " in _text(app)
    assert _run(app, "SELECT 1 AS a").dataframe[0].value["a"].to_list() == [1]


def test_a_runaway_query_is_ended_and_the_page_lives_on(
    story: Story, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desk, "LIMITS", Limits(memory_mib=256, threads=1, time_s=1.0))
    app = _run(_open(story.path, tmp_path), "SELECT levenshtein(repeat('a', 300000), repeat('b', 300000))")
    assert "longer than 1 s" in app.error[0].value
    monkeypatch.undo()
    assert _run(app, "SELECT 1 AS a").dataframe[0].value["a"].to_list() == [1]


def test_an_answer_that_is_cut_says_so(story: Story, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desk, "ROWS", 5)
    app = _run(_open(story.path, tmp_path), "FROM range(100)")
    assert "**Cut at 5 rows**: there are more" in _text(app)
    assert app.dataframe[0].value.shape == (5, 1)


def test_the_views_stand_beside_it_with_comments_and_columns(story: Story, tmp_path: Path) -> None:
    app = _open(story.path, tmp_path)
    assert {"telemetry", "gpu_now", "risk_now"} <= {expander.label for expander in app.expander}
    assert "the last prediction of each GPU" in _text(app)
    assert "`gpu_uuid` varchar" in _text(app)
    assert "synthetic data" in _text(app)


@pytest.mark.parametrize("made", [True, False])
def test_an_empty_or_missing_lake_answers_with_nothing(tmp_path: Path, made: bool) -> None:
    lake = tmp_path / "lake"
    if made:
        lake.mkdir()
    app = _open(lake, tmp_path, q="1")
    assert not app.exception
    assert not app.error
    assert "No row matches" in _text(app)


def test_a_broken_lake_is_a_sentence(tmp_path: Path) -> None:
    make_lake(tmp_path / "lake", nodes=1, minutes=2)
    for path in (tmp_path / "lake" / "events").rglob("*.parquet"):
        path.write_bytes(b"{nonsense")
    app = _open(tmp_path / "lake", tmp_path, q="1")
    assert not app.exception
    assert app.error
    assert "foreshock doctor" in _text(app)


# --- charts -------------------------------------------------------------------------------------------------

START = datetime(2026, 3, 1, tzinfo=UTC)
TIMES = [START + timedelta(minutes=m) for m in range(4)]


def test_time_and_a_number_make_a_line_with_one_colour_per_node() -> None:
    rows = pl.DataFrame({"time": TIMES * 2, "node": ["a"] * 4 + ["b"] * 4, "power_w": range(8)})
    assert suggest(rows) == Choice("line", "time", "power_w", "node")
    assert suggest(rows.head(4)) == Choice("line", "time", "power_w")


def test_many_rows_of_one_time_are_points_since_a_line_would_jump() -> None:
    rows = pl.DataFrame({"time": TIMES * 2, "power_w": range(8)})
    assert suggest(rows) == Choice("points", "time", "power_w")


def test_a_category_and_a_number_make_bars_and_a_code_is_a_category() -> None:
    rows = pl.DataFrame({"code": [79, 31], "events": [2, 40]})
    assert suggest(rows) == Choice("bar", "code", "events")
    assert suggest(pl.DataFrame({"node": ["a", "b"], "risk": [0.1, 0.2]})) == Choice("bar", "node", "risk")


def test_bars_never_add_up_two_rows_of_one_name() -> None:
    rows = pl.DataFrame({"node": ["a", "a", "b"], "kind": ["x", "y", "x"], "temperature_c": [60, 70, 65]})
    assert suggest(rows) == Choice("bar", "node", "temperature_c", "kind")
    assert "yOffset" in draw(rows, choose(rows, "node", "temperature_c"), "light").to_dict()["encoding"]
    assert choose(rows.drop("kind"), "node", "temperature_c").kind == "points"


def test_two_numbers_make_points_and_less_makes_nothing() -> None:
    rows = pl.DataFrame({"power_w": [1.0, 2.0], "temperature_c": [3, 4]})
    assert suggest(rows) == Choice("points", "power_w", "temperature_c")
    assert suggest(rows.head(1)) is None
    assert suggest(rows.select("power_w")) is None
    assert suggest(pl.DataFrame({"node": ["a", "b"], "gpu_index": [1, 2]})) is None


def test_measured_and_synthetic_rows_never_share_a_line() -> None:
    rows = pl.DataFrame({"time": TIMES, "power_w": range(4), "synthetic": [True, True, False, None]})
    assert is_mixed(rows)
    drawn = json.loads(draw(rows, choose(rows, "time", "power_w"), "light").to_json())
    assert drawn["mark"]["type"] == "circle"
    assert drawn["encoding"]["color"]["legend"]["title"] == "origin"
    assert not is_mixed(rows.head(2))
    assert not is_mixed(rows.tail(2))


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_columns_with_odd_names_and_types_are_drawn(theme: str) -> None:
    rows = pl.DataFrame(
        {
            "a.b[0]": ["x", None],
            "n:Q": pl.Series([1, 2], dtype=pl.Decimal(10, 2)),
            "big": pl.Series([1, 2], dtype=pl.Int128),
        }
    )
    for y in ("n:Q", "big"):
        drawn = json.loads(draw(rows, choose(rows, "a.b[0]", y), theme).to_json())  # type: ignore[arg-type]
        assert drawn["encoding"]["x"]["title"] == y
        assert drawn["encoding"]["y"]["field"] == "x"


# --- files --------------------------------------------------------------------------------------------------


def test_csv_and_parquet_read_back() -> None:
    rows = pl.DataFrame(
        {
            "time": TIMES[:2],
            "reasons": [[{"text": "a,b", "share": 0.5}], None],
            "zero": [0, None],
            "blob": [b"\x01", None],
        }
    )
    back = pl.read_csv(io.BytesIO(result.as_csv(rows)))
    assert back["time"][0] == "2026-03-01T00:00:00Z"
    assert json.loads(back["reasons"][0]) == [{"text": "a,b", "share": 0.5}]
    assert back["reasons"][1] is None
    assert back["zero"].to_list() == [0, None]
    assert back["blob"][0] == 1 or back["blob"][0] == "01"
    assert pl.read_parquet(io.BytesIO(result.as_parquet(rows))).equals(rows)


def test_odd_types_can_be_shown() -> None:
    rows = pl.DataFrame(
        {"m": [[1, 2], None], "s": [{"a": 1}, None], "d": pl.Series([1, None], dtype=pl.Decimal(9, 2))}
    )
    shown = result.viewable(rows)
    assert shown["m"].to_list() == ["[1,2]", None]
    assert shown["s"].to_list() == ['{"a":1}', None]
    assert shown["d"].to_list() == [1.0, None]


def test_the_summary_counts_in_words() -> None:
    rows = pl.DataFrame({"a": [1]})
    assert result.summary(Answer(rows, False, 0.5), 10) == "1 row, 1 columns, 0.50 s"
    assert result.summary(Answer(rows, True, 0.5), 1).startswith("**Cut at 1 rows**")
