"""What a page says when it cannot show its rows: one sentence, and what to do. Never a traceback."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

import streamlit as st
from polars.exceptions import PanicException

from collector.config import Config
from collector.errors import ForeshockError

log = logging.getLogger("foreshock.dashboard")


@contextlib.contextmanager
def instead_of_tracebacks() -> Iterator[None]:
    """Show a failure as a sentence and go on. A page draws again every two seconds: this is the top of its loop."""
    try:
        yield
    except ForeshockError as e:
        say(e)
    except (Exception, PanicException):  # Polars panics on a cut-off file, and its panic is no Exception
        # anything else is a defect or a broken lake: the operator gets a sentence, the log gets the rest
        log.exception("a part of the page failed")
        st.error("This part cannot be shown: the lake or the dashboard is broken.", icon=":material/error:")
        st.caption("Try: run `foreshock doctor`; the dashboard's log says what failed")


def say(error: ForeshockError) -> None:
    """The error in its own words, and its hint."""
    st.error(str(error), icon=":material/error:")
    if error.hint:
        st.caption(f"Try: {error.hint}")


def empty_lake(config: Config) -> None:
    """No GPU was ever seen."""
    st.title("Fleet", anchor=False)
    st.info(
        f"No GPU yet: the lake at `{config.lake.path}` has no telemetry.", icon=":material/hourglass_empty:"
    )
    st.markdown(
        "Start an agent (`foreshock collect`) and the worker (`foreshock ingest`), or watch it all work on "
        "simulated GPUs: `foreshock demo`. `foreshock doctor` says what is missing."
    )
