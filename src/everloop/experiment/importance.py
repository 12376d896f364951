"""What each feature is worth to a model that has them all: by permutation, and by a random forest's own account.

Both are of small models on a seeded sample of at most `SAMPLE_ROWS` rows, in which the rarer class is whole as far as
it goes. They rank features; they are no measurement of the model that will be found.

- permutation: gradient-boosted trees are fitted on two thirds of the sample and judged on the last; a feature's values
  are shuffled among the judged rows, and what that costs of the area under the ROC curve is given as a share of the
  area above 0.5. 0.4 is a feature without which two fifths of the knowledge is gone; a twin of another feature costs
  nothing, since the twin still stands. Where the area is not surely above 0.5 the trees know nothing, and no feature
  costs anything. A numeric target is judged by which rows lie above its median.
  Source: Breiman, Random Forests (2001).
- forest: the share of the impurity that splits on the feature take away, in a random forest. It adds up to 1, shares
  the credit of twins between them, and favours features of many values. Source: Breiman et al., CART (1984).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Final

import numpy as np
from numpy.typing import NDArray

from everloop.data import fit_sample
from everloop.experiment.association import auc_error, ranked_auc, target_codes
from everloop.stats import effective_n

__all__ = ["SAMPLE_ROWS", "Importance", "can_be_asked", "importances"]

SAMPLE_ROWS: Final = 20_000
_SHUFFLES: Final = 2
_ROUNDS: Final = 60
_TREES: Final = 60
_LEAST_ROWS: Final = 150
_SURELY: Final = 2.0  # standard errors

Floats = NDArray[np.float64]
Matrix = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Importance:
    """What a feature is worth beside the others.

    permutation: share of the knowledge that shuffling it costs, in [0, 1]; 0 where it is not needed, and of every
    feature where all of them together know nothing.
    forest: share of a random forest's gain, in [0, 1].
    """

    feature: str
    permutation: float
    forest: float


def can_be_asked() -> bool:
    """Whether the libraries that fit are installed; exploring does without them, and says so."""
    return all(find_spec(name) is not None for name in ("lightgbm", "sklearn"))


def importances(
    matrix: Matrix,
    names: Sequence[str],
    y: Floats,
    *,
    weight: Floats,
    numeric: bool = False,
    seed: int = 0,
    threads: int = 1,
) -> tuple[Importance, ...]:
    """Every feature's importance, the dearest by permutation first; none where there is too little to learn from.

    matrix: shape (n, k), NaN where missing; y: shape (n,), 0 or 1, or any number where `numeric`; weight: shape (n,).
    threads: never changes what comes out.
    """
    sample = fit_sample(y, weight, most=SAMPLE_ROWS, seed=seed, numeric=numeric)
    rows, weights = sample.rows, sample.weight
    rng = np.random.default_rng(seed)
    judged = rng.random(rows.size) < 1 / 3
    learned = ~judged
    target = y[rows]
    if rows.size < _LEAST_ROWS or any(np.ptp(target[part]) == 0 for part in (learned, judged)):
        return ()
    X = np.ascontiguousarray(matrix[rows])
    lost = _permuted(X, target, weights, learned, judged, numeric=numeric, seed=seed, threads=threads, rng=rng)
    gained = _forest(X, target, weights, numeric=numeric, seed=seed, threads=threads)
    found = [
        Importance(feature=name, permutation=float(lost[at]), forest=float(gained[at])) for at, name in enumerate(names)
    ]
    return tuple(sorted(found, key=lambda one: (-one.permutation, -one.forest)))


def _permuted(
    X: Matrix,
    y: Floats,
    weight: Floats,
    learned: NDArray[np.bool_],
    judged: NDArray[np.bool_],
    *,
    numeric: bool,
    seed: int,
    threads: int,
    rng: np.random.Generator,
) -> Floats:
    """What shuffling each feature costs, as a share of what the trees know; shape (k,)."""
    import lightgbm

    params = {
        "objective": "regression" if numeric else "binary",
        "num_leaves": 15,
        "learning_rate": 0.1,
        "min_data_in_leaf": 10,
        "deterministic": True,
        "force_col_wise": True,
        "max_bin": 127,
        "num_threads": threads,
        "seed": seed,
        "verbosity": -1,
    }
    data = lightgbm.Dataset(
        X[learned], label=y[learned], weight=weight[learned] / weight[learned].mean(), params=params
    )
    trees = lightgbm.train(params, data, num_boost_round=_ROUNDS)
    rows, truth, weights = X[judged], y[judged], weight[judged]
    positive = target_codes(truth, weights)[0] == 1 if numeric else truth == 1

    def area() -> float:
        said = np.asarray(trees.predict(rows, num_threads=threads), dtype=np.float64)
        return ranked_auc(said, np.where(positive, weights, 0.0), np.where(positive, 0.0, weights))

    told = area()
    if told - _SURELY * auc_error(told, effective_n(weights[positive]), effective_n(weights[~positive])) <= 0.5:
        return np.zeros(X.shape[1])  # what chance gave the trees is no knowledge to have a share in
    used = np.asarray(trees.feature_importance("split")) > 0
    costs = [told - _shuffled(area, rows, at, rng) if used[at] else 0.0 for at in range(X.shape[1])]
    return np.clip(np.asarray(costs) / (told - 0.5), 0, 1)


def _shuffled(area: Callable[[], float], rows: Matrix, at: int, rng: np.random.Generator) -> float:
    """The mean area with one column shuffled; the column is put back."""
    kept = rows[:, at].copy()
    total = 0.0
    for _ in range(_SHUFFLES):
        rows[:, at] = rng.permutation(kept)
        total += area()
    rows[:, at] = kept
    return total / _SHUFFLES


def _forest(X: Matrix, y: Floats, weight: Floats, *, numeric: bool, seed: int, threads: int) -> Floats:
    """The forest's own account, shape (k,), adding up to 1 (or all 0). Missing values stand at the column's median."""
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

    medians = np.array([np.median(known) if (known := column[np.isfinite(column)]).size else 0.0 for column in X.T])
    whole = np.where(np.isfinite(X), X, medians.astype(np.float32))
    kind = RandomForestRegressor if numeric else RandomForestClassifier
    forest = kind(
        n_estimators=_TREES,
        max_depth=10,
        min_samples_leaf=5,
        max_features="sqrt",
        max_samples=min(5_000, len(X)),
        random_state=seed,
        n_jobs=threads,
    )
    # both classes count alike: else a few positives among thousands decide no split
    if not numeric:
        weight = weight * np.where(y == 1, weight[y == 0].sum() / weight[y == 1].sum(), 1.0)
    forest.fit(whole, y, sample_weight=weight / weight.mean())
    return np.asarray(forest.feature_importances_, dtype=np.float64)
