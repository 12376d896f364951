"""A row's way: decoded by the contract, scored by every live version, one answer picked, captured, answered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from everloop.clock import Clock, to_us
from everloop.data import TableRows, TypedRow
from everloop.ids import uuids7
from everloop.rollout import Assignment, assign_many
from everloop.serving.answer import answer_bytes
from everloop.serving.counters import Counters
from everloop.serving.good_rows import Answers, GoodRows, behind, good_rows, joined, read_rows
from everloop.serving.live import LiveModel
from everloop.serving.problem import RowError
from everloop.serving.recorded import answering, tell_recorded
from everloop.serving.rows import id_column
from everloop.serving.scored import Scored, scored_rows
from everloop.serving.whole import Whole, left_out
from everloop.traffic import InputColumns, PredictionBatch, Spool

__all__ = ["Predictor"]

JSON = Any


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
            goods.append(good_rows(model, decoded, list(ids), now_us=to_us(now)))
        for table in tables:
            told: Answers = [[] for _ in range(len(table))]
            goods.append(behind(read_rows(model, table, told, clock=self._clock), len(answers)))
            answers += told
        good = goods[0] if len(goods) == 1 else joined(goods)
        if good.places:
            self._answer(model, good, answers, wholes)
        return answers

    def answer(self, model: LiveModel, rows: Sequence[JSON], *, wholes: Sequence[Whole] = ()) -> Answers:
        """One answer (JSON) or what was wrong for each row, in their order; every answer given is recorded.

        Raises Problem as `answer_typed` does.
        """
        answers: Answers = [[] for _ in rows]
        good = read_rows(model, rows, answers, clock=self._clock)
        if good.places:
            self._answer(model, good, answers, wholes)
        return answers

    def _answer(self, model: LiveModel, good: GoodRows, answers: Answers, wholes: Sequence[Whole]) -> None:
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
            tell_recorded(recorded, batch, places, key=id_column(model.contract), answers=answers)
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
            if before is not None and before.is_of(batch.digests[n], batch.layout):
                answers[places[n]] = before.answer
            else:
                answers[places[n]] = [RowError(id=batch.ids[n], column=None, value=None, detail=detail)]

    @staticmethod
    def _batch(model: LiveModel, good: GoodRows, scored: Scored) -> PredictionBatch:
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

    def _count(self, model: LiveModel, good: GoodRows, scored: Scored, batch: PredictionBatch) -> None:
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


def _picked(model: LiveModel, good: GoodRows, scored: Scored) -> list[Assignment]:
    """Whose answer each row is given; the champion's where the challenger has none."""
    picked = assign_many(model.routing, good.keys)
    if len(scored.versions) == 1:
        return picked
    return [answering(one, scored.versions, scored.scores[row]) for row, one in enumerate(picked)]
