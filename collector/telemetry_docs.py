"""docs/telemetry.md, made from the table of columns: `python -m collector.telemetry_docs > docs/telemetry.md`."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import msgspec

from collector.fields import ALL_LINKS, FIELDS, Field
from collector.nvml_reader import TICK_S, calls_per_gpu
from collector.records import SCHEMA_VERSION, TOPIC_INVENTORY, TOPIC_TELEMETRY, Inventory

_HEAD: Final = """\
# Telemetry

<!-- Made by `python -m collector.telemetry_docs > docs/telemetry.md`: edit collector/fields.py. -->

One row per GPU per tick on `{topic}` (an Arrow IPC stream per flush, schema version {version}), the same columns in
the lake's `telemetry`. There are {columns} columns, {readings} of them readings of the GPU.

- **Null is not zero.** Null means that the GPU, its driver or the agent's rights do not give the reading (a code such
  as `NOT_SUPPORTED`), or that reading it failed. Only a failure leaves its code in `nvml_return` and makes the
  row's `gpu_state` `error`. All ones (2^32-1, 2^63 and more), which is how NVML says nothing, are null too.
- **Counters** are cumulative as NVML gives them. They start again when the driver is loaded, or never (lifetime):
  differences must know that a counter which fell began at zero, as the rollup does.
- **Every.** A column of 1 s is read in every tick, however fast ticks come. A slower one is read when it is due and
  carries its value in between: it is as of at most that long ago. One that fails when it is due is null until it is
  due again, never stale.
- **NVLink 5** columns ask for the sum over all links (scope 2^32-1), which NVIDIA documents for fields 138 to 141 and
  DCGM treats alike for the others; a driver that refuses it leaves them null.
- **Profiling** (GPM) is the average since the sample before, null in the first tick, null on GPUs before Hopper and
  with MIG on. It never makes a row an error: another profiler on the GPU may hold the counters.
- With **MIG** on, NVML offers no utilization, engine or profiling readings of the whole GPU: null.

Driver calls per GPU: {tick} in every tick (one of them reads {tick_ids} field ids; two more for profiling on Hopper and
newer){slow}. An inventory is some thirty calls, for one GPU in a tick, every five minutes.

Left out, and why: `nvmlDeviceGetPcieThroughput` measures for 20 ms in each direction while the caller waits, and fields
197 and 198 (PCIe bytes) wrap at an unsaid width, so PCIe traffic comes from GPM alone; per-unit *volatile* ECC other
than device memory rises together with the lifetime counter of its unit; raw NVLink throughput (140, 141) and link-level
counters say where on the GPU, not whether; application clocks and fan speed say nothing on a data-centre GPU.

The last column names what the minute rollup keeps: `power_w` becomes `power_w_mean` and so on.
"""

_GROUPS: Final = (
    ("Who, where, when, and how the agent fared", "time"),
    ("Work", "sm_util_pct"),
    ("Power, temperature, clocks", "power_w"),
    ("Memory in use", "memory_used_mib"),
    ("ECC errors", "ecc_sbe_volatile"),
    ("Memory repair", "remapped_rows_correctable"),
    ("PCIe", "pcie_replay"),
    ("NVLink up to version 4", "nvlink_crc_flit_errors"),
    ("NVLink 5 (Blackwell)", "nvlink5_tx_bytes"),
    ("Chip to chip, fabric, the driver's own verdict", "c2c_crc_errors"),
)
"""Heading, and the first column below it."""

_COLUMNS: Final = ("column", "type", "role", "unit", "every", "read from", "meaning", "rollup")


def page() -> str:
    """The whole page."""
    return "\n".join([_head(), *_sections(), *_inventory()]) + "\n"


def _head() -> str:
    calls = calls_per_gpu()
    slow = "".join(f", {n} more every {period:g} s" for period, n in calls.items() if period > TICK_S)
    return _HEAD.format(
        topic=TOPIC_TELEMETRY, version=SCHEMA_VERSION, columns=len(FIELDS),
        readings=sum(f.role in ("gauge", "counter", "state") for f in FIELDS), tick=calls[TICK_S],
        tick_ids=sum(len(f.field_ids) for f in FIELDS if f.every_s <= TICK_S), slow=slow,
    )  # fmt: skip


def _sections() -> Iterator[str]:
    names = [f.name for f in FIELDS]
    starts = [names.index(first) for _, first in _GROUPS]
    for (heading, _), start, end in zip(_GROUPS, starts, [*starts[1:], len(FIELDS)], strict=True):
        yield f"## {heading}\n"
        yield from _table(_COLUMNS, (_row(f) for f in FIELDS[start:end]))


def _row(f: Field) -> tuple[str, ...]:
    every = "" if f.role in ("identity", "plane") else f"{f.every_s:g} s"
    source = f"{f.source}, all links" if f.scope == ALL_LINKS else f.source
    return (f"`{f.name}`", f.type, f.role, f.unit, every, source, f.meaning, " ".join(f.rollup))


def _inventory() -> Iterator[str]:
    yield f"## Inventory\n\nWho a GPU is, as JSON on `{TOPIC_INVENTORY}`: once, and again when a fact changed.\n"
    facts = msgspec.structs.fields(Inventory)
    yield from _table(("fact", "type"), ((f"`{f.name}`", _type_name(f.type)) for f in facts))


def _type_name(kind: object) -> str:
    if isinstance(kind, type):
        return kind.__name__
    return str(kind).replace(" | ", " or ").replace("None", "null")


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    for cells in (head, ["---"] * len(head), *rows):
        yield f"| {' | '.join(cells)} |"
    yield ""


def main() -> int:
    sys.stdout.write(page())
    return 0


if __name__ == "__main__":
    sys.exit(main())
