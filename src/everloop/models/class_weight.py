"""How much more a positive row counts than a negative one, under everybody's names."""

from __future__ import annotations

from typing import Final

import numpy as np

from everloop.models.space import Float, Hyperparameter, Native

__all__ = ["BALANCED", "balance", "scale_pos_weight"]

BALANCED: Final = "balanced"
"""Both classes weigh the same, whatever their shares are among the rows that are learned from."""

_UNBALANCED: Final = ((True, BALANCED), (False, 1.0))
_NATIVES: Final = (
    Native(name="class_weight", meanings=((BALANCED, BALANCED), (None, 1.0))),
    *(Native(name=name, meanings=_UNBALANCED) for name in ("is_unbalance", "unbalance", "unbalanced_sets")),
)


def scale_pos_weight(*, default: float = 1.0) -> Hyperparameter:
    """The hyperparameter; it means the same in every learner that has it."""
    return Hyperparameter(
        name="scale_pos_weight",
        search=Float(1.0, 100.0, log=True),
        default=default,
        minimum=1e-6,
        maximum=1e6,
        natives=_NATIVES,
        words=(BALANCED,),
    )


def balance(y: np.ndarray, weight: np.ndarray) -> float:
    """What `balanced` is on these rows: the weight of all negatives for that of all positives.

    y: shape (n,), 0 or 1, both there. weight: shape (n,), positive.
    """
    return float(weight[y == 0].sum() / weight[y == 1].sum())
