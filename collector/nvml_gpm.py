"""Profiling metrics (GPM, Hopper and newer): two samples of the GPU's counters, and what happened in between."""

from __future__ import annotations

import ctypes
import math
from typing import Any, Final

import pynvml as nv

from collector import nvml
from collector.nvml_fields import Values
from collector.records import READINGS

METRICS: Final = {
    "sm_active_pct": nv.NVML_GPM_METRIC_SM_UTIL,
    "sm_occupancy_pct": nv.NVML_GPM_METRIC_SM_OCCUPANCY,
    "tensor_active_pct": nv.NVML_GPM_METRIC_ANY_TENSOR_UTIL,
    "dram_active_pct": nv.NVML_GPM_METRIC_DRAM_BW_UTIL,
    "fp64_active_pct": nv.NVML_GPM_METRIC_FP64_UTIL,
    "fp32_active_pct": nv.NVML_GPM_METRIC_FP32_UTIL,
    "fp16_active_pct": nv.NVML_GPM_METRIC_FP16_UTIL,
    "pcie_tx_mibps": nv.NVML_GPM_METRIC_PCIE_TX_PER_SEC,
    "pcie_rx_mibps": nv.NVML_GPM_METRIC_PCIE_RX_PER_SEC,
    "nvlink_rx_mibps": nv.NVML_GPM_METRIC_NVLINK_TOTAL_RX_PER_SEC,
    "nvlink_tx_mibps": nv.NVML_GPM_METRIC_NVLINK_TOTAL_TX_PER_SEC,
}
_AT: Final = tuple(READINGS.index(name) for name in METRICS)

_REFRESH_S: Final = 0.1
"""nvml.h: two samples must lie more than 100 ms apart. Between, the last values stand."""


class Profiler:
    """The profiling metrics of one GPU. What it cannot give is null and never a fault of the GPU.

    Another profiler on the GPU, or a driver that keeps GPM for root, makes these calls fail on a GPU in good
    health. Only a code that says the GPU or the driver is gone is passed on.
    """

    def __init__(self, h: Any) -> None:
        self._h = h
        self._samples = _samples(h)
        self._sampled_at_s: float | None = None
        self._get = nv.c_nvmlGpmMetricsGet_t(version=nv.NVML_GPM_METRICS_GET_VERSION, numMetrics=len(METRICS))
        for metric, metric_id in zip(self._get.metrics, METRICS.values(), strict=False):
            metric.metricId = metric_id
        self._metrics = [self._get.metrics[i] for i in range(len(METRICS))]
        self._sample_get, self._metrics_get = (
            nvml.function(name) for name in ("nvmlGpmSampleGet", "nvmlGpmMetricsGet")
        )

    def read(self, values: Values, now_s: float) -> int:
        """Write the averages since the sample before; null at first. A return code only if it is fatal."""
        if not self._samples:
            return 0
        if self._sampled_at_s is not None and now_s - self._sampled_at_s <= _REFRESH_S:
            return 0
        older, newer = self._samples
        code = self._sample_get(self._h, older)  # the older one is used again
        if code == 0:
            self._samples = [newer, older]
            if self._sampled_at_s is not None:
                code = self._between(values, newer, older)
            self._sampled_at_s = now_s
        if code:
            self._sampled_at_s = None
            for at in _AT:
                values[at] = None
        return code if code in nvml.FATAL else 0

    def _between(self, values: Values, first: Any, second: Any) -> int:
        self._get.sample1, self._get.sample2 = first, second
        code = self._metrics_get(ctypes.byref(self._get))
        if code == 0:
            for at, metric in zip(_AT, self._metrics, strict=True):
                known = metric.nvmlReturn == 0 and math.isfinite(metric.value)
                values[at] = metric.value if known else None
        return code

    def close(self) -> None:
        """Give the samples back to NVML."""
        for sample in self._samples:
            nv.nvmlGpmSampleFree(sample)
        self._samples = []


def _samples(h: Any) -> list[Any]:
    """Room for two samples; none where the GPU has no GPM."""
    try:
        if not nv.nvmlGpmQueryDeviceSupport(h).isSupportedDevice:
            return []
        return [nv.nvmlGpmSampleAlloc(), nv.nvmlGpmSampleAlloc()]
    except nv.NVMLError:
        return []
