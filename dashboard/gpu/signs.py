"""Is the alert true? A second sign beside the risk makes it so: a fault, a state, a reading unlike the peers'."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import polars as pl

from dashboard.gpu.readings import READINGS, Reading

Word = Literal["failed", "likely", "alone", "odd", "calm"]

_LATEST: Final = 10
"""Rows (minutes) at the end that a gauge is judged by; of counters and gaps the worst row counts."""
FEWEST_PEERS: Final = 2


@dataclass(frozen=True, slots=True)
class Verdict:
    """A word to colour by, the sentence for the page, and the signs that it rests on."""

    word: Word
    sentence: str
    signs: tuple[str, ...]


def verdict(*, alarmed: bool, failed: Sequence[str], state: str, differs: Sequence[str]) -> Verdict:
    """`alarmed`: the risk is at the alarm level, or an incident is open. `failed`: fault Xids and lost GPUs."""
    stands = [] if state == "ok" else [f"its state is **{state}**"]
    signs = (*failed, *stands, *differs)
    if failed or state in ("lost", "missing"):
        return Verdict("failed", "It has failed: nothing is left to foretell.", signs)
    if alarmed and signs:
        count = "a second sign" if len(signs) == 1 else f"{len(signs)} signs"
        return Verdict("likely", f"Probably true: {count} beside the risk.", signs)
    if alarmed:
        return Verdict(
            "alone", "Not confirmed: no second sign beside the risk. Look again in ten minutes.", ()
        )
    if signs:
        return Verdict("odd", "No alarm, but something is unlike its peers.", signs)
    return Verdict("calm", "No alarm, and nothing unlike its peers.", ())


def differences(rows: pl.DataFrame) -> list[str]:
    """What this GPU shows and its peers do not, worst kinds last told. `rows` by the minute from life_queries.life."""
    found = (_difference(reading, rows) for reading in READINGS)
    return [sentence for sentence in found if sentence]


def _difference(reading: Reading, rows: pl.DataFrame) -> str | None:
    key, low, high = reading.key, f"{reading.key}_low", f"{reading.key}_high"
    known = rows.filter(pl.col(key).is_not_null(), pl.col(low).is_not_null(), pl.col("peers") >= FEWEST_PEERS)
    if known.is_empty():
        return None
    if reading.take == "mean":
        own, least, most = known.tail(_LATEST).select(key, low, high).mean().row(0)
        aside = own < least - reading.apart or own > most + reading.apart
        peers = f"its peers {told(least, reading)} to {told(most, reading)}"
    else:
        own, _, most = known.sort(pl.col(key) - pl.col(high)).select(key, low, high).row(-1)
        aside = own > most + reading.apart and own > 3 * most
        peers = f"its peers up to {told(most, reading)}"
    return f"{reading.title}: **{told(own, reading)} {reading.unit}**, {peers}" if aside else None


def told(value: float, reading: Reading) -> str:
    """A number as people read it: no more digits than it is worth."""
    return f"{value:,.0f}" if abs(value) >= 10 or reading.unit in ("°C", "W", "MHz") else f"{value:.2g}"
