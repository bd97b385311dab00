"""One answer on the page: what it is, as a table, as a chart, and as a file to take away."""

from __future__ import annotations

import io
from typing import Any

import polars as pl
import streamlit as st

from dashboard.colours import Theme
from dashboard.desk.chart import axes, choose, draw, is_mixed, is_shortened, measures, suggest
from pipeline.sql_apart import Answer


def show(answer: Answer, row_limit: int, theme: Theme) -> None:
    """The answer of the last query."""
    st.markdown(summary(answer, row_limit))
    if is_mixed(answer.rows):
        st.warning(
            "Measured and synthetic rows stand in this answer together: add `WHERE NOT synthetic`.",
            icon=":material/science:",
        )
    if answer.rows.is_empty():
        st.caption("No row matches. Columns: " + ", ".join(answer.rows.columns))
        return
    table, chart = st.tabs(["Table", "Chart"])
    with table:
        st.dataframe(
            viewable(answer.rows),
            hide_index=True,
            column_config=_columns(answer.rows),
            alt=f"The answer: {answer.rows.height} rows, {answer.rows.width} columns",
        )
        _downloads(answer.rows)
    with chart:
        _chart(answer.rows, theme)


def summary(answer: Answer, row_limit: int) -> str:
    """Rows, columns and time in words; plainly, where the answer is not whole."""
    count = answer.rows.height
    told = (
        f"{count:,} {'row' if count == 1 else 'rows'}, {answer.rows.width} columns, {answer.elapsed_s:.2f} s"
    )
    if not answer.is_cut:
        return told
    return f"**Cut at {row_limit:,} rows**: there are more. Aggregate, or ask with LIMIT and OFFSET. ({told})"


def viewable(rows: pl.DataFrame) -> pl.DataFrame:
    """The rows with nested values as JSON and odd types as text, which every browser shows."""
    return rows.with_columns(
        *(_as_json(rows[name]) for name, kind in rows.schema.items() if kind.is_nested()),
        *(
            pl.col(name).cast(pl.Float64)
            for name, kind in rows.schema.items()
            if isinstance(kind, pl.Decimal) or kind in (pl.Int128, pl.UInt128)
        ),
        *(
            pl.col(name).bin.encode("hex")
            for name, kind in rows.schema.items()
            if kind == pl.Binary
        ),
    )  # fmt: skip


def _as_json(column: pl.Series) -> pl.Series:
    whole = pl.DataFrame({"v": column}).select(pl.struct("v").struct.json_encode().alias("j"))["j"]
    # {"v":...} without its wrapping
    told = whole.str.slice(5).str.strip_suffix("}").alias(column.name)
    return pl.select(pl.when(column.is_not_null()).then(told)).to_series().alias(column.name)


def as_csv(rows: pl.DataFrame) -> bytes:
    """UTF-8 with a header; nested values as JSON, since CSV has no place for them."""
    nested = [_as_json(rows[name]) for name, kind in rows.schema.items() if kind.is_nested()]
    binary = [pl.col(name).bin.encode("hex") for name, kind in rows.schema.items() if kind == pl.Binary]
    return rows.with_columns(*nested, *binary).write_csv(datetime_format="%Y-%m-%dT%H:%M:%S%.fZ").encode()


def as_parquet(rows: pl.DataFrame) -> bytes:
    """With the types as they are."""
    out = io.BytesIO()
    rows.write_parquet(out)
    return out.getvalue()


def _columns(rows: pl.DataFrame) -> dict[str, Any]:
    utc = st.column_config.DatetimeColumn(format="YYYY-MM-DD HH:mm:ss", timezone="UTC")
    return {name: utc for name, kind in rows.schema.items() if isinstance(kind, pl.Datetime)}


def _downloads(rows: pl.DataFrame) -> None:
    with st.container(horizontal=True):
        for label, name, make, mime in (
            ("CSV", "answer.csv", as_csv, "text/csv"),
            ("Parquet", "answer.parquet", as_parquet, "application/vnd.apache.parquet"),
        ):
            st.download_button(
                label,
                make(rows),
                name,
                mime,
                on_click="ignore",
                icon=":material/download:",
                key=f"desk-{label}",
            )


def _chart(rows: pl.DataFrame, theme: Theme) -> None:
    first, numbers, names = suggest(rows), measures(rows), axes(rows)
    if first is None or not numbers:
        st.caption("No chart: it takes two rows or more, with a number that measures something.")
        return
    with st.container(horizontal=True):
        x = st.selectbox("x", names, index=names.index(first.x), key="desk-x", width=260)
        y = st.selectbox("y", numbers, index=numbers.index(first.y), key="desk-y", width=260)
    choice = first if (x, y) == (first.x, first.y) else choose(rows, x, y)
    st.altair_chart(
        draw(rows, choice, theme), key="desk-chart", alt=f"{choice.y} over {choice.x}, {choice.kind}"
    )
    if is_shortened(rows, choice):
        st.caption(f"The first bars only, of {rows.height:,} rows: ask for fewer with ORDER BY and LIMIT.")
