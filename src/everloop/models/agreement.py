"""Graph against model, on the same rows: what is packaged must say what was fitted."""

from __future__ import annotations

from typing import Final

import numpy as np

from everloop.bundle.graph import Graph
from everloop.errors import GraphDisagrees
from everloop.models.learner import FittedModel
from everloop.models.missing import filled

__all__ = ["AGREEMENT", "COMPARED_ROWS", "checked_scores", "compared_rows", "largest_difference", "refuse_disagreement"]

AGREEMENT: Final = 1e-4
"""How far a graph's score may be from its model's, on any row. Float32 sums differ by about 1e-6."""

COMPARED_ROWS: Final = 20_000
"""How many rows are compared at most."""

_HOLES: Final = 0.1


def largest_difference(
    graph: bytes, model: FittedModel, rows: np.ndarray, *, fill: np.ndarray, seed: int, most: int = COMPARED_ROWS
) -> float:
    """The largest difference of the two scores on `rows` as they are and with a tenth of their values missing.

    rows: float32, shape (n, k), n ≥ 1; at most `most` of them, drawn by `seed`, are compared.
    fill: float32, shape (k,), as the graph has it. Raises GraphDisagrees above `AGREEMENT`.
    """
    both = compared_rows(rows, most=most, seed=seed)
    return refuse_disagreement(np.abs(Graph(graph).scores(both) - checked_scores(model, filled(both, fill))))


def checked_scores(model: FittedModel, rows: np.ndarray) -> np.ndarray:
    """The model's scores of `rows`, shape (n,). Raises GraphDisagrees where they are not one number per row."""
    scores = np.asarray(model.scores(rows))
    if scores.shape != (len(rows),):
        raise GraphDisagrees(
            f"the model's scores of {len(rows):,} rows have the shape {scores.shape} and not one number per row, the "
            "probability of the positive class, or of a regression the number itself"
        )
    return scores


def compared_rows(rows: np.ndarray, *, seed: int, most: int = COMPARED_ROWS) -> np.ndarray:
    """`rows`, `most` of them at most, and the same again with a tenth of their values missing; float32."""
    rng = np.random.default_rng(seed)
    if len(rows) > most:
        rows = rows[np.sort(rng.choice(len(rows), most, replace=False))]
    holes = np.where(rng.random(rows.shape) < _HOLES, np.float32(np.nan), rows)
    return np.concatenate([rows, holes]).astype(np.float32)


def refuse_disagreement(difference: np.ndarray) -> float:
    """The largest difference, of shape (n,). Raises GraphDisagrees above `AGREEMENT`."""
    worst = float(difference.max())
    if not worst <= AGREEMENT:
        wrong = int((~(difference <= AGREEMENT)).sum())
        raise GraphDisagrees(
            f"the graph and its model differ by up to {worst:.2g}; on {wrong:,} of {len(difference):,} rows by more "
            f"than the {AGREEMENT:g} allowed. Nothing was packaged: try other hyperparameters or another learner"
        )
    return worst
