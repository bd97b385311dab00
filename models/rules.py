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

import polars as pl

from pipeline.features import FEATURE_SET, NAMES
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
    Rule("nvml_latency_ratio", (50, .05), (1000, .25), "< 50", "driver calls have become slow", "proxy for GSP timeouts (Xid 119); judged"),
    Rule("remapped_uncorrectable_60m", (1, .15), (4, .50), "0", "rows remapped after uncorrected errors", "SuperBench, B200 case; number judged"),
    Rule("remap_pending", (1, .10), (1, .10), "0", "a row remap waits for a reset", "judged"),
    Rule("remapped_rows", (10, .10), (128, .40), "< 10", "many remapped rows", "SuperBench: > 10 rows, 83 % of nodes regress (no time scale)"),
    Rule("pcie_replay_10m", (10, .05), (1000, .35), "< 10", "PCIe replays", "sometimes precedes Xid 79; judged"),
    Rule("pcie_width_drop", (1, .25), (8, .50), "0", "the PCIe link lost lanes", "8.6 % of Minder's faults; number judged"),
    Rule("thermal_violation_10m", (1e6, .05), (3e8, .20), "< 1 s", "throttled by temperature", "judged"),
    Rule("temperature_peer_delta_c", (10, .03), (25, .15), "< 10 C", "hotter than its neighbours", "judged; weak on Titan and Summit"),
    Rule("fault_events_24h", (1, .30), (5, .60), "0", "it has failed within a day", "Summit: 44 % of DBEs follow another within 120 h; number judged"),
    Rule("precursor_events_24h", (1, .10), (10, .40), "0", "precursor Xids (63, 92, 94, 121)", "literature section 5; number judged"),
)
# fmt: on


class RuleScorer:
    """The rules behind the interface that trained models use (pipeline.scoring.Scorer)."""

    horizon_s = HORIZON_S
    feature_set = FEATURE_SET
    model_id = "rules-" + hashlib.blake2b(repr(RULES).encode(), digest_size=4).hexdigest()

    def score(self, matrix: pl.DataFrame) -> pl.DataFrame:
        """Risk in 0..1 and its reasons, strongest first. An unknown feature says nothing, for or against."""
        probabilities = matrix.select(_probability(r).alias(f"p{i}") for i, r in enumerate(RULES))
        risk = 1 - probabilities.select(
            pl.reduce(lambda a, b: a * b, [1 - pl.col(c) for c in probabilities.columns]).alias("kept")
        )["kept"].alias("risk")
        reasons = _reasons(matrix, probabilities)
        return pl.DataFrame({"risk": risk}).with_columns(reasons)


def _probability(rule: Rule) -> pl.Expr:
    (x0, p0), (x1, p1) = rule.low, rule.high
    value = pl.col(rule.feature)
    if x0 == x1:
        risen = pl.lit(p1)
    else:
        share = (value.clip(lower_bound=x0).log() - math.log(x0)) / (math.log(x1) - math.log(x0))
        risen = p0 + (p1 - p0) * share.clip(0, 1)
    return pl.when(value >= x0).then(risen).otherwise(0.0)


def _reasons(matrix: pl.DataFrame, probabilities: pl.DataFrame) -> pl.Series:
    """Per row the rules that spoke. `share` is its part of the evidence -log(1-p); shares sum to 1."""
    rows = pl.concat([matrix.select(NAMES), probabilities], how="horizontal").with_row_index("_row")
    weight = {i: -(1 - pl.col(f"p{i}")).log() for i in range(len(RULES))}
    total = pl.sum_horizontal(weight.values())
    parts = [
        rows.select("_row", _struct(rule, pl.col(rule.feature), weight[i] / total).alias("reason")).filter(
            rows[f"p{i}"] > 0
        )
        for i, rule in enumerate(RULES)
    ]
    listed = (
        pl.concat(parts)
        .sort(pl.col("reason").struct.field("share"), descending=True, maintain_order=True)
        .group_by("_row", maintain_order=True)
        .agg(pl.col("reason"))
    )
    empty = pl.lit([], dtype=pl.List(REASON))
    joined = rows.select("_row").join(listed, on="_row", how="left", maintain_order="left")
    return joined.select(pl.col("reason").fill_null(empty).alias("reasons"))["reasons"]


def _struct(rule: Rule, value: pl.Expr, share: pl.Expr) -> pl.Expr:
    return pl.struct(
        pl.lit(rule.feature).alias("feature"),
        value.alias("value"),
        pl.lit(rule.healthy).alias("healthy"),
        share.alias("share"),
        pl.lit(rule.text).alias("text"),
    )
