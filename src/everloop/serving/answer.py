"""What is said of one row, as the JSON that is recorded and given."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from everloop.bundle import Bundle
from everloop.rollout import Assignment
from everloop.serving.live import LiveModel
from everloop.serving.scored import Scored

__all__ = ["answer_bytes"]

_encode = msgspec.json.Encoder().encode


class _Tail(msgspec.Struct, frozen=True, kw_only=True):
    """What stands behind a score. A regression has quantiles, where its version gives some, and no decision."""

    quantiles: dict[str, float] | msgspec.UnsetType = msgspec.UNSET
    decision: str | msgspec.UnsetType = msgspec.UNSET
    version: int
    side: str


def answer_bytes(
    model: LiveModel, ids: Sequence[str], picked: Sequence[Assignment], columns: Sequence[int], scored: Scored
) -> list[bytes]:
    """Each row's answer: `{"id":…,"score":…,…}`. columns: of the scores, which one answers each row.

    Most of what is said is the same for many rows, so it is written once for each version, side and decision.
    """
    rows = np.arange(len(ids))
    scores = _texts(scored.scores[rows, columns])
    decided = scored.decisions[rows, columns].tolist()
    tails: dict[tuple[int, str, bool], bytes] = {}
    answers = []
    for row, (given, score, one, positive) in enumerate(zip(ids, scores, picked, decided, strict=True)):
        quantiles = scored.quantiles[columns[row]]
        if quantiles is not None:
            tail = _tail(model.bundles[one.version], one, positive, quantiles[row].tolist())
        else:
            key = (one.version, one.side, positive)
            known = tails.get(key)
            tail = tails[key] = _tail(model.bundles[one.version], one, positive) if known is None else known
        # an id needs no escapes: it is of A-Z a-z 0-9 . _ : -
        answers.append(b'{"id":"%b","score":%b,%b' % (given.encode(), score, tail))
    return answers


def _texts(scores: np.ndarray) -> list[bytes]:
    """Each score as JSON writes it, null where it is none."""
    return _encode(scores.tolist())[1:-1].split(b",")


def _tail(bundle: Bundle, one: Assignment, positive: bool, quantiles: Sequence[float] = ()) -> bytes:
    label = bundle.label(positive)
    tail = _Tail(
        quantiles=dict(zip(bundle.quantiles, quantiles, strict=True)) if quantiles else msgspec.UNSET,
        decision=msgspec.UNSET if label is None else label,
        version=one.version,
        side=one.side,
    )
    return _encode(tail)[1:]
