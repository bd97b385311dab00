"""How often a GPU stops a job: published rates by name, each with its count and source."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from alerting.economics import positive, share


@dataclass(frozen=True, slots=True)
class Rates:
    """`faults_per_gpu_day`: interruptions of a job, of any cause, per GPU of it and day.

    `gpu_share`: the share of them that a GPU caused; no telemetry of GPUs foretells the others.
    `ValueError` where they make no sense.
    """

    name: str
    faults_per_gpu_day: float
    gpu_share: float
    source: str

    def __post_init__(self) -> None:
        positive(faults_per_gpu_day=self.faults_per_gpu_day)
        share(gpu_share=self.gpu_share)


_LLAMA3_GPU_DAYS: Final = 16_384 * 54
_PER_NODE: Final = 8

PRESETS: Final[dict[str, Rates]] = {
    r.name: r
    for r in (
        Rates(
            "llama3", 419 / _LLAMA3_GPU_DAYS, 268 / 419,
            "Llama 3 (arXiv 2407.21783, Table 5): 419 unexpected interruptions of 16,384 H100 in 54 days, 268 by GPUs "
            "(by count: the printed shares do not add up)",
        ),
        Rates(
            "llama3-gpu", 268 / _LLAMA3_GPU_DAYS, 1.0,
            "the same, only the 268 interruptions that GPUs caused",
        ),
        Rates(
            "rsc1", 6.50 / 1000 / _PER_NODE, 0.64,
            "RSC-1, 16k A100 (Kokolis et al., HPCA 2025): 6.50 failures per 1,000 node-days; GPU share assumed, as in "
            "llama3",
        ),
        Rates(
            "rsc2", 2.34 / 1000 / _PER_NODE, 0.64,
            "RSC-2, 8k A100 (Kokolis et al., HPCA 2025): 2.34 failures per 1,000 node-days; GPU share assumed, as in "
            "llama3",
        ),
        Rates(
            "delta-a100", (14_821 - 8_863) / (448 * 895), 1.0,
            "Delta, 448 A100, 895 days: 14,821 critical errors without 8,863 of Xid 31 (applications); errors and not "
            "interruptions, 3,857 of them one firmware's GSP time-outs",
        ),
        Rates(
            "delta-h100", (1_821 - 1_737) / (608 * 146), 1.0,
            "Delta, 608 H100/GH200, 146 days: 1,821 critical errors without 1,737 of Xid 31; errors and not "
            "interruptions",
        ),
    )
}  # fmt: skip
