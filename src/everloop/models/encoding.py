"""How rows reach a model that multiplies and adds: numbers standardised, and a column of its own for every category.

The place of a category in a list says nothing by its size: 4 is not twice 2. Trees split such places again and again
until it does not matter; a line cannot. A category that no training row had is none of the columns: all are 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from everloop.models.learner import Training

__all__ = ["encoder"]


def encoder(training: Training) -> Any:
    """A scikit-learn transformer, not yet fitted, of the training's columns."""
    from sklearn.preprocessing import StandardScaler

    if not training.categories:
        return StandardScaler()
    from sklearn.compose import ColumnTransformer
    from sklearn.preprocessing import OneHotEncoder

    places = sorted(training.categories)
    numbers = [place for place in range(training.X.shape[1]) if place not in training.categories]
    known = [np.arange(training.categories[place], dtype=np.float64) for place in places]
    columns = OneHotEncoder(categories=known, handle_unknown="ignore", sparse_output=False, dtype=np.float32)
    parts: list[tuple[str, Any, list[int]]] = [("categories", columns, places)]
    if numbers:
        parts.insert(0, ("numbers", StandardScaler(), numbers))
    return ColumnTransformer(parts)
