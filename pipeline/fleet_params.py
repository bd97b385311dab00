# ruff: noqa: E501 - a table of fault classes: one row, one line
"""What a simulated fleet is made of: fault rates by count, precursor shares, decoys. Each number names its source.

[J] marks our own judgement: no source gives it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

from collector.errors import ForeshockError

LLAMA3_GPU_DAYS: Final = 54 * 16_384
"""Llama 3 (arXiv 2407.21783) table 5: 54 days on 16,384 H100; rates are its counts over this, not its misprinted shares."""

Preset = Literal["low", "high", "zero"]
Down = Literal["lost", "hung", "ok"]


@dataclass(frozen=True, slots=True)
class FaultClass:
    """One class of GPU fault. `count` is of `LLAMA3_GPU_DAYS`; `follow` the probability that a fault is followed by another.

    `phi_low` and `phi_high`: share with a usable precursor [J]. Leads are log-normal and at least 5 minutes [J].
    `codes`: the Xids of the fault in their order; none where the driver sees nothing.
    """

    name: str
    count: int
    phi_low: float
    phi_high: float
    follow: float
    lead_median_s: float
    codes: tuple[int, ...]
    down: Down
    source: str

    def rate_per_gpu_day(self) -> float:
        return self.count / LLAMA3_GPU_DAYS


# fmt: off
CLASSES: Final = (
    FaultClass("hbm", 72, .30, .50, .58, 6 * 3600, (48, 63), "ok", "Llama 3: GPU HBM3 72; follow: Summit (Oles et al., ICS'24), 44 % of DBEs follow another within 120 h"),
    FaultClass("off_bus", 59, .25, .45, .30, 1500, (79,), "lost", "Llama 3: faulty GPU 148, split 59/37/52 [J]; follow [J]"),
    FaultClass("nvlink", 37, .25, .45, .50, 1500, (74,), "ok", "of the 148; Delta: 66 % of Xid 74 recur on the same GPU"),
    FaultClass("engine", 52, .25, .45, .30, 1500, (62, 45), "hung", "of the 148"),
    FaultClass("sram", 19, .10, .30, .30, 3 * 3600, (48, 95), "ok", "Llama 3: GPU SRAM 19; follow [J]"),
    FaultClass("gsp", 17, .05, .15, .30, 1200, (119,), "hung", "Llama 3: GPU system processor 17; follow [J]"),
    FaultClass("sdc", 6, 0, 0, .0, 600, (), "ok", "Llama 3: silent data corruption 6"),
    FaultClass("thermal", 6, .80, .95, .50, 3 * 3600, (79,), "lost", "Llama 3: GPU thermal interface and sensor 6; a shutdown shows as off the bus [J]"),
)
# fmt: on
"""268 GPU faults of Llama 3's 419 unexpected interruptions."""

CLASS_NAMES: Final = tuple(c.name for c in CLASSES)


@dataclass(frozen=True, slots=True)
class Decoys:
    """What looks like a fault coming and is none: per GPU-day unless the name says otherwise. All rates [J]."""

    background_sbe: float = 0.01
    background_link_error: float = 0.02
    """Lone NVLink CRC errors and PCIe replays of healthy links."""
    remap_growth: float = 2e-4
    """Rows remapped for months without a fault (Lablup 2026: one GPU had 254)."""
    ce_storm: float = 2e-4
    """Calchas (ATC'24): no clear relation between corrected errors and failures."""
    application_burst: float = 0.02
    """Xid 31 on Delta's H100s: 1,737 in 608 x 146 GPU-days."""
    thermal_wave_per_rack_day: float = 0.02
    node_gap_per_node_day: float = 0.2
    driver_update_every_days: float = 14.0
    """Rolling over a day; counters restart, corrected errors are reported more for a day after (Summit's update)."""


@dataclass(frozen=True, slots=True)
class FleetParams:
    """A fleet's history is `days` long, all drawn when it is made: the same values give the same fleet."""

    days: int = 1
    precursors: Preset = "low"
    fault_rate_factor: float = 1.0
    """More faults than in life, for training sets of a bearable size; say so beside any figure."""
    decoy_rate_factor: float = 1.0
    susceptible_share: float = 0.05
    susceptible_first_share: float = 0.40
    """Share of first faults drawn for the minority [J]: it ends with about 43 % of all, below HeaRank's 64 % on 5 %."""
    gap_median_s: float = 20 * 3600.0
    gap_sigma: float = 2.52
    """Summit: gaps between DBEs of one GPU, median 20 h, mean near 20 d: sigma = sqrt(2 ln 24).

    A gap is at least 6 h, the longest repair; about a third of the drawn ones are shorter, and spread up to the median.
    """
    swap_share: float = 0.3
    """Share of GPUs whose last fault ends in a new card [J]."""
    other_interruptions: int = 151
    """Llama 3: those of 419 that no GPU caused; they end jobs and leave no mark on a GPU."""
    gpus_per_node: int = 8
    nodes_per_rack: int = 4
    decoys: Decoys = field(default_factory=Decoys)

    def phi(self, fault: FaultClass) -> float:
        """Share of this class that has a precursor."""
        return {"low": fault.phi_low, "high": fault.phi_high, "zero": 0.0}[self.precursors]

    def check(self, gpus: int) -> None:
        """Raises ForeshockError where no fleet can be made."""
        if gpus < 1 or gpus % self.gpus_per_node:
            raise ForeshockError(
                f"a fleet of {gpus} GPUs does not fill nodes of {self.gpus_per_node}",
                hint=f"give a multiple of {self.gpus_per_node}",
            )
        if self.days < 1:
            raise ForeshockError(
                f"a fleet of {self.days} days has no history", hint="give FleetParams(days=1) or more"
            )
