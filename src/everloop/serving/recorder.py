"""Captures what others answered: predictions that are posted, and those that the servers of other versions gave.

Each id once and durably before it is acknowledged, as with the endpoint's own answers.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import msgspec
import numpy as np

from everloop.bundle import Bundle
from everloop.clock import Clock
from everloop.rollout import Assignment, assign
from everloop.serving.answer import answer_bytes
from everloop.serving.counters import Counters, Role
from everloop.serving.good_rows import Answers, GoodRows, read_rows
from everloop.serving.live import LiveModel
from everloop.serving.open_model import OpenModel
from everloop.serving.problem import Problem, RowError
from everloop.serving.recorded import answering, tell_recorded
from everloop.serving.relayed import Failure, Relayed, Said
from everloop.serving.rows import id_column, row_error
from everloop.serving.scored import Scored
from everloop.serving.told_answer import ToldAnswer, ToldScore, read_answer
from everloop.tasks import decided
from everloop.traffic import PredictionBatch, Spool, row_digest

__all__ = ["Recorder"]

_LOG = logging.getLogger("everloop.serving")

_Floats = np.ndarray[Any, np.dtype[np.float32]]
_NO_FEATURES: Final = np.empty((0, 0), np.float32)
_TOLD: Final = "told"
"""What the digests of posted predictions are made over: whole rows, as they came."""


class Recorder:
    """Lives in the scoring thread, which alone uses the spool."""

    def __init__(self, *, spool: Spool, clock: Clock, counters: Counters) -> None:
        self._spool = spool
        self._clock = clock
        self._counters = counters

    def record(self, model: OpenModel, rows: Sequence[Any]) -> Answers:
        """What was recorded of each posted prediction, in their order, or what is wrong with it."""
        told = [read_answer(row, model, self._clock) for row in rows]
        answers: Answers = [list(one) if isinstance(one, list) else [] for one in told]
        objects = [place for place, row in enumerate(rows) if isinstance(row, dict)]
        inputs = [one.inputs if isinstance(one := told[place], ToldAnswer) else rows[place] for place in objects]
        read = read_rows(model, inputs, [answers[place] for place in objects], clock=self._clock)
        read = msgspec.structs.replace(read, places=[objects[place] for place in read.places])
        good = read.take([n for n, place in enumerate(read.places) if isinstance(told[place], ToldAnswer)])
        groups: dict[tuple[Any, ...], list[int]] = {}
        for n, place in enumerate(good.places):
            groups.setdefault(_alike(_told(told, place)), []).append(n)
        for members in groups.values():
            part = good.take(members)
            of_part = [_told(told, place) for place in part.places]
            digests = [row_digest(rows[place]) for place in part.places]
            ours = _ours(model, part, of_part[0].scores)
            batch = self._told_batch(model, part, of_part, ours, digests)
            self._append(batch, part, id_column(model.contract), answers)
            for column, version in enumerate(batch.versions):
                failed = int(np.isnan(batch.scores[:, column]).sum())
                found = ours.get(version)
                self._counters.scored(
                    model.name,
                    version,
                    role=_role(model, version),
                    rows=len(batch) - failed,
                    errors=failed,
                    decisions=int(batch.decisions[:, column].sum()),
                    answered=len(batch) if column == 0 else 0,
                    took_s=None if found is None else found.took_s,
                )
        return answers

    def _told_batch(
        self,
        model: OpenModel,
        good: GoodRows,
        told: Sequence[ToldAnswer],
        ours: Mapping[int, Said | Failure],
        digests: Sequence[bytes],
    ) -> PredictionBatch:
        """Rows that the same versions scored, by the same thresholds; the first of them answered.

        ours: what live versions of our own, whom nobody asked, say of the rows.
        """
        first = told[0].scores
        turns = [_turn(model, one, key) for one, key in zip(told, good.keys, strict=True)]
        times = [own if one.at_us is None or _has_time(one, model) else one.at_us
                 for own, one in zip(good.event_time_us.tolist(), told, strict=True)]  # fmt: skip
        answers = [_told_bytes(model, *of) for of in zip(good.ids, told, turns, strict=True)]
        bundle = model.bundles.get(first[0].version)
        own = bundle is not None and not bundle.external
        theirs = np.array([[one.score for one in row.scores] for row in told], dtype=np.float32)
        decisions = np.array([[bool(one.decision) for one in row.scores] for row in told], dtype=bool)
        scores = np.column_stack([theirs, *(_scores(one, len(told)) for one in ours.values())])
        limits = [model.bundles[version].threshold for version in ours]
        own_decisions = [decided(scores[:, len(first) + n], limit) for n, limit in enumerate(limits)]
        return _batch(
            good,
            model=model,
            answers=answers,
            turns=turns,
            versions=(*(one.version for one in first), *ours),
            thresholds=(*(one.threshold for one in first), *limits),
            scores=scores,
            decisions=np.column_stack([decisions, *own_decisions]) & np.isfinite(scores),
            features_of=bundle if own else None,
            event_time_us=np.array(times, dtype=np.int64),
            digests=digests,
            layout=_TOLD,
            decided=frozenset(one.version for one in first if one.threshold is None and model.decides),
        )

    def relay(self, relayed: Relayed) -> Answers:
        """The answers to a request's rows, with what the servers of other versions said of them.

        Versions of our own score the same rows here. Raises Problem where the champion gave no score at all.
        """
        model, good, answers = relayed.model, relayed.good, relayed.errors
        if not good.places:
            return answers
        versions, said = model.routing.live, self._everyone(relayed)
        failure = said[0].problem if isinstance(said[0], Failure) else None
        scores = np.stack([_scores(one, len(good.ids)) for one in said], axis=1)
        self._count(model, relayed, said, scores)
        rows = relayed.request.rows
        unscored = np.flatnonzero(~np.isfinite(scores[:, 0])).tolist()
        if unscored:
            self._unscored(model, good, rows, unscored, answers, failure)
        kept = np.flatnonzero(np.isfinite(scores[:, 0])).tolist()
        if kept:
            part, scores = good.take(kept), scores[kept]
            turns = [answering(relayed.turns[n], versions, scores[place]) for place, n in enumerate(kept)]
            batch = _relayed_batch(model, part, scores, turns)
            self._append(batch, part, id_column(model.contract), answers)
        return answers

    def _everyone(self, relayed: Relayed) -> list[Said | Failure]:
        """What each live version says, in their order."""
        found: list[Said | Failure] = []
        for version in relayed.model.routing.live:
            bundle = relayed.model.bundles[version]
            said = relayed.said.get(version) if bundle.external else _own(bundle, version, relayed.good)
            assert said is not None
            found.append(said)
        return found

    def _unscored(
        self,
        model: LiveModel,
        good: GoodRows,
        rows: Sequence[Any],
        unscored: Sequence[int],
        answers: Answers,
        failure: Problem | None,
    ) -> None:
        """What is said of rows that the champion gave no score for: an answer of earlier, else what is wrong."""
        known = self._spool.answers_for(model.name, [good.ids[n] for n in unscored])
        digests = model.digests(good.decoded)
        key = id_column(model.contract)
        for n in unscored:
            before, place = known.get(good.ids[n]), good.places[n]
            if before is not None and before.is_of(digests[n], model.layout):
                answers[place] = before.answer
            elif failure is not None:
                raise failure
            else:
                detail = f"the server of v{model.routing.champion} gave no score for this row"
                answers[place] = [row_error(rows[place], key, column=None, value=None, detail=detail)]

    def _append(self, batch: PredictionBatch, good: GoodRows, key: str, answers: Answers) -> None:
        recorded = self._spool.append_predictions(batch)
        tell_recorded(recorded, batch, good.places, key=key, answers=answers)

    def _count(self, model: LiveModel, relayed: Relayed, said: Sequence[Said | Failure], scores: _Floats) -> None:
        versions = model.routing.live
        turns = [answering(turn, versions, scores[n]).version for n, turn in enumerate(relayed.turns)]
        answered = np.isfinite(scores[:, 0])
        for column, version in enumerate(versions):
            known = np.isfinite(scores[:, column])
            mine = [bool(one) and turn == version for one, turn in zip(answered, turns, strict=True)]
            self._counters.scores(model.name, version, scores[known, column], edges=model.score_edges[version])
            self._counters.scored(
                model.name,
                version,
                role="champion" if column == 0 else "challenger",
                rows=int(known.sum()),
                errors=int((~known).sum()),
                decisions=int((decided(scores[:, column], model.bundles[version].threshold) & known).sum()),
                answered=sum(mine),
                took_s=said[column].took_s,
            )


def _told(told: Sequence[ToldAnswer | list[RowError]], place: int) -> ToldAnswer:
    found = told[place]
    assert isinstance(found, ToldAnswer)
    return found


def _role(model: OpenModel, version: int) -> Role:
    """A version that is routed to nobody here answers somewhere else."""
    return "challenger" if any(one.version == version for one in model.routing.challengers) else "champion"


def _alike(told: ToldAnswer) -> tuple[Any, ...]:
    """Rows that agree in this are kept in one batch."""
    return tuple((one.version, one.threshold) for one in told.scores)


def _ours(model: OpenModel, good: GoodRows, told: Sequence[ToldScore]) -> dict[int, Said | Failure]:
    """What live versions of our own say of rows that something else answered: so they are tried on its traffic."""
    known = {one.version for one in told}
    return {
        version: _own(model.bundles[version], version, good)
        for version in model.routing.live
        if version not in known and not model.bundles[version].external
    }


def _has_time(told: ToldAnswer, model: OpenModel) -> bool:
    """Whether the row itself says when it happened."""
    column = model.contract.only("time")
    return column is not None and told.inputs.get(column.name) is not None


def _turn(model: OpenModel, told: ToldAnswer, key: str) -> Assignment:
    """Whose turn it was: as the row says, else as the routing has it, else by the version that answered."""
    version, routing = told.scores[0].version, model.routing
    turn = None if routing.champion is None else assign(routing, key)
    if turn is None or turn.version != version:
        tried = any(one.version == version for one in routing.challengers)
        turn = Assignment(version=version, side="challenger" if tried else "champion", propensity=1.0)
    if told.side is not None:
        turn = replace(turn, side="challenger" if told.side == "challenger" else "champion")
    return turn if told.propensity is None else replace(turn, propensity=told.propensity)


def _own(bundle: Bundle, version: int, good: GoodRows) -> Said | Failure:
    """What a version of our own says of the rows."""
    began_s = time.perf_counter()
    try:
        scored = bundle.score_frame(good.decoded.frame)
    except Exception as error:  # a challenger may fail in any way: that is counted, and costs nobody an answer
        _LOG.exception("v%d cannot score %d rows", version, len(good.ids))
        return Failure(problem=Problem(500, "cannot-score", f"v{version} cannot score: {error}"))
    return Said(scores=scored.score, took_s=time.perf_counter() - began_s)


def _scores(said: Said | Failure, rows: int) -> _Floats:
    if isinstance(said, Failure):
        return np.full(rows, np.nan, dtype=np.float32)
    return np.where(np.isfinite(said.scores), said.scores, np.float32(np.nan))


def _relayed_batch(model: LiveModel, good: GoodRows, scores: _Floats, turns: Sequence[Assignment]) -> PredictionBatch:
    versions = model.routing.live
    bundles = [model.bundles[version] for version in versions]
    decisions = np.stack([decided(scores[:, n], one.threshold) for n, one in enumerate(bundles)], axis=1)
    decisions &= np.isfinite(scores)
    silent = (None,) * len(versions)
    scored = Scored(
        versions=versions, scores=scores, decisions=decisions, features=_NO_FEATURES, took_s=(), quantiles=silent
    )
    columns = [versions.index(turn.version) for turn in turns]
    return _batch(
        good,
        model=OpenModel.of(model),
        answers=answer_bytes(model, good.ids, turns, columns, scored),
        turns=turns,
        versions=versions,
        thresholds=tuple(one.threshold for one in bundles),
        scores=scores,
        decisions=decisions,
        features_of=None if model.champion.external else model.champion,
        event_time_us=good.event_time_us,
        digests=model.digests(good.decoded),
        layout=model.layout,
    )


def _batch(
    good: GoodRows,
    *,
    model: OpenModel,
    answers: Sequence[bytes],
    turns: Sequence[Assignment],
    versions: tuple[int, ...],
    thresholds: tuple[float | None, ...],
    scores: _Floats,
    decisions: np.ndarray[Any, np.dtype[np.bool_]],
    features_of: Bundle | None,
    event_time_us: np.ndarray[Any, np.dtype[np.int64]],
    digests: Sequence[bytes],
    layout: str,
    decided: frozenset[int] = frozenset(),
) -> PredictionBatch:
    return PredictionBatch(
        model=model.name,
        routing_revision=model.routing.revision,
        ids=good.ids,
        digests=digests,
        answers=answers,
        event_time_us=event_time_us,
        entities=good.entities,
        versions=versions,
        thresholds=thresholds,
        scores=scores,
        decisions=decisions,
        answered=np.array([versions.index(turn.version) for turn in turns], dtype=np.int64),
        sides=[turn.side for turn in turns],
        propensities=np.array([turn.propensity for turn in turns], dtype=np.float64),
        inputs=good.inputs,
        feature_names=() if features_of is None else features_of.features.names,
        features=None if features_of is None else features_of.features.matrix(good.decoded.frame),
        layout=layout,
        decided=decided,
    )


def _told_bytes(model: OpenModel, given: str, told: ToldAnswer, turn: Assignment) -> bytes:
    """An answer as the endpoint writes its own."""
    first = told.scores[0]
    label = model.label(bool(first.decision))
    said: dict[str, Any] = {"id": given, "score": np.float32(first.score).item()}
    said |= {} if label is None else {"decision": label}
    return msgspec.json.encode(said | {"version": turn.version, "side": turn.side})
