"""Who a GPU is. Free of pynvml, so that only the NVML process pays for it (5 MiB in the agent otherwise)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

LOST: Final = 15
"""NVML_ERROR_GPU_IS_LOST."""

Facts = dict[str, object]
"""Names of `records.Inventory` -> value. What the GPU would not say is None, or not there."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a GPU is. `uuid` is the identity; index and PCI address are where it sits now."""

    index: int
    uuid: str
    pci_bdf: str
    name: str | None
    serial: str | None
