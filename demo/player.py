"""Plays a trace and a scenario in real time of the config's clock into the driver double and a kernel log.

    python -m demo.player --values FILE --events FILE --kmsg FILE --trace FILE [--config FILE] [--no-fault]

Elapsed 0 is the start of the process on that clock, or --start. Once per second of the clock the values file
is replaced, and what the scenario has due is appended to the kernel log and to the event file.
A late tick is skipped, not made up for; lines and events never are.
"""

from __future__ import annotations

import argparse
import math
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from collector.clock import Clock
from collector.config_file import load
from collector.errors import ForeshockError
from demo.nvml_double.values import default_gpu, node_values, write_values
from demo.scenario import (
    NO_FAULT,
    KernelLine,
    NvmlEvent,
    Scenario,
    Values,
    apply,
    due,
    nvlink_then_off_the_bus,
)
from demo.trace import Trace, load_trace

# What a recording lacks and a busy H100 shows: boost clock, and HBM a little warmer than the core.
_BUSY_SM_CLOCK_MHZ: Final = 1980
_HBM_ABOVE_CORE_C: Final = 6

_SLICE_S: Final = 0.25
"""Seconds of the clock between two looks at the stop flag."""


@dataclass(frozen=True, slots=True)
class Outputs:
    """The files that the agent under test reads."""

    values: Path
    events: Path
    kmsg: Path


def node_at(trace: Trace, scenario: Scenario, elapsed_s: float) -> Values:
    """All values of all GPUs: a healthy GPU, over it what was recorded, over both the fault."""
    healthy = {gpu: _filled(gpu, recorded) for gpu, recorded in trace.at(elapsed_s).items()}
    return apply(scenario, elapsed_s, healthy)


def _filled(gpu: int, recorded: Mapping[str, object]) -> dict[str, object]:
    values = default_gpu(gpu) | dict(recorded)
    util, core_c = recorded.get("sm_util_pct"), recorded.get("temperature_c")
    if isinstance(util, int) and util > 0:
        values["sm_clock_mhz"] = _BUSY_SM_CLOCK_MHZ
    if isinstance(core_c, int):
        values["memory_temperature_c"] = core_c + _HBM_ABOVE_CORE_C
    return values


def play(
    trace: Trace,
    scenario: Scenario,
    out: Outputs,
    clock: Clock,
    stop: Callable[[], bool],
    *,
    start_unix_s: float,
    duration_s: float = math.inf,
) -> None:
    """Run until `stop()` or `duration_s` of the clock. Raises ForeshockError when the trace lacks a GPU."""
    if absent := scenario.gpus - set(trace.gpus):
        raise ForeshockError(
            f"the scenario needs GPU {min(absent)}, the trace has only {', '.join(map(str, trace.gpus))}",
            hint="play a trace of a whole node, or --no-fault",
        )
    for file in (out.events, out.kmsg):
        file.touch()
    sequence = _last_sequence(out.kmsg) + 1
    played_s, elapsed_s = -1.0, 0.0
    while not stop() and elapsed_s < duration_s:
        write_values(out.values, node_values(node_at(trace, scenario, elapsed_s)))
        for step in due(scenario, played_s, elapsed_s):
            if isinstance(step, NvmlEvent):
                _append(out.events, f"{step.gpu} {step.xid}\n")
            else:
                _append(out.kmsg, kmsg_record(sequence, step))
                sequence += 1
        played_s = elapsed_s
        elapsed_s = _next_tick(clock, start_unix_s, elapsed_s, stop)


def _next_tick(clock: Clock, start_unix_s: float, elapsed_s: float, stop: Callable[[], bool]) -> float:
    """Sleep until the next whole second after `elapsed_s`; the second it then is."""
    while not stop():
        now_s = clock.time_s() - start_unix_s
        if now_s >= elapsed_s + 1.0:
            return math.floor(now_s)
        clock.sleep(min(_SLICE_S, elapsed_s + 1.0 - now_s))
    return elapsed_s


def kmsg_record(sequence: int, line: KernelLine) -> str:
    """`line` as /dev/kmsg gives it: priority 3 = error, facility 0 = the kernel itself."""
    return f"3,{sequence},{time.monotonic_ns() // 1000},-;{line.text}\n"


def _last_sequence(kmsg: Path) -> int:
    """A restarted player goes on counting, since a reader may take a smaller number for one it has seen."""
    if not kmsg.is_file():
        return 0
    numbers = [line.split(",", 2)[1] for line in kmsg.read_text().splitlines() if line.count(",") > 1]
    return max((int(n) for n in numbers if n.isdecimal()), default=0)


def _append(file: Path, text: str) -> None:
    with file.open("a", encoding="utf-8") as f:
        f.write(text)


def main(argv: list[str] | None = None) -> int:
    args = _arguments(argv)
    stopped: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda signum, _frame: stopped.append(signum))
    try:
        clock = load(args.config).make_clock()
        play(
            load_trace(args.trace),
            NO_FAULT if args.no_fault else nvlink_then_off_the_bus(args.gpu),
            Outputs(args.values, args.events, args.kmsg),
            clock,
            lambda: bool(stopped),
            start_unix_s=clock.time_s() if args.start is None else args.start,
            duration_s=args.duration,
        )
    except ForeshockError as e:
        print(f"{e}\nTry: {e.hint}", file=sys.stderr)
        return 1
    return 0


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m demo.player", description="Play a trace and a fault.")
    parser.add_argument("--values", type=Path, required=True, help="the double's values file, replaced")
    parser.add_argument("--events", type=Path, required=True, help="the double's event file, appended")
    parser.add_argument("--kmsg", type=Path, required=True, help="kernel log file, appended")
    parser.add_argument("--trace", type=Path, required=True, help="recorded or simulated trace (CSV)")
    parser.add_argument("--config", help="foreshock.toml, for its [clock]")
    parser.add_argument("--gpu", type=int, default=5, help="index of the GPU that fails (default 5)")
    parser.add_argument("--no-fault", action="store_true", help="play the trace alone")
    parser.add_argument("--start", type=float, metavar="UNIX_S", help="elapsed 0 on the clock (default: now)")
    parser.add_argument("--duration", type=float, default=math.inf, metavar="S", help="stop after S seconds")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
