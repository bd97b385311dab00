"""What the agent knows of itself, at one moment: the source of /metrics, /healthz and the systemd status line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from collector.spool import SpoolState

_STALLED_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Shipping:
    """How the spool gets to the broker. `lag_s` is the age of the oldest record that is not there yet."""

    shipped: int
    failures: int
    last_error: str | None
    lag_s: float


@dataclass(frozen=True, slots=True)
class Status:
    """`loop_age_s` is the time since the tick loop last came round, in seconds of the agent's clock."""

    node: str
    interval_s: float
    loop_age_s: float
    ticks: int
    tick_s: float
    samples: int
    nvml_error: str | None
    source: Mapping[str, float]
    """What the source of the rows counts about itself, by the name of the metric."""
    gpus: Mapping[str, int]
    """GPUs by state of their last sample."""
    events: Mapping[str, int]
    """Events told, by kind."""
    folded: int
    refused_lines: int
    lost_lines: int
    """Kernel records that were overwritten before they were read."""
    orphans: int
    kernel_log_failures: int
    spool: SpoolState
    refused_rows: int
    """Samples that a full disk would not take."""
    shipping: Shipping | None

    def agent_problem(self) -> str | None:
        """Why the agent itself should be restarted; None while it works. A sick GPU is no reason."""
        limit_s = max(_STALLED_S, 20 * self.interval_s)
        if self.loop_age_s > limit_s:
            return f"the tick loop has not come round for {self.loop_age_s:.0f} s"
        return None

    def gpu_problems(self) -> list[str]:
        """What is wrong with the GPUs or their driver, in words."""
        sick = [f"{count} {state}" for state, count in sorted(self.gpus.items()) if state != "ok"]
        return ([f"NVML: {self.nvml_error}"] if self.nvml_error else []) + sick

    def line(self) -> str:
        """One line for a person."""
        well = self.gpus.get("ok", 0)
        problems = "; ".join(self.gpu_problems())
        return f"{well} of {sum(self.gpus.values())} GPUs ok" + (f"; {problems}" if problems else "")
