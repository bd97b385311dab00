"""The card beside every model: what it was made from, what it promises, and what its inputs looked like then."""

from __future__ import annotations

import logging
import platform
import re
from datetime import datetime, timedelta
from importlib.metadata import version
from typing import Any, Final

import msgspec

from collector.errors import ForeshockError

log = logging.getLogger(__name__)

SCHEMA: Final = 1
"""Raised only where an old field changes its meaning. New fields do not raise it: older readers skip them."""

_HEAD: Final = re.compile(r"[a-z][a-z0-9_]{0,31}")
_LIBRARIES: Final = ("scikit-learn", "skops", "numpy", "scipy", "polars")


def library_versions() -> dict[str, str]:
    """Versions of what a model's bytes and numbers depend on, by distribution name."""
    return {name: version(name) for name in _LIBRARIES} | {"python": platform.python_version()}


class OperatingPoint(msgspec.Struct, frozen=True, kw_only=True):
    """Where alarms are raised and what was measured there. Null is not measured.

    `chosen_by` says how, for people: "1 alarm a day per 10,000 GPUs". Rates are alarms per day per 10,000 GPUs.
    """

    threshold: float
    chosen_by: str
    precision: float | None = None
    recall: float | None = None
    alarms_per_day_per_10k: float | None = None


class CurvePoint(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the measured operating curve."""

    threshold: float
    precision: float | None = None
    recall: float | None = None
    alarms_per_day_per_10k: float | None = None


class Card(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=False):
    """Everything about a model but its weights. Times are UTC; `data_until` is exclusive.

    `model_id` and `file_digest` are given by the registry when it saves. `reference` is what `models.drift.reference`
    makes; `label` and `label_digest` are the definition of a fault that it was taught. Raises ValueError for a head
    that is no plain name, a time without UTC or a window that ends before it begins.
    """

    head: str
    created: datetime
    feature_set: str
    feature_names: tuple[str, ...]
    label: dict[str, Any]
    label_digest: str
    horizon_s: int
    point: OperatingPoint
    data_from: datetime
    data_until: datetime
    n_faults: int
    n_rows: int
    dataset: str
    synthetic: bool
    metrics: dict[str, Any]
    """`ap` and `roc_auc` are shown in lists; further ones are the evaluation's own."""
    curve: tuple[CurvePoint, ...] = ()
    reference: dict[str, Any] = {}
    seed: int = 0
    versions: dict[str, str] = msgspec.field(default_factory=library_versions)
    model_id: str = ""
    file_digest: str = ""
    schema: int = SCHEMA

    def __post_init__(self) -> None:
        if not _HEAD.fullmatch(self.head):
            raise ValueError(f"head {self.head!r} is not a plain lower-case name")
        for name in ("created", "data_from", "data_until"):
            if getattr(self, name).utcoffset() != timedelta(0):
                raise ValueError(f"{name} is not UTC")
        if self.data_until < self.data_from:
            raise ValueError("data_until is before data_from")

    @property
    def origin(self) -> str:
        """Said wherever the card's figures are shown."""
        return "SYNTHETIC, no evidence about real GPUs" if self.synthetic else "real"


def encode(card: Card) -> bytes:
    """Indented JSON; a NaN becomes null."""
    return msgspec.json.format(msgspec.json.encode(card), indent=1) + b"\n"


def decode(data: bytes, origin: str) -> Card:
    """The card in `data`; fields that we do not know are skipped. `origin` names the file in errors.

    Raises ForeshockError where it is no card, or one whose schema is newer than ours.
    """
    try:
        schema = msgspec.json.decode(data, type=_Schema).schema
        if schema <= SCHEMA:
            return msgspec.json.decode(data, type=Card)
    except (msgspec.DecodeError, UnicodeDecodeError) as e:
        raise ForeshockError(f"{origin} is no model card: {e}", hint="train again: foreshock train") from e
    raise ForeshockError(
        f"{origin} has card schema {schema}, and this foreshock reads up to {SCHEMA}",
        hint="upgrade foreshock here, or train with this version",
    )


def check_library(card: Card) -> None:
    """Raises ForeshockError for another scikit-learn (major.minor) than it was trained with; a patch is logged."""
    then, now = card.versions.get("scikit-learn", ""), library_versions()["scikit-learn"]
    if then.split(".")[:2] != now.split(".")[:2]:
        raise ForeshockError(
            f"{card.model_id} was trained with scikit-learn {then or 'unknown'}, and this is {now}",
            hint="train again: foreshock train" + (f"; or pip install scikit-learn=={then}" if then else ""),
        )
    if then != now:
        log.warning("%s was trained with scikit-learn %s; this is %s", card.model_id, then, now)


def promised(card: Card, threshold: float | None = None) -> CurvePoint:
    """What the card says of `threshold` (default: its operating point): the curve's row nearest below it.

    Below, since fewer alarms than promised is the safe side. Raises ForeshockError where the curve begins above it.
    """
    if threshold is None or threshold == card.point.threshold:
        point = card.point
        return CurvePoint(
            threshold=point.threshold,
            precision=point.precision,
            recall=point.recall,
            alarms_per_day_per_10k=point.alarms_per_day_per_10k,
        )
    below = [row for row in card.curve if row.threshold <= threshold]
    if not below:
        raise ForeshockError(
            f"{card.model_id or card.head}: nothing was measured at or below threshold {threshold:g}",
            hint=f"use its operating point, {card.point.threshold:g}",
        )
    return max(below, key=lambda row: row.threshold)


class _Schema(msgspec.Struct):
    schema: int = SCHEMA
