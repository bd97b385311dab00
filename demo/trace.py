"""A recorded run as a source of GPU values: one CSV row per GPU per sample, played in a loop.

The columns are those of a 10 Hz DCGM recording: `timestamp` (Unix seconds), `gpu`, `power_w`, `temp_c`, ...;
columns that the agent does not read are ignored.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import polars as pl

from collector.errors import ForeshockError

NAMES: Final = {
    "power_w": "power_w",
    "temp_c": "temperature_c",
    "mem_used_mib": "memory_used_mib",
    "mem_total_mib": "memory_total_mib",
    "gpu_util_pct": "sm_util_pct",
    "mem_util_pct": "mem_util_pct",
    "throttle_reasons": "clock_event_reasons",
    "energy_mj": "energy_j",
    "gpu_model": "name",
}
"""CSV column -> name in collector/records.py FIELDS (and `name`)."""

_INTEGERS: Final = ("temperature_c", "sm_util_pct", "mem_util_pct", "clock_event_reasons")
_BLANK: Final = ["", "N/A", "[N/A]"]
_SHAPE_HINT: Final = f"a trace is CSV with the columns timestamp, gpu, {', '.join(NAMES)}"


@dataclass(frozen=True, slots=True)
class _Gpu:
    elapsed_s: list[float]
    rows: pl.DataFrame
    energy_span_j: float


@dataclass(frozen=True, slots=True)
class Trace:
    """`duration_s` is one loop: the recording and one sampling period."""

    duration_s: float
    gpus: tuple[int, ...]
    _by_gpu: dict[int, _Gpu]

    def at(self, elapsed_s: float) -> dict[int, dict[str, object]]:
        """Per GPU index the last sample at or before `elapsed_s`, in the names and units of FIELDS.

        A blank cell is None. After the end the recording starts again; energy goes on from where it was.
        """
        loops, within_s = divmod(max(0.0, elapsed_s), self.duration_s)
        return {gpu: _sample(data, within_s, int(loops)) for gpu, data in self._by_gpu.items()}


def _sample(gpu: _Gpu, within_s: float, loops: int) -> dict[str, object]:
    row: dict[str, object] = gpu.rows.row(max(0, bisect_right(gpu.elapsed_s, within_s) - 1), named=True)
    energy_j = row["energy_j"]
    if isinstance(energy_j, float):
        row["energy_j"] = energy_j + loops * gpu.energy_span_j
    return row


def load_trace(path: Path) -> Trace:
    """Read a recorded (or simulated) trace. Raises ForeshockError when the file is not one."""
    samples = _read(path)
    if samples.height == 0:
        raise ForeshockError(f"{path}: no samples", hint=_SHAPE_HINT)
    if samples.select(pl.col("timestamp", "gpu").is_null().any()).row(0) != (False, False):
        raise ForeshockError(f"{path}: a row without timestamp or gpu", hint=_SHAPE_HINT)
    times = samples["timestamp"].unique().sort()
    period_s = float(times.diff().median() or 1.0)  # type: ignore[arg-type]  # polars: any literal
    first_s, last_s = float(times[0]), float(times[-1])
    by_gpu = {
        int(part["gpu"][0]): _one_gpu(part, first_s)
        for part in samples.sort("gpu", "timestamp").partition_by("gpu", maintain_order=True)
    }
    return Trace(last_s - first_s + period_s, tuple(by_gpu), by_gpu)


def _read(path: Path) -> pl.DataFrame:
    numbers = dict.fromkeys(("timestamp", *NAMES), pl.Float64())
    types: dict[str, pl.DataType] = {**numbers, "gpu": pl.Int64(), "gpu_model": pl.String()}
    try:
        with path.open(encoding="utf-8") as file:
            header = file.readline().strip().split(",")
        if missing := [name for name in types if name not in header]:
            raise ForeshockError(
                f"{path}: not a trace, it has no column {', '.join(missing)}", hint=_SHAPE_HINT
            )
        frame = pl.read_csv(path, columns=list(types), schema_overrides=types, null_values=_BLANK)
    except OSError as e:
        raise ForeshockError(f"{path}: {e.strerror}", hint="give a trace CSV with --trace FILE") from e
    except (pl.exceptions.PolarsError, UnicodeDecodeError) as e:
        raise ForeshockError(f"{path}: not a trace: {str(e).splitlines()[0]}", hint=_SHAPE_HINT) from e
    finite = pl.selectors.float()
    return frame.with_columns(pl.when(finite.is_finite()).then(finite))


def _one_gpu(part: pl.DataFrame, first_s: float) -> _Gpu:
    rows = part.rename(NAMES).with_columns(pl.col("energy_j") / 1e3, pl.col(_INTEGERS).round().cast(pl.Int64))
    # the sum of the rises, so that a counter reset inside the recording cannot make a loop go backwards
    span_j = rows["energy_j"].drop_nulls().diff().clip(lower_bound=0).sum()
    elapsed_s = (rows["timestamp"] - first_s).to_list()
    return _Gpu(elapsed_s, rows.select(NAMES.values()), 0.0 if math.isnan(span_j) else float(span_j))
