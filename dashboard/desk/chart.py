"""An answer as a picture: which columns make a sensible one, and the picture. Rows in, an Altair chart out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import altair as alt
import polars as pl
from polars.datatypes import DataType

from dashboard.colours import Theme

Kind = Literal["line", "bar", "points"]

NOT_A_MEASURE: Final = frozenset({"gpu_index", "code", "first_code", "root_code", "pid", "seq"})
"""Numbers that name something: a mean or a height of them says nothing."""
MOST_COLOURS: Final = 8
MOST_BARS: Final = 60
ORIGIN: Final = "origin"
"""Column made where measured and synthetic rows stand in one answer; they never share a line or a bar."""

_COLOURS: Final = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#b2a000", "#888888"]
"""Okabe and Ito's, readable by every kind of colour sight."""
_ONE: Final[dict[Theme, str]] = {"light": "#0072b2", "dark": "#56b4e9"}


@dataclass(frozen=True, slots=True)
class Choice:
    """What is drawn: `y` over `x`, one colour per value of `colour` (empty: one colour)."""

    kind: Kind
    x: str
    y: str
    colour: str = ""


def measures(rows: pl.DataFrame) -> list[str]:
    """The columns that may be a height: numbers that measure something."""
    return [n for n, t in rows.schema.items() if t.is_numeric() and n not in NOT_A_MEASURE]


def axes(rows: pl.DataFrame) -> list[str]:
    """The columns that may be the x axis."""
    return [n for n, t in rows.schema.items() if not t.is_nested() and t not in (pl.Binary, pl.Null)]


def suggest(rows: pl.DataFrame) -> Choice | None:
    """Time and a number make a line, a category and a number bars, two numbers points; else nothing does."""
    numbers = measures(rows)
    if rows.height < 2 or not numbers:
        return None
    times = [n for n in axes(rows) if rows.schema[n].is_temporal()]
    words = [n for n in axes(rows) if _is_category(n, rows.schema[n])]
    x = next(iter([*times, *words]), None)
    if x is not None:
        return choose(rows, x, numbers[0])
    return choose(rows, numbers[0], numbers[1]) if len(numbers) > 1 else None


def choose(rows: pl.DataFrame, x: str, y: str) -> Choice:
    """How `y` over `x` is best drawn. Two rows of one place are points: a line would jump, bars would add them up."""
    colour = _colour(rows, x, y)
    one_each = rows.select(x, *([colour] if colour else [])).n_unique() == rows.height
    if not one_each:
        return Choice("points", x, y, colour)
    kind = rows.schema[x]
    shape: Kind = "line" if kind.is_temporal() else "bar" if _is_category(x, kind) else "points"
    return Choice(shape, x, y, colour)


def _is_category(name: str, kind: DataType) -> bool:
    return (
        kind in (pl.String, pl.Boolean) or isinstance(kind, pl.Enum | pl.Categorical) or name in NOT_A_MEASURE
    )


def _colour(rows: pl.DataFrame, x: str, y: str) -> str:
    """The first category of a few values that tells rows with the same x apart."""
    if rows[x].n_unique() == rows.height:
        return ""
    for name in axes(rows):
        if name in (x, y) or not _is_category(name, rows.schema[name]):
            continue
        if 2 <= rows[name].n_unique() <= MOST_COLOURS:
            return name
    return ""


def is_mixed(rows: pl.DataFrame) -> bool:
    """Whether measured and synthetic rows stand in this answer together."""
    if rows.schema.get("synthetic") != pl.Boolean:
        return False
    return bool(rows["synthetic"].any() and not rows["synthetic"].fill_null(False).all())


def is_shortened(rows: pl.DataFrame, choice: Choice) -> bool:
    """Whether there are more bars than are drawn."""
    return choice.kind == "bar" and rows.height > MOST_BARS


def draw(rows: pl.DataFrame, choice: Choice, theme: Theme) -> alt.Chart:
    """The chart. Times are UTC; of bars the first MOST_BARS."""
    if is_mixed(rows):
        origin = pl.when(pl.col("synthetic")).then(pl.lit("synthetic")).otherwise(pl.lit("measured"))
        rows, choice = rows.with_columns(origin.alias(ORIGIN)), Choice("points", choice.x, choice.y, ORIGIN)
    # plain names: Vega reads dots and brackets in a column's name as a path
    shown = rows.select(
        _drawable(choice.x, rows).alias("x"),
        _drawable(choice.y, rows).alias("y"),
        (_drawable(choice.colour, rows) if choice.colour else pl.lit("")).alias("colour"),
    )
    chart = _bars(shown.head(MOST_BARS), choice) if choice.kind == "bar" else _over_x(shown, choice, rows)
    if choice.colour:
        scale = alt.Scale(range=_COLOURS)
        legend = alt.Legend(orient="top", title=choice.colour)
        return chart.encode(color=alt.Color("colour:N", scale=scale, legend=legend))
    return chart.encode(color=alt.value(_ONE[theme]))


def _drawable(name: str, rows: pl.DataFrame) -> pl.Expr:
    kind = rows.schema[name]
    if isinstance(kind, pl.Decimal) or kind in (pl.Int128, pl.UInt128):
        return pl.col(name).cast(pl.Float64)
    return pl.col(name).cast(pl.String) if kind in (pl.Time, pl.Duration) else pl.col(name)


def _bars(shown: pl.DataFrame, choice: Choice) -> alt.Chart:
    """Lying, since names read better beside their bar than turned under it; colours beside one another."""
    names = alt.Y("x:N", title=choice.x, sort=None, axis=alt.Axis(labelLimit=260))
    rows = shown.with_columns(pl.col("x").cast(pl.String).fill_null("NULL"))
    length = alt.X("y:Q", title=choice.y)
    chart: alt.Chart = alt.Chart(rows).mark_bar().encode(y=names, x=length, tooltip=_tooltip(choice, "x:N"))
    if choice.colour:
        chart = chart.encode(yOffset=alt.YOffset("colour:N"))
    return chart


def _over_x(shown: pl.DataFrame, choice: Choice, rows: pl.DataFrame) -> alt.Chart:
    if isinstance(rows.schema[choice.x], pl.Datetime | pl.Date):
        x = alt.X("x:T", title=f"{choice.x} (UTC)", scale=alt.Scale(type="utc"))
        kind = "x:T"
    elif _is_category(choice.x, rows.schema[choice.x]) or shown.schema["x"] == pl.String:
        x, kind = alt.X("x:N", title=choice.x, sort=None), "x:N"
    else:
        x, kind = alt.X("x:Q", title=choice.x, scale=alt.Scale(zero=False)), "x:Q"
    base = alt.Chart(shown)
    drawn = base.mark_line(point=True) if choice.kind == "line" else base.mark_circle(size=45, opacity=0.7)
    y = alt.Y("y:Q", title=choice.y)
    chart: alt.Chart = drawn.encode(x=x, y=y, tooltip=_tooltip(choice, kind)).properties(height=340)
    return chart


def _tooltip(choice: Choice, x: str) -> list[alt.Tooltip]:
    when = alt.Tooltip(x, title=choice.x)
    if x == "x:T":
        when = alt.Tooltip(x, title=choice.x, format="%Y-%m-%d %H:%M:%S")
    told = [when, alt.Tooltip("y:Q", title=choice.y)]
    return [*told, alt.Tooltip("colour:N", title=choice.colour)] if choice.colour else told
