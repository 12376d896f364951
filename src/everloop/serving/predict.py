"""A row's way: decoded by the contract, scored by every live version, one answer picked, captured, answered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import numpy as np

from everloop.clock import Clock, to_us
from everloop.data import EVENT_TIME, Decoded, TableRows, TypedRow
from everloop.ids import uuids7
from everloop.rollout import Assignment, assign_many
from everloop.serving.answer import answer_bytes
from everloop.serving.counters import Counters
from everloop.serving.live import LiveModel
from everloop.serving.problem import MANY_ERRORS, RowError
from everloop.serving.rows import id_column, prediction_id, row_error
from everloop.serving.scored import Scored, scored_rows
from everloop.serving.whole import Whole, left_out
from everloop.traffic import InputColumns, PredictionBatch, Spool

__all__ = ["Answers", "Predictor"]

JSON = Any
Answers = list[bytes | list[RowError]]
"""Of each row the JSON of its answer, or what is wrong with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Good:
    """The good rows: their place among all rows, their ids and entities, and what else they hold, by column."""

    places: Sequence[int]
    ids: list[str]
    entities: Sequence[str | None]
    event_time_us: np.ndarray[Any, np.dtype[np.int64]]
    decoded: Decoded


def _behind(good: _Good, rows: int) -> _Good:
    """The same behind so many other rows."""
    return good if rows == 0 else replace(good, places=[rows + place for place in good.places])


def _joined(goods: Sequence[_Good]) -> _Good:
    return _Good(
        places=[place for good in goods for place in good.places],
        ids=[one for good in goods for one in good.ids],
        entities=[entity for good in goods for entity in good.entities],
        event_time_us=np.concatenate([good.event_time_us for good in goods]),
        decoded=Decoded.joined([good.decoded for good in goods]),
    )


class Predictor:
    """Answers rows of one model after another; one batch at a time uses the spool."""

    def __init__(self, *, spool: Spool, clock: Clock, counters: Counters) -> None:
        self._spool = spool
        self._clock = clock
        self._counters = counters

    def answer_typed(
        self,
        model: LiveModel,
        rows: Sequence[TypedRow],
        *,
        tables: Sequence[TableRows] = (),
        wholes: Sequence[Whole] = (),
    ) -> Answers | None:
        """One answer for each row, in their order; None where one of them needs a second look.

        tables: more rows, each table's behind those before, of which bad ones have their errors. All are scored and
        recorded together.
        wholes: rows that are answered together or not at all; one that is left out for another has an empty list.
        Raises Problem where no row can be answered: the champion cannot score, or (StorageFull) nothing be recorded.
        """
        answers: Answers = [[] for _ in rows]
        goods = []
        if rows:
            now = self._clock.now()
            decoded = model.typed.decode(rows, now=now)
            if decoded is None:
                return None
            ids = decoded.columns[id_column(model.contract)]
            if None in ids:
                made = iter(uuids7(self._clock, ids.count(None)))
                ids = [next(made) if one is None else one for one in ids]
            goods.append(self._good(model, decoded, list(ids), now_us=to_us(now)))
        for table in tables:
            told: Answers = [[] for _ in range(len(table))]
            goods.append(_behind(self._decode(model, table, told), len(answers)))
            answers += told
        good = goods[0] if len(goods) == 1 else _joined(goods)
        if good.places:
            self._answer(model, good, answers, wholes)
        return answers

    def answer(self, model: LiveModel, rows: Sequence[JSON], *, wholes: Sequence[Whole] = ()) -> Answers:
        """One answer (JSON) or what was wrong for each row, in their order; every answer given is recorded.

        Raises Problem as `answer_typed` does.
        """
        answers: Answers = [[] for _ in rows]
        good = self._decode(model, rows, answers)
        if good.places:
            self._answer(model, good, answers, wholes)
        return answers

    def _answer(self, model: LiveModel, good: _Good, answers: Answers, wholes: Sequence[Whole]) -> None:
        scored = scored_rows(model, good.decoded)
        batch, places = self._batch(model, good, scored), good.places
        finite = np.isfinite(scored.scores[:, 0])
        if not finite.all():
            self._unscored(model, batch, np.flatnonzero(~finite).tolist(), places, answers)
            left = np.flatnonzero(finite).tolist()
            batch, places = batch.take(left), [places[n] for n in left]
        if wholes:
            batch, places = self._of_whole_requests(batch, places, wholes, answers)
        recorded = self._spool.append_predictions(batch)
        if recorded.rows == len(batch):
            for place, one in zip(places, batch.answers, strict=True):
                answers[place] = one
        else:
            key = id_column(model.contract)
            for n, place in enumerate(places):
                conflict = recorded.conflicts.get(n)
                if conflict is None:
                    answers[place] = recorded.earlier.get(n, batch.answers[n])
                else:
                    error = row_error({}, key, column=key, value=batch.ids[n], detail=str(conflict))
                    answers[place] = [msgspec.structs.replace(error, id=batch.ids[n], conflict=True)]
        self._count(model, good, scored, batch)

    def _of_whole_requests(
        self, batch: PredictionBatch, places: Sequence[int], wholes: Sequence[Whole], answers: Answers
    ) -> tuple[PredictionBatch, Sequence[int]]:
        """The batch without the rows that nothing may be recorded of; what is wrong with them goes to `answers`."""
        inside = {place for whole in wholes for place in whole.rows}
        ids = [one for one, place in zip(batch.ids, places, strict=True) if place in inside]
        out = left_out(wholes, batch=batch, places=places, known=self._spool.answers_for(batch.model, ids))
        if not out:
            return batch, places
        for place, error in out.items():
            answers[place] = [] if error is None else [error]
        kept = [n for n, place in enumerate(places) if place not in out]
        return batch.take(kept), [places[n] for n in kept]

    def _unscored(
        self,
        model: LiveModel,
        batch: PredictionBatch,
        unscored: Sequence[int],
        places: Sequence[int],
        answers: Answers,
    ) -> None:
        """What is said of rows that the champion gives no number for: an answer of earlier, else what is wrong."""
        known = self._spool.answers_for(model.name, [batch.ids[n] for n in unscored])
        detail = f"v{model.routing.champion} gives no number for this row; are its values as large as they say?"
        for n in unscored:
            before = known.get(batch.ids[n])
            if before is not None and before.digest == batch.digests[n]:
                answers[places[n]] = before.answer
            else:
                answers[places[n]] = [RowError(id=batch.ids[n], column=None, value=None, detail=detail)]

    def _decode(self, model: LiveModel, rows: Sequence[JSON], answers: Answers) -> _Good:
        key, now = id_column(model.contract), self._clock.now()
        table = rows if isinstance(rows, TableRows) else None
        decoded = model.decoder.decode(rows, now=now) if table is None else model.decoder.decode_table(table, now=now)
        for told, problem in enumerate(decoded.problems):
            if told >= MANY_ERRORS and answers[problem.index]:
                continue
            detail = problem.sentence.removeprefix(f"row {problem.index}: ")
            error = row_error(
                rows[problem.index], key, column=problem.column or None, value=problem.value, detail=detail
            )
            _errors_of(answers, problem.index).append(error)
        given = decoded.columns.get(key)
        if given is None:
            own = [row.get("id") for row in rows] if table is None else table.column("id")
            given = [own[place] for place in decoded.kept]
        ids: list[str] = []
        taken: list[int] = []
        for n, place in enumerate(decoded.kept):
            found = prediction_id(given[n], self._clock)
            if found is None:
                value = given[n]
                detail = f"id: {value!r:.80} is not 1 to 64 of A-Z a-z 0-9 . _ : -"
                _errors_of(answers, place).append(row_error(rows[place], key, column="id", value=value, detail=detail))
            else:
                ids.append(found)
                taken.append(n)
        kept = decoded if len(taken) == len(decoded.kept) else decoded.take(taken)
        return self._good(model, kept, ids, now_us=to_us(now))

    @staticmethod
    def _good(model: LiveModel, decoded: Decoded, ids: list[str], *, now_us: int) -> _Good:
        entity = model.contract.only("entity")
        times = decoded.columns[EVENT_TIME]
        if None in times:
            times = [now_us if time is None else time for time in times]
        return _Good(
            places=decoded.kept,
            ids=ids,
            entities=[None] * len(ids) if entity is None else decoded.columns[entity.name],
            event_time_us=np.array(times, dtype=np.int64),
            decoded=decoded,
        )

    @staticmethod
    def _batch(model: LiveModel, good: _Good, scored: Scored) -> PredictionBatch:
        picked = _picked(model, good, scored)
        columns = [scored.versions.index(one.version) for one in picked]
        return PredictionBatch(
            model=model.name,
            routing_revision=model.routing.revision,
            ids=good.ids,
            digests=model.digests(good.decoded),
            answers=answer_bytes(model, good.ids, picked, columns, scored),
            event_time_us=good.event_time_us,
            entities=good.entities,
            versions=scored.versions,
            thresholds=tuple(model.bundles[version].threshold for version in scored.versions),
            scores=scored.scores,
            decisions=scored.decisions,
            answered=np.array(columns, dtype=np.int64),
            sides=[one.side for one in picked],
            propensities=np.array([one.propensity for one in picked], dtype=np.float64),
            inputs=InputColumns(
                names=model.inputs,
                kinds=model.input_kinds,
                values=[good.decoded.columns[name] for name in model.inputs],
            ),
            feature_names=model.champion.features.names,
            features=scored.features,
            layout=model.layout,
        )

    def _count(self, model: LiveModel, good: _Good, scored: Scored, batch: PredictionBatch) -> None:
        self._counters.batch(model.name, rows=len(scored.scores))
        champion = model.compiled[scored.versions[0]]
        for name, unseen in champion.unseen(good.decoded.columns, scored.features).items():
            self._counters.unseen(model.name, name, rows=unseen)
        for column, version in enumerate(scored.versions):
            given = scored.scores[:, column]
            missing = np.isnan(given)
            failed = int(missing.sum())
            self._counters.scores(
                model.name, version, given[~missing] if failed else given, edges=model.score_edges[version]
            )
            self._counters.scored(
                model.name,
                version,
                role="champion" if column == 0 else "challenger",
                rows=len(scored.scores) - failed,
                errors=failed,
                decisions=int(scored.decisions[:, column].sum()),
                answered=int((batch.answered == column).sum()),
                took_s=scored.took_s[column],
            )


def _errors_of(answers: Answers, place: int) -> list[RowError]:
    found = answers[place]
    assert isinstance(found, list)
    return found


def _picked(model: LiveModel, good: _Good, scored: Scored) -> list[Assignment]:
    """Whose answer each row is given; the champion's where the challenger has none."""
    keys = [one if entity is None else entity for one, entity in zip(good.ids, good.entities, strict=True)]
    picked = assign_many(model.routing, keys)
    if len(scored.versions) == 1:
        return picked
    return [_answering(one, scored, row) for row, one in enumerate(picked)]


def _answering(picked: Assignment, scored: Scored, row: int) -> Assignment:
    column = scored.versions.index(picked.version)
    if column == 0 or np.isfinite(scored.scores[row, column]):
        return picked
    return Assignment(version=scored.versions[0], side="champion", propensity=picked.propensity)
