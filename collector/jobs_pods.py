"""GPU -> pod, as kubelet's device manager gave them out. Knows a pod's GPU before anything runs on it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from collector.job import Holder, PodDevice

log = logging.getLogger(__name__)

PodLister = Callable[[], Sequence[PodDevice]]
"""Lists what kubelet gave out. Raises OSError when kubelet does not answer."""

_MAX_PAUSE_S = 600.0


class PodDevices:
    """kubelet's answer, asked at most every `recheck_s`, and rarer while it does not answer."""

    def __init__(self, pods: PodLister, recheck_s: float) -> None:
        self._list = pods
        self._recheck_s = recheck_s
        self._pause_s = recheck_s
        self._due_s = 0.0
        self._devices: dict[str, list[PodDevice]] = {}

    def of(self, holder: Holder, now_s: float) -> list[PodDevice]:
        if now_s >= self._due_s:
            self._ask(now_s)
        for name in _device_names(holder):
            if name in self._devices:
                return self._devices[name]
        return []

    def _ask(self, now_s: float) -> None:
        try:
            listed = self._list()
            self._pause_s = self._recheck_s
            self._devices = {}
            for device in listed:
                # Shared GPUs are listed as "<uuid>::<replica>".
                self._devices.setdefault(device.device_id.partition("::")[0], []).append(device)
        except OSError as e:
            self._pause_s = min(_MAX_PAUSE_S, self._pause_s * 2)
            log.warning("kubelet's pod-resources: %s; asked again in %.0f s", e, self._pause_s)
        self._due_s = now_s + self._pause_s


def _device_names(holder: Holder) -> list[str]:
    """The ids under which device plugins know this GPU: NVIDIA's by UUID, Google's by device file."""
    minor = [] if holder.minor is None else [f"nvidia{holder.minor}"]
    if holder.instance is None:
        return [holder.uuid, *minor]
    return [*([holder.mig_uuid] if holder.mig_uuid else []), *(f"{m}/gi{holder.instance}" for m in minor)]
