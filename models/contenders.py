"""Who can be compared: the rules, the active model or any other; its threshold, and what it has seen already."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from collector.config import WatchConfig
from collector.errors import ForeshockError
from models.cards import Card
from models.learning import EMBARGO
from models.registry import Registry
from models.rules import RuleScorer
from models.serving import load
from pipeline.scoring import Scorer

ACTIVE: Final = "active"
RULES: Final = "rules"
RULES_THRESHOLD: Final = WatchConfig().alarm_level
"""Nothing was measured to choose it by: it is where `foreshock watch` raises alarms unless told otherwise."""


@dataclass(frozen=True, slots=True)
class Contender:
    """`card`: None for the rules, which have learnt nothing."""

    scorer: Scorer
    threshold: float
    card: Card | None

    @property
    def new_from(self) -> datetime | None:
        """The first moment of the lake that is new to it: an embargo after what it learnt from. None: all is new."""
        return None if self.card is None or self.card.dataset != "lake" else self.card.data_until + EMBARGO


def contender(root: Path, name: str) -> Contender:
    """`name`: ACTIVE (the rules where no model is), RULES or a model id. Raises ForeshockError as the registry does."""
    registry = Registry(root)
    model_id = registry.active() if name == ACTIVE else name
    if model_id is None or model_id == RULES:
        return Contender(RuleScorer(), RULES_THRESHOLD, None)
    card = registry.card(model_id)
    return Contender(load(root, model_id), card.point.threshold, card)


def new_to(contenders: tuple[Contender, ...], since: datetime, until: datetime) -> datetime:
    """`since`, or later where a contender has learnt from what follows. Raises ForeshockError where nothing is left."""
    begin = max([since, *(c.new_from for c in contenders if c.new_from is not None)])
    if begin >= until:
        learnt = ", ".join(
            c.scorer.model_id for c in contenders if c.new_from is not None and c.new_from >= until
        )
        raise ForeshockError(
            f"the lake ends {until:%Y-%m-%d %H:%M}, and that is not new to {learnt}",
            hint=f"wait until {begin:%Y-%m-%d %H:%M} and longer: a model is not judged on what it learnt from",
        )
    return begin
