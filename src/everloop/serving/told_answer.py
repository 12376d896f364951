"""What another server answered for a row, as it is told to the endpoint: a score, a decision, by which version."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import isfinite
from typing import Any, Final

from everloop.clock import Clock, to_us
from everloop.project import localise
from everloop.serving.open_model import OpenModel
from everloop.serving.problem import RowError
from everloop.serving.rows import id_column, row_error

__all__ = ["LARGEST", "MOST_SCORES", "MOST_VERSION", "RESERVED", "ToldAnswer", "ToldScore", "read_answer"]

RESERVED: Final = frozenset(
    {"decision", "propensity", "row", "score", "scored_at", "scores", "side", "threshold", "version"}
)
"""What a posted prediction says of its answer; columns of the same name go under `row`."""
_AHEAD = timedelta(minutes=5)
LARGEST: Final = 3e38  # that 32 bits hold
MOST_SCORES: Final = 16
MOST_VERSION: Final = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ToldScore:
    """One version's score of a row. decision: None where it is not said and follows from no threshold."""

    version: int
    score: float
    decision: bool | None
    threshold: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ToldAnswer:
    """scores: that of the version whose answer was given first, then the others'. inputs: the row's own columns.

    side, propensity: as the endpoint said whose turn it was; None where the row does not say. at_us: when it was
    answered.
    """

    scores: tuple[ToldScore, ...]
    inputs: Mapping[str, Any]
    side: str | None
    propensity: float | None
    at_us: int | None


def read_answer(row: Any, model: OpenModel, clock: Clock) -> ToldAnswer | list[RowError]:
    """The answer that a posted row tells, or everything that is wrong with it.

    A row has `score`, `version` (of a model with a champion that one, where it is left out) and, where the task
    decides, `decision` or `threshold`. `scores` tells what other versions said of the same row.
    """
    key = id_column(model.contract)
    if not isinstance(row, Mapping):
        return [row_error(row, key, column=None, value=row, detail="a row is a JSON object of names and values")]
    return _Reader(row, model, key, clock).answer()


class _Reader:
    """Reads one row and gathers what is wrong with it."""

    def __init__(self, row: Mapping[str, Any], model: OpenModel, key: str, clock: Clock) -> None:
        self._row, self._model, self._key, self._clock = row, model, key, clock
        self._found: list[RowError] = []

    def answer(self) -> ToldAnswer | list[RowError]:
        given = self._score(self._row, "")
        others = self._others(given)
        inputs = self._inputs()
        side, propensity = self._row.get("side"), self._row.get("propensity")
        if side not in (None, "champion", "challenger"):
            self._wrong("side", side, "is champion or challenger, as /decide said it; or leave it out")
        if propensity is not None and not (_is_number(propensity) and 0.0 < propensity <= 1.0):
            self._wrong("propensity", propensity, "is the probability that /decide gave, above 0 and up to 1")
        at_us = self._scored_at(self._row.get("scored_at"))
        if self._found or given is None:
            return self._found
        return ToldAnswer(scores=(given, *others), inputs=inputs, side=side, propensity=propensity, at_us=at_us)

    def _wrong(self, column: str, value: Any, detail: str) -> None:
        self._found.append(row_error(self._row, self._key, column=column, value=value, detail=f"{column}: {detail}"))

    def _inputs(self) -> Mapping[str, Any]:
        """The row's own columns: beside the answer, or apart under `row`."""
        nested = self._row.get("row")
        if "row" in self._row and "row" not in self._model.contract.names:
            if not isinstance(nested, Mapping):
                self._wrong("row", nested, "is a JSON object of the row's own columns")
                return {}
            return {"id": self._row.get("id"), self._key: self._row.get(self._key)} | dict(nested)
        taken = sorted(RESERVED & {one.name for one in self._model.contract.columns if one.at_prediction})
        if taken:
            self._wrong(taken[0], None, 'is a column of the contract too; send the row\'s own columns as "row": {…}')
        return self._row

    def _others(self, given: ToldScore | None) -> tuple[ToldScore, ...]:
        listed = self._row.get("scores", [])
        if not isinstance(listed, list) or len(listed) > MOST_SCORES:
            self._wrong("scores", listed, f"is a list of up to {MOST_SCORES} {{version, score, decision}}")
            return ()
        found: dict[int, ToldScore] = {}
        for place, one in enumerate(listed):
            if not isinstance(one, Mapping):
                self._wrong("scores", one, f"[{place}] is not {{version, score, decision}}")
            elif (told := self._score(one, f"scores[{place}].")) is not None:
                if told.version in found:
                    self._wrong("scores", told.version, f"[{place}] tells v{told.version} a second time")
                found[told.version] = told
        return tuple(one for one in found.values() if given is None or one.version != given.version)

    def _score(self, said: Mapping[str, Any], place: str) -> ToldScore | None:
        before = len(self._found)
        version, score, threshold = self._version(said, place), said.get("score"), said.get("threshold")
        if not _is_number(score):
            self._wrong(f"{place}score", score, "is not a number; it is what the version answered")
        if threshold is not None and not _is_number(threshold):
            self._wrong(f"{place}threshold", threshold, "is not a number")
        decision = self._decision(said.get("decision"), place)
        if len(self._found) > before or version is None or score is None:
            return None
        if not self._model.decides:
            return ToldScore(version=version, score=float(score), decision=None, threshold=None)
        bundle = self._model.bundles.get(version)
        if threshold is None and bundle is not None:
            threshold = bundle.threshold
        if decision is None and threshold is None:
            positive, negative = self._model.labels
            detail = f"is missing: {positive} or {negative}, or true or false; or say the threshold"
            self._wrong(f"{place}decision", None, detail)
            return None
        if decision is None:
            decision = bool(score >= threshold)
        threshold = None if threshold is None else float(threshold)
        return ToldScore(version=version, score=float(score), decision=decision, threshold=threshold)

    def _version(self, said: Mapping[str, Any], place: str) -> int | None:
        given = said.get("version")
        if given is None and not place and self._model.routing.champion is not None:
            return self._model.routing.champion
        if isinstance(given, str) and given.removeprefix("v").isascii() and given.removeprefix("v").isdigit():
            given = int(given.removeprefix("v")[:12])
        if isinstance(given, float) and given.is_integer():
            given = int(given)
        if isinstance(given, int) and not isinstance(given, bool) and 1 <= given <= MOST_VERSION:
            return given
        self._wrong(f"{place}version", given, "is not a version, such as 7 or v7; it says whose answer this was")
        return None

    def _decision(self, given: Any, place: str) -> bool | None:
        if given is None or isinstance(given, bool):
            return given
        positive, negative = self._model.labels
        if self._model.decides and isinstance(given, str) and given in (positive, negative):
            return given == positive
        if not self._model.decides:
            self._wrong(f"{place}decision", given, f"{self._model.name} answers numbers and decides nothing")
        else:
            self._wrong(f"{place}decision", given, f"is not {positive}, {negative}, true or false")
        return None

    def _scored_at(self, given: Any) -> int | None:
        if given is None:
            return None
        try:
            if not isinstance(given, str) or len(given) > 64:
                raise ValueError("no text")
            at = localise(datetime.fromisoformat(given), self._model.contract.timezone)
        except (ValueError, OverflowError):
            self._wrong("scored_at", given, "is not an ISO 8601 time; write it as 2025-01-31T09:00:00Z")
            return None
        if at > self._clock.now() + _AHEAD or to_us(at) < 0:
            self._wrong("scored_at", given, "lies in the future, or before 1970")
            return None
        return to_us(at)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST and isfinite(value)
