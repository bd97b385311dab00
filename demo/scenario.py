"""The synthetic fault laid over a trace, as data on the scenario's own clock (seconds since its start).

Nothing here is measured: which signs come before a fault, and how long before, is our own script, after what
operators describe. It shows that the chain works; it is no evidence of how well a fault can be predicted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from demo.nvml_double.values import default_gpu

Values = dict[int, dict[str, object]]
"""GPU index -> reading name -> value."""


@dataclass(frozen=True, slots=True)
class Ramp:
    """A counter `scale * (2 ** (t / doubling_s) - 1)` above the trace's, t from `from_s` to `until_s`."""

    gpu: int
    name: str
    from_s: float
    until_s: float
    scale: float
    doubling_s: float


@dataclass(frozen=True, slots=True)
class Change:
    """Readings that are different from `from_s` until `until_s`: some set, some raised."""

    gpu: int
    from_s: float
    until_s: float = math.inf
    set: Mapping[str, object] = field(default_factory=dict)
    add: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class KernelLine:
    """One line that the driver prints."""

    at_s: float
    gpu: int
    text: str


@dataclass(frozen=True, slots=True)
class NvmlEvent:
    """One Xid delivered through an NVML event set."""

    at_s: float
    gpu: int
    xid: int


Step = Ramp | Change | KernelLine | NvmlEvent


@dataclass(frozen=True, slots=True)
class Scenario:
    """A named list of steps, in any order."""

    name: str
    steps: tuple[Step, ...] = ()

    @property
    def gpus(self) -> frozenset[int]:
        return frozenset(step.gpu for step in self.steps)


NO_FAULT: Final = Scenario("no fault")

# Above Linux's largest possible pid (2**22), so that no real process is ever taken for the job of the story.
_JOB_PID: Final = 5_000_000


def nvlink_then_off_the_bus(gpu: int = 5) -> Scenario:
    """NVLink errors from 240 s, a row remap at 420 s, a hang at 540 s, off the bus (Xid 79) at 660 s.

    A neighbour has an application fault (Xid 31) at 300 s: a decoy that must raise no alarm.
    """
    decoy = (gpu + 5) % 8
    return Scenario(
        "NVLink errors, then off the bus",
        (*_nvlink_errors(gpu), *_decoy(decoy), *_row_remap(gpu), *_hang(gpu), *_off_the_bus(gpu)),
    )


def _nvlink_errors(gpu: int) -> tuple[Step, ...]:
    return (
        Ramp(gpu, "nvlink_crc_flit_errors", 240.0, 660.0, scale=4.0, doubling_s=45.0),
        Ramp(gpu, "nvlink_crc_data_errors", 240.0, 660.0, scale=1.0, doubling_s=55.0),
        Ramp(gpu, "nvlink_replay_errors", 300.0, 660.0, scale=1.0, doubling_s=90.0),
    )


def _decoy(gpu: int) -> tuple[Step, ...]:
    text = _xid(
        gpu,
        31,
        f"pid={_JOB_PID + gpu}, name=python3, Ch 00000010, intr 00000000. MMU Fault: ENGINE GRAPHICS "
        "GPCCLIENT_T1_0 faulted @ 0x7f92_9a53d000. Fault is of type FAULT_PDE ACCESS_TYPE_VIRT_WRITE",
    )
    return (KernelLine(300.0, gpu, text), NvmlEvent(300.0, gpu, 31))


def _row_remap(gpu: int) -> tuple[Step, ...]:
    text = _xid(
        gpu,
        63,
        "pid='<unknown>', name=<unknown>, Row Remapper: New row marked for remapping, reset gpu to activate.",
    )
    return (
        Change(gpu, 420.0, set={"remap_pending": 1}, add={"remapped_rows_uncorrectable": 1}),
        KernelLine(420.0, gpu, text),
        NvmlEvent(420.0, gpu, 63),
    )


def _hang(gpu: int) -> tuple[Step, ...]:
    return (Change(gpu, 540.0, 565.0, set={"hang": 1}),)


def _off_the_bus(gpu: int) -> tuple[Step, ...]:
    bdf = default_gpu(gpu)["pci_bdf"]
    return (
        Change(gpu, 660.0, set={"lost": 1}),
        KernelLine(660.0, gpu, _xid(gpu, 79, "pid='<unknown>', name=<unknown>, GPU has fallen off the bus.")),
        KernelLine(660.0, gpu, f"NVRM: GPU {bdf}.0: GPU has fallen off the bus."),
        NvmlEvent(660.0, gpu, 79),
        KernelLine(
            661.0,
            gpu,
            _xid(gpu, 154, "GPU recovery action changed from 0x0 (None) to 0x1 (GPU Reset Required)"),
        ),
        KernelLine(
            662.0,
            gpu,
            _xid(gpu, 45, f"pid={_JOB_PID + gpu}, name=python3, Ch 00000001 caused by previous Xid 79"),
        ),
    )


def _xid(gpu: int, code: int, rest: str) -> str:
    return f"NVRM: Xid (PCI:{default_gpu(gpu)['pci_bdf']}): {code}, {rest}"


def apply(scenario: Scenario, elapsed_s: float, values_by_gpu: Mapping[int, Mapping[str, object]]) -> Values:
    """The values as the fault makes them at `elapsed_s`; the input is left alone.

    A reading the GPU does not give (None) stays None, and a step for a GPU that is not there does nothing.
    """
    changed = {gpu: dict(values) for gpu, values in values_by_gpu.items()}
    for step in scenario.steps:
        if step.gpu not in changed:
            continue
        values = changed[step.gpu]
        if isinstance(step, Ramp):
            _raise(values, step.name, _ramped(step, elapsed_s))
        elif isinstance(step, Change) and step.from_s <= elapsed_s < step.until_s:
            _set(values, step.set)
            for name, more in step.add.items():
                _raise(values, name, more)
    return changed


def _ramped(ramp: Ramp, elapsed_s: float) -> int:
    since_s = max(0.0, min(elapsed_s, ramp.until_s) - ramp.from_s)
    return math.floor(ramp.scale * (math.pow(2.0, since_s / ramp.doubling_s) - 1.0))


def _set(values: dict[str, object], fresh: Mapping[str, object]) -> None:
    values.update({name: value for name, value in fresh.items() if values.get(name, 0) is not None})


def _raise(values: dict[str, object], name: str, more: int) -> None:
    value = values.get(name)
    if isinstance(value, int | float):
        values[name] = value + more


def due(scenario: Scenario, after_s: float, upto_s: float) -> list[KernelLine | NvmlEvent]:
    """What happens in (after_s, upto_s], in order of time. Start with `after_s` below 0 to meet the first."""
    happened = [
        step
        for step in scenario.steps
        if isinstance(step, KernelLine | NvmlEvent) and after_s < step.at_s <= upto_s
    ]
    return sorted(happened, key=lambda step: step.at_s)
