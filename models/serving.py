"""The scorer that ingest serves: the registry's active model, or the rules while there is none; swapped as it runs."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Final

import polars as pl
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from collector.errors import ForeshockError
from models.imminence import ImminenceScorer, from_state
from models.registry import Registry
from models.rules import RuleScorer
from pipeline.features import FEATURE_SET
from pipeline.scoring import Scorer

log = logging.getLogger(__name__)

HEAD: Final = "imminence"
_LOOK_EVERY_S: Final = 10.0


def load(root: Path, model_id: str) -> ImminenceScorer:
    """One model of the registry. Raises ForeshockError where it cannot serve (registry.load says why)."""
    state, card = Registry(root).load(model_id, feature_set=FEATURE_SET)
    if card.head != HEAD:
        raise ForeshockError(
            f"{model_id} is of the head {card.head}, and minutes are scored by {HEAD}",
            hint="foreshock models list",
        )
    try:
        model = from_state(state)
    except (KeyError, TypeError, ValueError, AttributeError) as e:
        raise ForeshockError(
            f"{model_id} does not hold what a model of {HEAD} holds: {type(e).__name__}: {e}",
            hint="train again: foreshock train",
        ) from e
    return ImminenceScorer(model, model_id, card.horizon_s, card.point.threshold)


class Serving:
    """The active model behind pipeline.scoring.Scorer.

    A promotion or roll-back is taken up between two calls of `score`, within ten seconds. Where the new one cannot be
    loaded, that is logged and the old one goes on: a bad promotion must not end the stream. At the start there is no
    old one, and the error is raised.
    """

    def __init__(self, root: Path) -> None:
        # Trees on several threads wait for each other on a busy machine, and a worker has its neighbours.
        threadpool_limits(1)
        self._root, self._registry = root, Registry(root)
        self._looked_s = time.monotonic()
        self._wanted = self._registry.active()
        self._scorer: Scorer = self._made(self._wanted)
        log.info("risks are scored by %s", self._scorer.model_id)

    def _made(self, model_id: str | None) -> Scorer:
        return RuleScorer() if model_id is None else load(self._root, model_id)

    @property
    def model_id(self) -> str:
        return self._scorer.model_id

    @property
    def feature_set(self) -> str:
        return self._scorer.feature_set

    @property
    def horizon_s(self) -> int:
        return self._scorer.horizon_s

    @property
    def threshold(self) -> float | None:
        return self._scorer.threshold

    def score(self, matrix: pl.DataFrame) -> pl.DataFrame:
        """As the active model has it."""
        if time.monotonic() - self._looked_s >= _LOOK_EVERY_S:
            self._look()
        return self._scorer.score(matrix)

    def _look(self) -> None:
        self._looked_s = time.monotonic()
        try:
            if (wanted := self._registry.active()) == self._wanted:
                return
            self._wanted = wanted
            self._scorer = self._made(wanted)
        except (ForeshockError, OSError) as e:
            hint = e.hint if isinstance(e, ForeshockError) else "can this worker read the registry?"
            log.error("%s goes on scoring: %s (%s)", self._scorer.model_id, e, hint)
        else:
            log.warning("risks are scored by %s from now on", self._scorer.model_id)
