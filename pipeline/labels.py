"""Events -> faults -> labels: which GPU failed within the horizon, which did not, and which nobody can judge.

A fault is what the history features count (pipeline/event_history.py), and two things more: the driver asks for a
reset or reboot by name (Xid 154), or an Xid that is normally the application's comes back on one GPU under one job
after the other. What a row's label may know is everything; what its features may know ends at its decision time.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import numpy as np
import polars as pl

from collector.errors import ForeshockError
from collector.xid import RECOVERY_ACTION
from collector.xid_catalogue import entries, is_application, is_fault
from collector.xid_verdict import ENDS_THE_JOB, RECOVERY
from pipeline.event_history import FAULT_KINDS, is_a_fault
from pipeline.signals import Ints
from pipeline.tables import TIME

CLASSES: Final = ("memory", "off_bus", "nvlink", "engine", "gsp", "node", "hang", "application", "other")
FAULTS: Final = pl.Schema({
    "time": TIME, "node": pl.String(), "gpu_uuid": pl.String(), "pci_bdf": pl.String(), "class": pl.String(),
    "code": pl.Int64(), "repeat": pl.Boolean(), "last_time": TIME,
})  # fmt: skip
"""One row per episode, which lasts from `time` to `last_time`. `repeat`: the same GPU had one before."""

_OF_LAYER: Final = {"memory": "memory", "bus": "off_bus", "nvlink": "nvlink", "driver": "engine", "gsp": "gsp",
                    "app": "application"}  # fmt: skip
"""The catalogue's `layer` of a code -> class. Micro-controllers and engines are its layer "driver"."""
_OF_KIND: Final = {"gpu_lost": "off_bus", "gpu_missing": "off_bus", "nvml_hang": "hang"}
_SECOND_US: Final = 1_000_000
_MINUTE_US: Final = 60_000_000
_NEVER_US: Final = 2**62


@dataclass(frozen=True, slots=True)
class LabelDefinition:
    """What is predicted. Its codes are the catalogue's with this site's overrides, read when it is used."""

    min_lead_s: int = 300
    """Less is not enough to save a checkpoint."""
    blind_s: int = 3600
    """After an episode's last code the GPU is being looked at; its telemetry is that of the fault."""
    episode_s: int = 1800
    """Codes this close on one GPU are one episode, as in the lake's view `faults`."""
    application_jobs: int = 3
    application_within_s: int = 86_400
    """The catalogue calls 13 and 31 hardware where they repeat on one GPU; NVSentinel looks at two Xid 31 in a day.

    Three jobs, because two bursts meet by chance: Delta's H100s have 0.02 Xid 31 per GPU-day (1,737 in 608 x 146),
    which makes 4e-4 pairs, more than the 3e-4 hardware faults per GPU-day of Llama 3.
    """

    def as_dict(self) -> dict[str, Any]:
        """All that decides a label, ready for JSON."""
        return asdict(self) | {
            "kinds": list(FAULT_KINDS),
            "codes": [code for code in sorted(entries()) if is_fault(code)],
            "codes_if_fatal": [c for c in sorted(entries()) if is_fault(c, fatal=True) and not is_fault(c)],
            "application_codes": _application_codes(),
            "recovery_actions": list(_RESETS),
            "classes": {str(code): name for code, name in sorted(_classes().items())},
        }

    @property
    def digest(self) -> str:
        """Names the definition: labels of two digests are not to be compared."""
        told = json.dumps(self.as_dict(), sort_keys=True)
        return hashlib.blake2b(told.encode(), digest_size=8).hexdigest()


DEFINITION: Final = LabelDefinition()
_RESETS: Final = tuple(sorted(words for words, action in RECOVERY.items() if action in ENDS_THE_JOB))


def _application_codes() -> list[int]:
    """Of the application's codes those that the catalogue calls hardware where they repeat: 13 and 31."""
    return [
        c for c, entry in sorted(entries().items()) if is_application(c) and "if it repeats" in entry.scope
    ]


def _classes() -> dict[int, str]:
    return {code: _OF_LAYER.get(entry.layer, "other") for code, entry in entries().items()}


def faults(events: pl.DataFrame, definition: LabelDefinition = DEFINITION) -> pl.DataFrame:
    """Rows of EVENTS, in any order, repeats allowed -> FAULTS, in the order of time.

    One fingerprint counts once, as its last telling has it: that one knows the GPU and the words of the kernel.
    An episode ends where nothing follows within `episode_s`. Its class is that of its first code, or of its kind
    where no code came; Xid 154 has the class of the code that it is a consequence of. An event that names no GPU
    is its slot's (node and pci_bdf), and one without an address its node's: then the class is "node".
    """
    told = _as_it_stands(events)
    repeated = pl.col("fingerprint").is_in(_repeated(told, definition)["fingerprint"].implode())
    rows = told.filter(pl.any_horizontal(is_a_fault(), _asked_for(), repeated))
    rows = rows.sort("time", "code", "fingerprint", nulls_last=True).with_columns(_class().alias("class"))
    ended = pl.max_horizontal("time", "last_time")
    quiet = pl.col("time") - ended.cum_max().shift(1).over("_who")
    apart = (quiet > timedelta(seconds=definition.episode_s)).fill_null(value=False)
    coded = pl.col("code").is_not_null()
    episodes = (
        rows.with_columns(apart.cum_sum().over("_who").alias("_episode"))
        .group_by("_who", "_episode", maintain_order=True)
        .agg(
            pl.col("time", "node", "gpu_uuid").first(),
            pl.col("pci_bdf").drop_nulls().first(),
            pl.coalesce(pl.col("class").filter(coded).first(), pl.col("class").first()),
            pl.col("code").drop_nulls().first(),
            ended.max().alias("last_time"),
        )
    )
    again = (pl.col("_episode") > 0).alias("repeat")
    return episodes.with_columns(again).select(FAULTS.names()).cast(FAULTS).sort("time", "node", "gpu_uuid")


def _as_it_stands(events: pl.DataFrame) -> pl.DataFrame:
    """Each fingerprint as its last telling has it (the lake's view `events_now`), with whose it is: `_who`."""
    slot = pl.format("{} {}", "node", "pci_bdf")
    newest = events.sort("count", "seq", nulls_last=False).unique("fingerprint", keep="last")
    return newest.with_columns(pl.coalesce("gpu_uuid", slot, "node").alias("_who"))


def _asked_for() -> pl.Expr:
    """The driver says that the GPU is unusable until a reset or reboot, or that its jobs must end."""
    words = pl.col("recovery_action").str.strip_chars().str.to_lowercase()
    return (pl.col("kind") == "xid") & words.is_in(_RESETS)


def _repeated(told: pl.DataFrame, definition: LabelDefinition) -> pl.DataFrame:
    """Application Xids that make one GPU's run of jobs full, and those after it. One without a job says nothing."""
    own = (
        pl.col("kind").eq("xid") & pl.col("code").is_in(_application_codes()) & pl.col("root_code").is_null()
    )
    calls = told.filter(own, pl.col("job").is_not_null()).sort("time")
    jobs = calls.rolling("time", period=f"{definition.application_within_s}s", group_by="_who").agg(
        pl.col("job").n_unique().alias("_jobs")
    )
    full = jobs.filter(pl.col("_jobs") >= definition.application_jobs)
    return calls.join(full, on=["_who", "time"], how="semi")


def _class() -> pl.Expr:
    known = _classes()
    code = pl.when(pl.col("code") == RECOVERY_ACTION).then("root_code").otherwise("code")
    of_code = code.replace_strict(
        list(known), list(known.values()), default="other", return_dtype=pl.String()
    )
    of_kind = pl.col("kind").replace_strict(_OF_KIND, default=None, return_dtype=pl.String())
    of_node = pl.when(pl.col("gpu_uuid").is_null(), pl.col("pci_bdf").is_null()).then(pl.lit("node"))
    return pl.coalesce(of_node, of_kind, of_code)


def label(
    rows: pl.DataFrame,
    faults: pl.DataFrame,
    *,
    horizon_s: int,
    until: datetime,
    last_seen: pl.DataFrame | None = None,
    definition: LabelDefinition = DEFINITION,
) -> pl.Series:
    """One Boolean per row of `rows` (gpu_uuid, node, pci_bdf, minute; in any order), named `label`.

    True: the next fault comes in [decision + min_lead_s, decision + horizon_s], where the decision is the end of the
    row's minute. Null, not to be judged: it comes sooner; an episode is open (from its first code until `blind_s`
    after its last); or the horizon goes past the end of what was seen and no fault was. That end is `until` (UTC;
    faults after it are not looked at) or, if earlier, the GPU's first `last` in or after the row's minute.
    `last_seen` (gpu_uuid, last: Datetime) has a row for each swap and repair: what comes after is another history.

    A fault that names no GPU is one of the GPU in that slot, or of every GPU on that node, by the row's own node.
    Raises ForeshockError where no fault could be True.
    """
    if horizon_s < definition.min_lead_s:
        raise ForeshockError(
            f"labels: a horizon of {horizon_s} s ends before the least lead of {definition.min_lead_s} s",
            hint=f"give a horizon of {definition.min_lead_s} s or more",
        )
    decision_us = rows["minute"].dt.epoch("us").to_numpy() + _MINUTE_US
    next_us, blind_us = _nearest(rows, faults.filter(pl.col("time") <= until), definition)
    horizon_us = decision_us + horizon_s * _SECOND_US
    unknown = (next_us < decision_us + definition.min_lead_s * _SECOND_US) | (decision_us < blind_us)
    fails = next_us <= horizon_us
    unknown |= ~fails & (horizon_us > _ends(rows, until, last_seen))
    return pl.select(pl.when(~pl.Series(unknown)).then(pl.Series(fails)).alias("label")).to_series()


def _ends(rows: pl.DataFrame, until: datetime, last_seen: pl.DataFrame | None) -> Ints:
    """Where the history that each row is of ends."""
    end_us = np.full(rows.height, round(until.timestamp() * _SECOND_US))
    if last_seen is not None:
        ended = last_seen.select("gpu_uuid", pl.col("last").cast(TIME)).drop_nulls().sort("last")
        asked = rows.select("gpu_uuid", "minute").with_row_index("_row")
        asked = asked.join(ended.select("gpu_uuid").unique(), on="gpu_uuid", how="semi").sort("minute")
        found = asked.join_asof(
            ended, left_on="minute", right_on="last", by="gpu_uuid", strategy="forward", coalesce=False,
            check_sortedness=False,
        ).drop_nulls("last")  # fmt: skip
        at = found["_row"].to_numpy()
        end_us[at] = np.minimum(end_us[at], found["last"].dt.epoch("us").to_numpy())
    return end_us


def _nearest(rows: pl.DataFrame, faults: pl.DataFrame, definition: LabelDefinition) -> tuple[Ints, Ints]:
    """Per row the time of its next fault, and until when the last one blinds it (microseconds)."""
    next_us, blind_us = np.full(rows.height, _NEVER_US), np.full(rows.height, -_NEVER_US)
    ended = pl.max_horizontal("time", "last_time").dt.epoch("us")
    known = faults.with_columns(
        pl.col("time").dt.epoch("us"), (ended + definition.blind_s * _SECOND_US).alias("blind")
    )
    gpu, slot = pl.col("gpu_uuid").is_not_null(), pl.col("pci_bdf").is_not_null()
    for key, mine in ((["gpu_uuid"], gpu), (["node", "pci_bdf"], ~gpu & slot), (["node"], ~gpu & ~slot)):
        theirs = known.filter(mine)
        if theirs.is_empty():
            continue
        near = _around(rows, theirs, key)
        at = near["_row"].to_numpy()
        next_us[at] = np.minimum(next_us[at], near["next"].fill_null(_NEVER_US).to_numpy())
        blind_us[at] = np.maximum(blind_us[at], near["blind"].fill_null(-_NEVER_US).to_numpy())
    return next_us, blind_us


def _around(rows: pl.DataFrame, faults: pl.DataFrame, key: list[str]) -> pl.DataFrame:
    """Rows of whom `faults` are: _row, `next`, `blind`. One at the very decision is still to come."""
    decision = (pl.col("minute").dt.epoch("us") + _MINUTE_US).alias("decision")
    asked = rows.select(*key, decision).with_row_index("_row")
    asked = asked.join(faults.select(key).unique(), on=key, how="semi").sort("decision")
    told = faults.sort("time")
    # sorted above; Polars cannot check it within groups and would warn
    near = asked.join_asof(
        told.select(*key, pl.col("time").alias("next")), left_on="decision", right_on="next", by=key,
        strategy="forward", coalesce=False, check_sortedness=False,
    ).join_asof(
        told.select(*key, "time", "blind"), left_on="decision", right_on="time", by=key,
        allow_exact_matches=False, check_sortedness=False,
    )  # fmt: skip
    return near.select("_row", "next", "blind")
