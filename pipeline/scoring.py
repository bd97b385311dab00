"""What ingest asks of a scorer. The front door wires one in; the pipeline never imports a model."""

from __future__ import annotations

from typing import Protocol

import polars as pl


class Scorer(Protocol):
    """A risk for every row of a feature matrix."""

    @property
    def model_id(self) -> str:
        """Names the model in every prediction."""

    @property
    def feature_set(self) -> str:
        """The feature-set hash it was made for."""

    @property
    def horizon_s(self) -> int:
        """The risk is the probability of a fault within this time."""

    @property
    def threshold(self) -> float | None:
        """The risk from which on its card raises alarms; None where nobody has measured one."""

    def score(self, matrix: pl.DataFrame) -> pl.DataFrame:
        """`matrix` (pipeline.features) -> columns risk (Float64, 0..1) and reasons (List(REASON)), row by row."""
