"""From which risk on a model's word is an alarm: the operating point on its card, measured when it was made."""

from __future__ import annotations

import logging
from functools import lru_cache
from pathlib import Path

from collector.config import Config
from collector.errors import ForeshockError

log = logging.getLogger(__name__)


def level_of(root: Path, model_id: str) -> float | None:
    """The threshold on the card of `model_id` in the registry at `root`; None where it has none, as the rules."""
    return _known(root, model_id)


def alarm_level(config: Config) -> float:
    """The risk from which on this site raises alarms now: of its active model, else of the settings."""
    from models.registry import Registry

    active = Registry(config.models.registry).active()
    own = None if active is None or not config.watch.own_level else level_of(config.models.registry, active)
    return config.watch.alarm_level if own is None else own


@lru_cache(maxsize=64)
def _known(root: Path, model_id: str) -> float | None:
    from models.registry import Registry

    try:
        return Registry(root).card(model_id).point.threshold
    except ForeshockError as e:
        log.info("%s has no operating point of its own: %s", model_id, e)
        return None
