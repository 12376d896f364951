"""Between which edges a version's scores are counted: the same in every worker, and after every restart."""

from __future__ import annotations

from math import isfinite
from typing import Final

from everloop.bundle import Bundle
from everloop.data import SCORE
from everloop.errors import EverloopError
from everloop.tasks import get_task

__all__ = ["score_edges"]

_SHARES: Final = tuple(round(step * 0.05, 2) for step in range(1, 21))
_MOST: Final = 20
_POWERS: Final = tuple(factor * 10.0**power for power in range(-2, 5) for factor in (1, 2, 5))


def score_edges(bundle: Bundle) -> tuple[float, ...]:
    """Upper edges of the bins of a version's scores.

    Of what decides, twentieths of [0, 1]. Of numbers, those that cut the scores of the version's own baseline into
    parts of about the same size; 1, 2, 5, 10 … where it has none.
    """
    if get_task(bundle.manifest.task).decides:
        return _SHARES
    try:
        columns = {column.name: column for column in bundle.baseline.columns}
    except EverloopError:  # the version answers without it
        return _POWERS
    found = columns.get(SCORE)
    edges = [] if found is None or found.edges is None else [edge for edge in found.edges if isfinite(edge)]
    if len(edges) < 2:
        return _POWERS
    picked = {edges[round(place * (len(edges) - 1) / (_MOST - 1))] for place in range(_MOST)}
    return tuple(sorted(picked))
