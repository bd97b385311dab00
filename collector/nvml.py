"""The one door to NVML: the library, its handles, and who a GPU is. What it says is read by nvml_reader.

A reading the GPU does not offer is None. Any other failure is None too and leaves its return code behind.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from typing import Any, Final

import pynvml as nv

from collector import identity
from collector.errors import ForeshockError

Identity = identity.Identity
LOST: Final = identity.LOST
UNINITIALIZED: Final = int(nv.NVML_ERROR_UNINITIALIZED)
XID_EVENT: Final = int(nv.nvmlEventTypeXidCriticalError)
FATAL: Final = frozenset({LOST, UNINITIALIZED})
"""Codes after which no other reading of this handle can be had."""

ABSENT: Final = frozenset({
    nv.NVML_ERROR_NOT_SUPPORTED, nv.NVML_ERROR_FUNCTION_NOT_FOUND, nv.NVML_ERROR_ARGUMENT_VERSION_MISMATCH,
    nv.NVML_ERROR_DEPRECATED, nv.NVML_ERROR_NO_DATA, nv.NVML_ERROR_NO_PERMISSION,
    nv.NVML_ERROR_VGPU_ECC_NOT_SUPPORTED,
})  # fmt: skip
"""Codes that mean "this GPU, driver or user has no such reading": null, and not a fault."""

_inside_ns: Final = [0]
_INT64_MAX: Final = 2**63 - 1
_BLANK_32: Final = 2**32 - 1


def open_library(path: str = "") -> None:
    """Load libnvidia-ml.so.1 (from `path`, else the system's) and initialise NVML.

    Raises ForeshockError with the mend when there is no driver.
    """
    try:
        if path:
            # pynvml asks the loader by SONAME: a library that is loaded already is the one it gets.
            ctypes.CDLL(path)
        nv.nvmlInit()
    except (OSError, nv.NVMLError) as e:
        raise ForeshockError(
            f"NVML: {e}", hint="install the NVIDIA driver, or set collector.nvml_library"
        ) from e


def close_library() -> None:
    nv.nvmlShutdown()


def function(name: str) -> Callable[..., int]:
    """The entry point itself, which gives its return code and takes arguments that are used again; it is timed.

    pynvml's wrappers make new ones on every call, which is most of what a tick costs. It is looked up at its first
    use; a driver that does not have it answers NVML_ERROR_FUNCTION_NOT_FOUND.
    """
    clock, inside = time.perf_counter_ns, _inside_ns
    found: list[Callable[..., int]] = []

    def timed(*arguments: Any) -> int:
        if not found:
            found.append(getattr(nv.nvmlLib, name, _not_found))
        began = clock()
        code = found[0](*arguments)
        inside[0] += clock() - began
        return code

    return timed


def _not_found(*_: Any) -> int:
    return int(nv.NVML_ERROR_FUNCTION_NOT_FOUND)


def inside_ns() -> int:
    """Nanoseconds this process has spent inside the entry points that `function` gave out."""
    return _inside_ns[0]


def known(value: int) -> int | None:
    """None for all ones, which is how NVML says "nothing" where it has no code for it."""
    return None if value == _BLANK_32 or value > _INT64_MAX else value


def compute_processes(h: Any) -> list[tuple[int, int | None]]:
    """(pid, MIG GPU instance or None) of every process with a compute context. Empty where it cannot be told."""
    try:
        found = nv.nvmlDeviceGetComputeRunningProcesses_v3(h)
    except nv.NVMLError:
        return []
    return [(int(p.pid), known(p.gpuInstanceId)) for p in found]


def device_count() -> int:
    """How many GPUs the driver sees. Raises pynvml.NVMLError."""
    return int(nv.nvmlDeviceGetCount())


def driver_version() -> str:
    return str(nv.nvmlSystemGetDriverVersion())


def handle(index: int) -> Any:
    """The driver's handle for `index`. Raises pynvml.NVMLError (GPU_IS_LOST for a dead one)."""
    return nv.nvmlDeviceGetHandleByIndex(index)


def identify(h: Any, index: int) -> Identity:
    """Read who the GPU behind handle `h` is. Raises pynvml.NVMLError."""
    pci = nv.nvmlDeviceGetPciInfo_v3(h)
    return Identity(
        index=index,
        uuid=str(nv.nvmlDeviceGetUUID(h)),
        pci_bdf=f"{pci.domain:04x}:{pci.bus:02x}:{pci.device:02x}",
        name=_optional(nv.nvmlDeviceGetName, h),
        serial=_optional(nv.nvmlDeviceGetSerial, h),
    )


def _optional(call: Callable[[Any], object], h: Any) -> str | None:
    try:
        return str(call(h))
    except nv.NVMLError:
        return None
