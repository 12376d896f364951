"""What is told of rows after they were recorded: their answers, those of before, or that an id is another row's."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from everloop.rollout import Assignment
from everloop.serving.good_rows import Answers
from everloop.serving.rows import row_error
from everloop.traffic import PredictionBatch, Recorded

__all__ = ["answering", "tell_recorded"]


def tell_recorded(
    recorded: Recorded, batch: PredictionBatch, places: Sequence[int], *, key: str, answers: Answers
) -> None:
    """Give each row of a batch its answer, or say that its id is another row's.

    places: of the batch's rows in `answers`. key: the name under which a row carries its id.
    """
    for n, place in enumerate(places):
        conflict = recorded.conflicts.get(n)
        if conflict is None:
            answers[place] = recorded.earlier.get(n, batch.answers[n])
        else:
            error = row_error({key: batch.ids[n]}, key, column=key, value=batch.ids[n], detail=str(conflict))
            answers[place] = [msgspec.structs.replace(error, conflict=True)]


def answering(turn: Assignment, versions: Sequence[int], scores: np.ndarray) -> Assignment:
    """The assignment, or the champion's answer where the challenger has none.

    versions: the champion first; scores: theirs of this row, shape (versions,).
    """
    column = versions.index(turn.version)
    if column == 0 or np.isfinite(scores[column]):
        return turn
    return Assignment(version=versions[0], side="champion", propensity=turn.propensity)
