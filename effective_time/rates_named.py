"""What `--rates` may name: a preset, a node fault trace, this fleet's own history, or a number."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from collector.errors import ForeshockError
from effective_time.rates import PRESETS, Rates

_TRACE = "nodetrace:"


def rates(name: str, lake: Path, gpu_share: float | None = None) -> Rates:
    """`gpu_share` in place of the source's own. Raises ForeshockError where nothing is known by this name."""
    found = _rates(name, lake)
    if gpu_share is None:
        return found
    return replace(found, gpu_share=gpu_share, source=f"{found.source}; GPU share as given")


def _rates(name: str, lake: Path) -> Rates:
    if name in PRESETS:
        return PRESETS[name]
    if name.startswith(_TRACE):
        return _of_trace(Path(name.removeprefix(_TRACE)))
    if name == "lake":
        return _of_lake(lake)
    try:
        return Rates(
            "given",
            float(name),
            1.0,
            "as given; that GPUs cause all of them is assumed (--gpu-share)",
        )
    except ValueError:
        raise ForeshockError(
            f"--rates {name}: neither a name nor a number of interruptions per GPU-day above 0",
            hint=f"{', '.join(PRESETS)}, lake, nodetrace:DIR, or a number like 4.7e-4",
        ) from None


def _of_trace(folder: Path) -> Rates:
    from effective_time import outages
    from models import nodetrace

    try:
        of = outages.outages(nodetrace.read(folder))
    except ForeshockError as e:
        raise ForeshockError(
            f"--rates nodetrace:DIR: {e}",
            hint="DIR holds fault_trace.json of the InfiniteHBD trace (docs/data.md says where it can be had)",
        ) from e
    found = outages.rates(outages.measured(of, 0.0, of.until_day), of)
    source = f"{found.source} of the InfiniteHBD trace, {of.n_units} servers of {of.gpus_per_unit} GPUs"
    return replace(found, name="nodetrace", source=source)


def _of_lake(path: Path) -> Rates:
    from pipeline.lake import Lake
    from pipeline.sql import connect

    with connect(Lake(path).files, path) as desk:
        rows = desk.query(
            "SELECT gpu_days, faults, gpus, synthetic, since, until FROM fleet_mtbf WHERE scope = 'fleet'"
        ).to_dicts()
    if not rows or not rows[0]["faults"]:
        days = rows[0]["gpu_days"] if rows else 0.0
        raise ForeshockError(
            f"--rates lake: no fault in {days:.3g} GPU-days at {path}, so the rate is not known",
            hint="--rates llama3, or wait for faults",
        )
    row = rows[0]
    source = (
        f"measured{' (SYNTHETIC)' if row['synthetic'] else ''}: {row['faults']} faults of {row['gpus']} GPUs in "
        f"{row['gpu_days']:.4g} GPU-days, {row['since']:%Y-%m-%d} to {row['until']:%Y-%m-%d}; only faults of GPUs: "
        "what hosts, networks and software stop comes on top"
    )
    return Rates("lake", row["faults"] / row["gpu_days"], 1.0, source)
