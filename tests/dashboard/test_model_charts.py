"""The precision-recall curve: the points that have both figures, and where the model stands."""

from __future__ import annotations

import pytest

from dashboard.colours import Theme
from dashboard.model.charts import precision_over_recall
from dashboard.model.files import Point

CURVE = (
    Point(threshold=0.1, precision=0.0, recall=0.5),
    Point(threshold=0.5, precision=0.9, recall=0.0),
    Point(threshold=0.9, precision=None, recall=0.0),
)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_zero_is_a_point_and_null_is_none(theme: Theme) -> None:
    drawn = precision_over_recall(CURVE, CURVE[1], theme).to_dict()
    rows = sorted(len(rows) for rows in drawn["datasets"].values())
    assert rows == [1, 2]
    assert [layer["mark"]["type"] for layer in drawn["layer"]] == ["line", "point", "point", "text"]


def test_a_model_without_figures_has_an_empty_picture() -> None:
    assert precision_over_recall((), Point(threshold=0.5), "light").to_dict()["layer"]
