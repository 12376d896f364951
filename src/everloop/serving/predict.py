"""A row's way: decoded by the contract, scored by every live version, one answer picked, captured, answered."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import polars as pl

from everloop.bundle import Bundle
from everloop.clock import Clock, to_us
from everloop.data import EVENT_TIME
from everloop.rollout import Assignment, assign_many
from everloop.serving.counters import Counters
from everloop.serving.frames import frame_of
from everloop.serving.live import LiveModel
from everloop.serving.problem import MANY_ERRORS, Problem, RowError
from everloop.serving.rows import id_column, prediction_id, row_error
from everloop.traffic import PredictionBatch, Spool, row_digest

__all__ = ["Predictor"]

_LOG = logging.getLogger("everloop.serving")

JSON = Any


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What is said of one row."""

    id: str
    score: float
    decision: str
    version: int
    side: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Good:
    """The good rows: their place among all rows, their ids, entities and times, and the frame."""

    places: list[int]
    ids: list[str]
    digests: list[bytes]
    entities: list[str | None]
    event_time_us: np.ndarray[Any, np.dtype[np.int64]]
    frame: pl.DataFrame


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scored:
    """shape (n, versions); NaN where a version gave no score. features: the champion's, shape (n, k)."""

    versions: tuple[int, ...]
    scores: np.ndarray[Any, np.dtype[np.float32]]
    decisions: np.ndarray[Any, np.dtype[np.bool_]]
    features: np.ndarray[Any, np.dtype[np.float32]]
    took_s: tuple[float, ...]


class Predictor:
    """Answers rows of one model after another; lives in the scoring thread, which alone uses the spool."""

    def __init__(self, *, spool: Spool, clock: Clock, counters: Counters) -> None:
        self._spool = spool
        self._clock = clock
        self._counters = counters

    def answer(self, model: LiveModel, rows: Sequence[JSON]) -> list[bytes | list[RowError]]:
        """One answer (JSON) or what was wrong for each row, in their order; every answer given is recorded.

        Raises Problem where no row can be answered: the champion cannot score, or (StorageFull) nothing be recorded.
        """
        answers: list[bytes | list[RowError]] = [[] for _ in rows]
        decoded = self._decode(model, rows, answers)
        if not decoded.places:
            return answers
        scored = _score(model, decoded.frame)
        batch, places = self._batch(model, decoded, scored), decoded.places
        finite = np.isfinite(scored.scores[:, 0])
        if not finite.all():
            self._unscored(model, rows, batch, [n for n, one in enumerate(finite) if not one], places, answers)
            scored_rows = np.flatnonzero(finite).tolist()
            batch, places = batch.take(scored_rows), [places[n] for n in scored_rows]
        recorded = self._spool.append_predictions(batch)
        key = id_column(model.contract)
        for n, place in enumerate(places):
            conflict = recorded.conflicts.get(n)
            if conflict is None:
                answers[place] = recorded.earlier.get(n, batch.answers[n])
            else:
                error = row_error(rows[place], key, column=key, value=batch.ids[n], detail=str(conflict))
                answers[place] = [msgspec.structs.replace(error, conflict=True)]
        self._count(model, decoded, scored, batch)
        return answers

    def _unscored(
        self,
        model: LiveModel,
        rows: Sequence[JSON],
        batch: PredictionBatch,
        unscored: Sequence[int],
        places: Sequence[int],
        answers: list[bytes | list[RowError]],
    ) -> None:
        """What is said of rows that the champion gives no number for: an answer of earlier, else what is wrong."""
        known = self._spool.answers_for(model.name, [batch.ids[n] for n in unscored])
        key = id_column(model.contract)
        detail = f"v{model.routing.champion} gives no number for this row; are its values as large as they say?"
        for n in unscored:
            before = known.get(batch.ids[n])
            if before is not None and before.digest == batch.digests[n]:
                answers[places[n]] = before.answer
            else:
                answers[places[n]] = [row_error(rows[places[n]], key, column=None, value=None, detail=detail)]

    def _decode(self, model: LiveModel, rows: Sequence[JSON], answers: list[bytes | list[RowError]]) -> _Good:
        key = id_column(model.contract)
        decoded = model.decoder.decode(rows, now=self._clock.now())
        for told, problem in enumerate(decoded.problems):
            if told >= MANY_ERRORS and answers[problem.index]:
                continue
            detail = problem.sentence.removeprefix(f"row {problem.index}: ")
            error = row_error(
                rows[problem.index], key, column=problem.column or None, value=problem.value, detail=detail
            )
            _errors_of(answers, problem.index).append(error)
        given = decoded.columns.get(key)
        places: list[int] = []
        ids: list[str] = []
        taken: list[int] = []
        for n, place in enumerate(decoded.kept):
            found = prediction_id(rows[place].get("id") if given is None else given[n], self._clock)
            if found is None:
                value = rows[place].get("id")
                detail = f"id: {value!r:.80} is not 1 to 64 of A-Z a-z 0-9 . _ : -"
                _errors_of(answers, place).append(row_error(rows[place], key, column="id", value=value, detail=detail))
            else:
                places.append(place)
                ids.append(found)
                taken.append(n)
        # Lists and whole columns, no lazy frames: for a row alone their overhead is most of the work.
        entity = model.contract.only("entity")
        entities = [None] * len(decoded.kept) if entity is None else decoded.columns[entity.name]
        times = decoded.columns[EVENT_TIME]
        now_us = to_us(self._clock.now())
        frame = frame_of(decoded)
        return _Good(
            places=places,
            ids=ids,
            digests=[row_digest(rows[place]) for place in places],
            entities=[entities[n] for n in taken],
            event_time_us=np.array([now_us if times[n] is None else times[n] for n in taken], dtype=np.int64),
            frame=frame if len(taken) == frame.height else frame[taken],
        )

    def _batch(self, model: LiveModel, decoded: _Good, scored: _Scored) -> PredictionBatch:
        keys = [one if entity is None else entity for one, entity in zip(decoded.ids, decoded.entities, strict=True)]
        picked = [_answering(one, scored, n) for n, one in enumerate(assign_many(model.routing, keys))]
        columns = np.array([scored.versions.index(one.version) for one in picked], dtype=np.int64)
        answers = []
        for n, (one, column) in enumerate(zip(picked, columns.tolist(), strict=True)):
            decision = model.bundles[one.version].label(bool(scored.decisions[n, column]))
            score = float(scored.scores[n, column])
            answer = Answer(id=decoded.ids[n], score=score, decision=decision, version=one.version, side=one.side)
            answers.append(msgspec.json.encode(answer))
        inputs = decoded.frame.clone()
        inputs.drop_in_place(EVENT_TIME)
        return PredictionBatch(
            model=model.name,
            routing_revision=model.routing.revision,
            ids=decoded.ids,
            digests=decoded.digests,
            answers=answers,
            event_time_us=decoded.event_time_us,
            entities=decoded.entities,
            versions=scored.versions,
            thresholds=tuple(model.bundles[version].threshold for version in scored.versions),
            scores=scored.scores,
            decisions=scored.decisions,
            answered=columns,
            sides=[one.side for one in picked],
            propensities=np.array([one.propensity for one in picked], dtype=np.float64),
            inputs=inputs,
            feature_names=model.champion.features.names,
            features=scored.features,
        )

    def _count(self, model: LiveModel, decoded: _Good, scored: _Scored, batch: PredictionBatch) -> None:
        self._counters.batch(model.name, rows=len(scored.scores))
        for name, unseen in model.champion.features.unseen(decoded.frame, scored.features).items():
            self._counters.unseen(model.name, name, rows=unseen)
        for column, version in enumerate(scored.versions):
            failed = int(np.isnan(scored.scores[:, column]).sum())
            self._counters.scored(
                model.name,
                version,
                rows=len(scored.scores) - failed,
                errors=failed,
                decisions=int(scored.decisions[:, column].sum()),
                answered=int((batch.answered == column).sum()),
                took_s=scored.took_s[column],
            )


def _score(model: LiveModel, frame: pl.DataFrame) -> _Scored:
    """Every live version on the same rows, the champion first. Raises Problem where the champion cannot score."""
    versions = model.routing.live
    rows = frame.height
    scores = np.full((rows, len(versions)), np.nan, dtype=np.float32)
    decisions = np.zeros((rows, len(versions)), dtype=bool)
    took_s = []
    made: dict[str, _Matrix] = {}
    for column, version in enumerate(versions):
        began_s, shared_s = time.perf_counter(), 0.0
        try:
            matrix = _matrix(model.bundles[version], frame, made)
            began_s, shared_s = time.perf_counter(), matrix.took_s
            scored = model.bundles[version].score_matrix(matrix.values)
        except Exception as error:  # a challenger may fail in any way: that is counted, and costs nobody an answer
            _LOG.exception("v%d of %s cannot score %d rows", version, model.name, rows)
            if column == 0:
                raise Problem(500, "cannot-score", f"v{version} of {model.name} cannot score: {error}") from error
        else:
            finite = np.isfinite(scored.score)
            scores[:, column] = np.where(finite, scored.score, np.nan)
            decisions[:, column] = scored.decision & finite
        took_s.append(shared_s + time.perf_counter() - began_s)
    features = _matrix(model.champion, frame, made).values
    return _Scored(versions=versions, scores=scores, decisions=decisions, features=features, took_s=tuple(took_s))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Matrix:
    """Features of the rows, and how long they took; versions with the same features share them."""

    values: np.ndarray[Any, np.dtype[np.float32]]
    took_s: float


def _matrix(bundle: Bundle, frame: pl.DataFrame, made: dict[str, _Matrix]) -> _Matrix:
    features = bundle.manifest.files["features.json"]
    if features not in made:
        began_s = time.perf_counter()
        values = bundle.features.matrix(frame)
        made[features] = _Matrix(values=values, took_s=time.perf_counter() - began_s)
    return made[features]


def _errors_of(answers: list[bytes | list[RowError]], place: int) -> list[RowError]:
    found = answers[place]
    assert isinstance(found, list)
    return found


def _answering(picked: Assignment, scored: _Scored, row: int) -> Assignment:
    """The assignment, or the champion's answer where the challenger has none."""
    column = scored.versions.index(picked.version)
    if column == 0 or np.isfinite(scored.scores[row, column]):
        return picked
    return Assignment(version=scored.versions[0], side="champion", propensity=picked.propensity)
