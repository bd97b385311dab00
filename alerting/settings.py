"""The policy's rules from the operator's settings, the Xid catalogue and the models' cards."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from alerting.economics import JobCosts
from alerting.job_book import JobBook
from alerting.levels import level_of
from alerting.limits import ACTIONS, Limits, maintenance
from alerting.rules import Rules
from collector import xid_catalogue
from collector.config import WatchConfig
from collector.errors import ConfigError


def rules_of(config: WatchConfig, models: Path | None = None) -> Rules:
    """`models` is the registry, whose cards tell each model's operating point.

    Raises ConfigError for an action, a maintenance window or a cost that makes no sense.
    """
    return Rules(
        is_terminal=xid_catalogue.is_terminal, is_application=xid_catalogue.is_application, advice=_advice,
        alarm_level=config.alarm_level, clear_level=config.clear_level, clear_s=config.clear_s,
        alarm_level_of=partial(level_of, models) if models is not None and config.own_level else None,
        jobs=JobBook(_costs(config)), limits=_limits(config), migrate=config.migrate,
        release_failed=config.release_failed, dry_run=config.dry_run,
    )  # fmt: skip


def _limits(config: WatchConfig) -> Limits:
    if unknown := sorted(set(config.armed) - set(ACTIONS)):
        raise ConfigError(f"watch.armed: {unknown[0]!r} is no action", hint=f"actions: {', '.join(ACTIONS)}")
    return Limits(
        armed=frozenset(a for a in ACTIONS if a in config.armed),
        checkpoints_per_job_hour=config.checkpoints_per_job_hour, drained_nodes=config.drained_nodes,
        predicted_drains=config.predicted_drains, cool_down_s=config.cool_down_s,
        maintenance=tuple(maintenance(m) for m in config.maintenance),
    )  # fmt: skip


def _costs(config: WatchConfig) -> JobCosts:
    try:
        return JobCosts(
            config.job_interval_s, config.job_checkpoint_s, config.job_recovery_s, config.job_move_s
        )
    except ValueError as e:
        raise ConfigError(
            f"watch.job_*: {e}", hint="costs are seconds of the job, see docs/economics.md"
        ) from e


def _advice(code: int) -> str:
    """What the catalogue says to do, in a sentence."""
    known = xid_catalogue.explain(code)
    if known is None:
        return f"Xid {code} is not in the catalogue: see NVIDIA's Xid documentation."
    return f"{known.meaning}; {known.nvidia}. GPU gone: {known.gpu_gone}."
