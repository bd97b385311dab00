"""Every dcgm-exporter metric we understand: which telemetry column it fills, and the factor to our unit.

Keyed by name, because the name is all that tells the unit: dcgm-exporter 4.9.0 renamed 23 default fields and
changed the unit of 11 (MHz to Hz, mJ to J, percent to ratio, MiB to bytes). The table is dcgm_fields.tsv.

Judged there: violation times are nanoseconds, whatever the help text of counter files before 3.3.6 said; the
requested power limit stands in for the enforced one as its upper bound; the sizes of MIG instances do not add up
to the GPU's, as instances need not cover it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, cast, get_args

OnMig = Literal["same", "sum", "null"]
"""What rows of MIG instances say about the whole GPU: the same value each, a part of a sum, or nothing."""

_UNITS: Final = {"MIB": 2.0**-20}
_LANES: Final = 18


@dataclass(frozen=True, slots=True)
class Metric:
    """One exporter metric. The value times `factor` is in the column's unit; the lowest `rank` wins a column."""

    column: str
    factor: float
    rank: int
    on_mig: OnMig
    lane: int | None = None
    """The NVLink lane in the metric's name. Lanes are added up where the exporter gives no total."""


XID_LAST: Final = frozenset({"DCGM_FI_DEV_XID_ERRORS", "DCGM_FI_DEV_XID_ERROR", "dcgm_xid_errors"})
"""Gauges that hold the code of the last Xid until the driver is reloaded."""
XID_IN_WINDOW: Final = frozenset({"DCGM_EXP_XID_ERRORS_COUNT", "DCGM_FI_DEV_XID_ERRORS_ACTIVE"})
"""Xids per code (label `xid`) in a sliding window. The second name is that of the first version of it."""
XID_TOTAL: Final = "DCGM_EXP_XID_ERRORS_TOTAL"
"""Xids per code since the exporter started."""

RATIO_OR_PERCENT: Final = frozenset({
    "DCGM_FI_DEV_GPU_UTIL_RATIO", "DCGM_FI_DEV_MEMORY_UTIL_RATIO",
    "DCGM_FI_DEV_ENC_UTIL_RATIO", "DCGM_FI_DEV_DEC_UTIL_RATIO",
})  # fmt: skip
"""Names that promise 0..1. In DCGM 4.6 the first was only another name of the percentage (field 203)."""


def read_table(text: str) -> dict[str, Metric]:
    """The rows of dcgm_fields.tsv -> metric name -> what it means here. Raises ValueError for a bad row."""
    out: dict[str, Metric] = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            column, on_mig, names = line.split("\t")
            for rank, term in enumerate(names.split()):
                name, _, factor = term.partition("*")
                value = _UNITS.get(factor) or float(factor or 1)
                out |= _lanes(name, Metric(column, value, rank, _on_mig(on_mig)))
    return out


def _on_mig(word: str) -> OnMig:
    if word not in get_args(OnMig):
        raise ValueError(f"dcgm_fields.tsv: {word!r} is not same, sum or null")
    return cast(OnMig, word)


def _lanes(name: str, metric: Metric) -> dict[str, Metric]:
    if "#" not in name:
        return {name: metric}
    return {
        name.replace("#", str(lane)): Metric(metric.column, metric.factor, metric.rank, metric.on_mig, lane)
        for lane in range(_LANES)
    }


METRICS: Final = read_table(Path(__file__).with_suffix(".tsv").read_text(encoding="utf-8"))
ON_MIG: Final = {metric.column: metric.on_mig for metric in METRICS.values()}
UNDERSTOOD: Final = frozenset(METRICS) | XID_LAST | XID_IN_WINDOW | {XID_TOTAL}
"""Every metric name that changes something in what we report."""
