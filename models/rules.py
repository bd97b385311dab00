"""The prior scorer: transparent rules from the literature, for a site that has no model of its own yet.

Each rule turns one feature into the probability of a fault within the hour, rising between two points; the
GPU's risk is their noisy-or, 1 - prod(1 - p). The probabilities are priors, not measurements: where a source
gives a number it is named, where it gives only a direction the number is our judgement and says so.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl

from pipeline.features import FEATURE_SET
from pipeline.signals import Floats, Ints
from pipeline.tables import REASON

HORIZON_S: Final = 3600


@dataclass(frozen=True, slots=True)
class Rule:
    """`low` and `high` are (value, probability); between them p rises with the logarithm of the value.

    Below low[0] the rule is silent. `healthy` is what the value should be, in words.
    """

    feature: str
    low: tuple[float, float]
    high: tuple[float, float]
    healthy: str
    text: str
    source: str


# fmt: off
RULES: Final[tuple[Rule, ...]] = (
    Rule("gpu_down", (1, .98), (1, .98), "0", "the GPU is lost or its driver hangs", "definition"),
    Rule("recovery_action", (1, .95), (1, .95), "0 (none)", "the driver itself asks for a reset or reboot", "NVML field 230"),
    Rule("remap_failure", (1, .90), (1, .90), "0", "a row remap failed: no spare rows", "NVIDIA RMA criterion"),
    Rule("ecc_dbe_60m", (1, .50), (4, .80), "0", "uncorrected memory errors", "Xid 48 ends jobs (Delta); number judged"),
    Rule("nvlink_crc_3m", (30, .05), (18_000, .60), "< 30", "NVLink CRC errors are ramping", "DCGM fails a link at 100/s; lower end judged"),
    Rule("nvlink_crc_10m", (100, .05), (60_000, .50), "< 100", "NVLink CRC errors for minutes", "DCGM fails a link at 100/s; lower end judged"),
    Rule("nvlink_replay_10m", (1, .15), (50, .45), "0", "NVLink replays or recoveries", "DCGM fails a GPU on any; number judged"),
    Rule("gap_excess_10m", (10, .15), (60, .45), "< 10 s over its peers", "the GPU stopped answering for a while", "GWDG 2026: gaps lead off-bus faults; number judged"),
    Rule("bad_sample_share_10m", (.02, .05), (.5, .40), "< 2 %", "the GPU answers only sometimes", "GWDG 2026; number judged"),
    Rule("nvml_errors_10m", (1, .05), (60, .40), "0", "driver calls fail", "judged"),
    Rule("nvml_latency_ratio", (5, .05), (50, .25), "< 5", "driver calls have become slower than in the hour before, and than the node's others", "proxy for GSP timeouts (Xid 119); judged"),
    Rule("remapped_uncorrectable_60m", (1, .15), (4, .50), "0", "rows remapped after uncorrected errors", "SuperBench, B200 case; number judged"),
    Rule("remapped_rows_24h", (4, .05), (64, .25), "< 4", "rows are being remapped", "growth before a B200 vanished (Lablup 2026); number judged"),
    Rule("remap_pending", (1, .10), (1, .10), "0", "a row remap waits for a reset", "judged"),
    Rule("remapped_rows", (10, .10), (128, .40), "< 10", "many remapped rows", "SuperBench: > 10 rows, 83 % of nodes regress (no time scale)"),
    Rule("pcie_replay_10m", (10, .05), (1000, .35), "< 10", "PCIe replays", "sometimes precedes Xid 79; judged"),
    Rule("pcie_width_drop", (1, .25), (8, .50), "0", "the PCIe link lost lanes", "8.6 % of Minder's faults; number judged"),
    Rule("thermal_violation_10m", (1e6, .05), (3e8, .20), "< 1 s", "throttled by temperature", "judged"),
    Rule("temperature_peer_delta_c", (10, .03), (25, .15), "< 10 C", "hotter than its neighbours", "judged; weak on Titan and Summit"),
    Rule("temperature_own_delta_c", (8, .02), (20, .10), "< 8 C", "warmer than an hour ago at the same power", "judged"),
    Rule("fault_events_24h", (1, .30), (5, .60), "0", "it has failed within a day", "Summit: 44 % of DBEs follow another within 120 h; number judged"),
    Rule("fault_events_7d", (1, .01), (10, .10), "0", "it has failed within a week", "Summit: 44 % of DBEs within 120 h of another; per hour, judged"),
    Rule("node_fault_events_24h", (1, .01), (10, .10), "0", "other GPUs of its node have failed", "Delta: 14 % of NVLink errors spread; per hour, judged"),
    Rule("slot_fault_events_90d", (1, .01), (10, .05), "0", "other cards have failed in its slot", "Summit: slots differ; number judged"),
    Rule("precursor_events_24h", (1, .10), (10, .40), "0", "precursor Xids (63, 92, 94, 121)", "literature section 5; number judged"),
)
# fmt: on


class RuleScorer:
    """The rules behind the interface that trained models use (pipeline.scoring.Scorer)."""

    horizon_s = HORIZON_S
    threshold: float | None = None
    feature_set = FEATURE_SET
    model_id = "rules-" + hashlib.blake2b(repr(RULES).encode(), digest_size=4).hexdigest()

    def score(self, matrix: pl.DataFrame) -> pl.DataFrame:
        """Risk in 0..1 and its reasons, strongest first. An unknown feature says nothing, for or against."""
        values = np.stack([matrix[r.feature].to_numpy() for r in RULES], axis=1)
        spoke = np.stack([values[:, i] >= r.low[0] for i, r in enumerate(RULES)], axis=1)
        rows = np.flatnonzero(
            spoke.any(axis=1)
        )  # nearly every GPU is healthy, and no rule has anything to say
        values, spoke = values[rows], spoke[rows]
        probabilities = np.stack([_probability(r, values[:, i]) for i, r in enumerate(RULES)], axis=1)
        risk = np.zeros(matrix.height)
        risk[rows] = 1 - np.prod(np.where(spoke, 1 - probabilities, 1.0), axis=1)
        reasons = _reasons(rows, values, np.where(spoke, -np.log(1 - probabilities), 0.0))
        everyone = pl.DataFrame({"_row": np.arange(matrix.height), "risk": risk})
        told = everyone.join(reasons, on="_row", how="left", maintain_order="left")
        return told.select("risk", pl.col("reasons").fill_null(pl.lit([], dtype=pl.List(REASON))))


def _probability(rule: Rule, values: Floats) -> Floats:
    """Where the rule speaks; what it gives elsewhere means nothing."""
    (x0, p0), (x1, p1) = rule.low, rule.high
    if x0 == x1:
        return np.full(len(values), p1)
    share = np.log(np.fmax(values, x0) / x0) / math.log(x1 / x0)
    risen: Floats = p0 + (p1 - p0) * np.clip(share, 0, 1)
    return risen


_SAID: Final = pl.DataFrame({
    "_rule": range(len(RULES)), "feature": [r.feature for r in RULES],
    "healthy": [r.healthy for r in RULES], "text": [r.text for r in RULES],
})  # fmt: skip


def _reasons(rows: Ints, values: Floats, weight: Floats) -> pl.DataFrame:
    """Per row the rules that spoke: _row, reasons. `share` is a rule's part of the evidence -log(1-p), of 1."""
    row, rule = np.nonzero(weight)
    share = weight[row, rule] / weight.sum(axis=1)[row]
    told = pl.DataFrame({"_row": rows[row], "_rule": rule, "value": values[row, rule], "share": share})
    return (
        told.sort("_row", "share", "_rule", descending=[False, True, False])
        .join(_SAID, on="_rule", how="left", maintain_order="left")
        .group_by("_row", maintain_order=True)
        .agg(pl.struct(f.name for f in REASON.fields).cast(REASON).alias("reasons"))
    )
