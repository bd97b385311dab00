"""`foreshock train --promote-if-better`: a new model serves only where it wins against what serves, on later days."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from collector.errors import ForeshockError
from models import lake_protocol
from models.contenders import ACTIVE, contender, new_to
from models.registry import Registry
from models.shadow import BUDGETS, compare, wins
from pipeline.features import FEATURE_SET
from pipeline.lake import Lake


def promote_if_better(
    lake: Lake, root: Path, model_id: str, *, budgets: Sequence[float] = BUDGETS
) -> dict[str, Any]:
    """`promoted`, `why`, `against` and `compared` (models.shadow.compare), on the test window of training alone.

    Neither learning nor the choice of the new model's threshold has seen that window. Where the active model cannot
    be loaded nothing is promoted, for nothing was won.
    """
    try:
        serving = contender(root, ACTIVE)
    except ForeshockError as e:
        return {"promoted": False, "why": f"the active model cannot be compared with: {e}", "against": None,
                "compared": None}  # fmt: skip
    new = contender(root, model_id)
    since, until = lake_protocol.windows(lake_protocol.reach(lake))[1]
    told = compare(
        lake,
        serving.scorer,
        new.scorer,
        new_to((serving, new), since, until),
        until,
        thresholds=(serving.threshold, new.threshold),
        budgets=budgets,
    )
    won, why = wins(told)
    if won:
        Registry(root).promote(
            model_id, f"won against {serving.scorer.model_id}: {why}", feature_set=FEATURE_SET
        )
    return {"promoted": won, "why": why, "against": serving.scorer.model_id, "compared": told}
