"""What was known of each unit's faults strictly before a moment: one row of features per unit. Never the future."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

WINDOWS_DAYS: Final = (7, 30, 90)
HALF_LIVES_DAYS: Final = (7, 30, 90, 365)
NEVER_DAYS: Final = 2000.0  # longer than any trace: "no such fault yet"
_LIFE_KEYS: Final = ("unit", "begin_day", "end_day", "place")


@dataclass(frozen=True, slots=True)
class Trace:
    """A fault history. `faults`: unit, begin_day, end_day (null: open), kind, place (null: unknown).

    `lives`: unit, begin_day, end_day and static columns; a unit is in service within a life. Days are floats
    from the trace's day 0. `targets` are those of `kinds` to predict.
    """

    name: str
    faults: pl.DataFrame
    lives: pl.DataFrame
    units: list[str]
    end_day: float
    gpus_per_unit: int
    targets: tuple[str, ...]
    kinds: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Rows:
    """Decisions: row i ranks unit[i] on day[i]; `x` its features; `label` a target fault in [day, day + horizon)."""

    unit: Ints
    day: Floats
    x: pl.DataFrame
    label: Bools

    def take(self, which: Bools) -> Rows:
        return Rows(self.unit[which], self.day[which], self.x.filter(which), self.label[which])


@dataclass(frozen=True, slots=True)
class _Known:
    """The faults as arrays, and who and where they were."""

    unit: Ints
    begin: Floats
    end: Floats
    target: Bools
    kinds: dict[str, Bools]
    cabinet: NDArray[np.str_]
    blade: NDArray[np.str_]

    def before(self, day: float) -> _Known:
        """The cut: a fault that begins at or after `day` is not known, an end at or after it neither."""
        k = self.begin < day
        end = np.where(self.end[k] < day, self.end[k], np.nan)
        kinds = {name: is_it[k] for name, is_it in self.kinds.items()}
        return _Known(self.unit[k], self.begin[k], end, self.target[k], kinds, self.cabinet[k], self.blade[k])


def rows(trace: Trace, days: Iterable[float], horizon_days: float) -> Rows:
    """One row per unit in service, with no fault open, on each of `days`, ascending."""
    arrays, parts = _arrays(trace), []
    for day in days:
        known = arrays.before(day)
        at = _in_service(trace, known, day)
        if at.height:
            unit = at["_unit"].to_numpy()
            x = pl.concat([_features(known, at, day, len(trace.units)), _static(at, day)], how="horizontal")
            parts.append((unit, np.full(len(unit), day), x, _label(arrays, unit, day, horizon_days)))
    if not parts:
        return Rows(np.zeros(0, np.int64), np.zeros(0), pl.DataFrame(), np.zeros(0, np.bool_))
    unit, day_of, x, label = zip(*parts, strict=True)
    return Rows(np.concatenate(unit), np.concatenate(day_of), pl.concat(x), np.concatenate(label))


def thinned(of: Rows, per_hit: int = 20, at_least: int = 20_000) -> Rows:
    """All hits and a fixed draw of the misses: learning is faster, and every log-odds shifts by one constant."""
    misses = np.flatnonzero(~of.label)
    keep = min(len(misses), max(per_hit * int(of.label.sum()), at_least))
    which = of.label.copy()
    which[np.random.default_rng(3).choice(misses, keep, replace=False)] = True
    return of.take(which)


def target_faults(trace: Trace) -> tuple[Ints, Floats]:
    """(unit index, begin day) of every fault to predict."""
    arrays = _arrays(trace)
    return arrays.unit[arrays.target], arrays.begin[arrays.target]


def _arrays(trace: Trace) -> _Known:
    index = pl.DataFrame({"unit": trace.units}).with_row_index("_unit")
    faults = trace.faults.join(index, on="unit", how="inner", maintain_order="left")
    kind = faults["kind"]
    place = faults["place"].fill_null("")
    return _Known(
        faults["_unit"].cast(pl.Int64).to_numpy(),
        faults["begin_day"].to_numpy(),
        faults["end_day"].fill_null(np.inf).to_numpy(),
        kind.is_in(trace.targets).to_numpy(),
        {k: (kind == k).to_numpy() for k in trace.kinds},
        _part(place, r"^(c\d+-\d+)"),
        _part(place, r"^(c\d+-\d+c\d+s\d+)"),
    )


def _part(place: pl.Series, pattern: str) -> NDArray[np.str_]:
    return place.str.extract(pattern, 1).fill_null("").to_numpy().astype(np.str_)


def _in_service(trace: Trace, known: _Known, day: float) -> pl.DataFrame:
    """The lives that run on `day`; a unit under repair is out of service and needs no decision."""
    index = pl.DataFrame({"unit": trace.units}).with_row_index("_unit").cast({"_unit": pl.Int64})
    open_ = np.bincount(known.unit[np.isnan(known.end)], minlength=len(trace.units)) > 0
    return (
        trace.lives.filter((pl.col("begin_day") < day) & (pl.col("end_day") > day))
        .unique("unit", keep="last", maintain_order=True)
        .join(index, on="unit", how="inner", maintain_order="left")
        .filter(~pl.col("_unit").is_in(np.flatnonzero(open_)))
        .sort("_unit")
    )


def _label(arrays: _Known, unit: Ints, day: float, horizon_days: float) -> Bools:
    coming = arrays.target & (arrays.begin >= day) & (arrays.begin < day + horizon_days)
    return np.isin(unit, arrays.unit[coming])


def _features(known: _Known, at: pl.DataFrame, day: float, n_units: int) -> pl.DataFrame:
    unit = at["_unit"].to_numpy()
    age = day - known.begin

    def per_unit(weight: NDArray[Any]) -> Floats:
        total = np.bincount(known.unit, weights=weight, minlength=n_units)
        each: Floats = total[unit].astype(np.float64)  # without any fault numpy counts in whole numbers
        return each

    out: dict[str, Floats] = {}
    for name, among in (("target", known.target), ("other", ~known.target)):
        for w in WINDOWS_DAYS:
            out[f"{name}_{w}d"] = per_unit(among * (age <= w))
        out[f"{name}_all"] = per_unit(among * 1.0)
        for h in HALF_LIVES_DAYS:
            out[f"{name}_decayed_{h}d"] = per_unit(among * 0.5 ** (age / h))
        out[f"days_since_{name}"] = _days_since(known.unit[among], age[among], n_units)[unit]
    for name, among in known.kinds.items():
        out[f"class_{name}_90d"] = per_unit(among * 0.5 ** (age / 90))
    out["repeat"] = (out["target_all"] > 0).astype(np.float64)
    return pl.DataFrame(out | _repairs(known, per_unit, day) | _peers(known, at, age, out["target_90d"]))


def _days_since(unit: Ints, age: Floats, n_units: int) -> Floats:
    since = np.full(n_units, NEVER_DAYS)
    np.minimum.at(since, unit, age)
    return since


def _repairs(known: _Known, per_unit: Callable[[NDArray[Any]], Floats], day: float) -> dict[str, Floats]:
    """Repairs that were over by `day`. Mean is 0 where there was none."""
    over = ~np.isnan(known.end)
    length = np.where(over, known.end - known.begin, 0.0)
    n = per_unit(over * 1.0)
    recent = over & (day - known.begin <= 90)
    return {
        "repair_mean_days": np.divide(per_unit(length), n, out=np.zeros_like(n), where=n > 0),
        "repair_90d_days": per_unit(length * recent),
    }


def _peers(known: _Known, at: pl.DataFrame, age: Floats, own: Floats) -> dict[str, Floats]:
    """Target faults of the last 90 days around a unit, its own left out, where the trace knows places."""
    if "place" not in at.columns:
        return {}
    recent = known.target & (age <= 90)
    place = at["place"]
    cabinet = _count(known.cabinet[recent], _part(place, r"^(c\d+-\d+)"))
    blade = _count(known.blade[recent], _part(place, r"^(c\d+-\d+c\d+s\d+)"))
    # A card that moved left its faults elsewhere: never below none.
    return {
        "cabinet_90d": np.maximum(cabinet - own, 0),
        "blade_90d": np.maximum(blade - own, 0),
    }


def _count(seen: NDArray[np.str_], where: NDArray[np.str_]) -> Floats:
    """How often each of `where` is in `seen`."""
    names, n = np.unique(seen, return_counts=True)
    if not len(names):
        return np.zeros(len(where))
    i = np.clip(np.searchsorted(names, where), 0, len(names) - 1)
    return np.where(names[i] == where, n[i], 0).astype(np.float64)


def _static(at: pl.DataFrame, day: float) -> pl.DataFrame:
    """The static columns of the life, and its age."""
    statics = [c for c in at.columns if c not in (*_LIFE_KEYS, "_unit")]
    return at.select(*statics, age_days=day - pl.col("begin_day"))
