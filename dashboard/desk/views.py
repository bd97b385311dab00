"""What can be asked: the views of the lake with their comments and columns."""

from __future__ import annotations

import polars as pl
import streamlit as st

from dashboard import queries


@st.cache_data(ttl=60, show_spinner=False)
def views(lake: str) -> pl.DataFrame:
    """One row per table or view, in the order they were made: name, comment, columns (a line each)."""
    return queries.ask(
        lake,
        """
        SELECT v.view_name AS name, v.comment, string_agg(
            '`' || c.column_name || '` ' || if(len(c.data_type) > 40, c.data_type[:40] || '…', lower(c.data_type)),
            '  \n' ORDER BY c.column_index
        ) AS columns
        FROM duckdb_views() AS v JOIN duckdb_columns() AS c
            ON c.table_name = v.view_name AND c.schema_name = v.schema_name AND NOT c.internal
        WHERE NOT v.internal
        GROUP BY v.view_oid, v.view_name, v.comment
        ORDER BY v.view_oid
        """,
    )


def listing(lake: str) -> None:
    """All of them, each to be opened for its columns."""
    st.subheader("What there is", anchor=False)
    with st.container(height=430, gap="xsmall"):
        for row in views(lake).iter_rows(named=True):
            with st.expander(row["name"]):
                st.caption(row["comment"] or "")
                st.markdown(row["columns"])
