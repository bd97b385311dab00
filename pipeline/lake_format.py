"""How a lake table is written: encodings, compression, and the properties it is made with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from deltalake import ColumnProperties, WriterProperties

_STEADY: Final = ColumnProperties(dictionary_enabled=False, encoding="DELTA_BINARY_PACKED")
_STEADY_COLUMNS: Final = ("time", "minute", "seq", "nvlink_tx_kib", "nvlink_rx_kib")
"""Values that are nearly all different and grow evenly: a dictionary of them is waste."""

_CREATED_WITH: Final = {
    "delta.checkpointInterval": "100",
    "delta.logRetentionDuration": "interval 86400 seconds",
    "delta.deletedFileRetentionDuration": "interval 3600 seconds",
}


def created_with(time_column: str) -> dict[str, str | None]:
    # statistics of more columns make each commit larger, and nobody skips files by them
    return {**_CREATED_WITH, "delta.dataSkippingStatsColumns": f"{time_column},gpu_uuid,node"}


def writer(columns: Sequence[str]) -> WriterProperties:
    steady = {name: _STEADY for name in _STEADY_COLUMNS if name in columns}
    return WriterProperties(compression="ZSTD", compression_level=3, column_properties=steady)
