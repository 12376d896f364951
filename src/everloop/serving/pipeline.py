"""From asks to replies: what arrived together is decoded, scored and recorded together, and told apart again."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

import msgspec
from msgspec.structs import replace

from everloop.clock import Clock
from everloop.errors import EverloopError, StorageFull, TrafficError
from everloop.serving.batcher import Ask, Reply
from everloop.serving.counters import Counters
from everloop.serving.explained import explained, refuse_too_many
from everloop.serving.good_rows import Answers
from everloop.serving.live import Live, LiveModel, served_model
from everloop.serving.open_model import OpenModel
from everloop.serving.outcomes import read_outcomes
from everloop.serving.predict import Predictor
from everloop.serving.problem import Problem, RowError
from everloop.serving.recorder import Recorder
from everloop.serving.relayed import Relayed
from everloop.serving.rows import Form, Request, indexed, predictions_reply, read_request, refused
from everloop.serving.turns import turn_of
from everloop.serving.whole import Whole
from everloop.traffic import OutcomeRecord, Spool

__all__ = ["ASK_FIRST", "Pipeline"]

ASK_FIRST: Final = Reply.of(Problem(503, "routing-changed", "the routing has just changed; send this request again"))
"""To a request for rows of which something else serves a live version, and whose server was not asked."""

_LOG = logging.getLogger("everloop.serving")

M = TypeVar("M", LiveModel, OpenModel)


class Pipeline:
    """The scoring thread's work. Everything in it happens in that one thread."""

    def __init__(
        self, *, live: Callable[[], Live], spool: Spool, clock: Clock, counters: Counters, max_rows: int
    ) -> None:
        """live: what is served now; asked once per batch, so that a batch never mixes two routings."""
        self._live = live
        self._spool = spool
        self._clock = clock
        self._max_rows = max_rows
        self._predictor = Predictor(spool=spool, clock=clock, counters=counters)
        self._recorder = Recorder(spool=spool, clock=clock, counters=counters)
        self._ours: Mapping[str, Callable[[LiveModel, Sequence[Request]], list[Reply]]] = {
            "typed": self._typed_predictions,
            "predict": self._predictions,
        }
        self._open: Mapping[str, Callable[[OpenModel, Sequence[Request]], list[Reply]]] = {
            "outcomes": self._outcomes,
            "predictions": self._recorded,
            "decide": self._turns,
        }

    def __call__(self, asks: Sequence[Ask]) -> list[Reply]:
        """One reply for each ask, in their order."""
        live = self._live()
        replies: dict[int, Reply] = {}
        groups: dict[tuple[str, str], list[tuple[int, Request]]] = {}
        for place, ask in enumerate(asks):
            try:
                if ask.relayed is not None:
                    replies[place] = self._relayed(ask.relayed)
                    continue
                how, request = self._read(live, ask)
                if ask.reasons:
                    refuse_too_many(served_model(live, ask.model), ask.reasons)
                    request = replace(request, reasons=ask.reasons)
                groups.setdefault((ask.model, how), []).append((place, request))
            except Exception as error:  # whatever one body does to its reader, the others are answered
                replies[place] = Reply.of(_told(error, ask.model))
        for (name, how), members in groups.items():
            requests = [request for _, request in members]
            if how in self._ours:
                found = _guarded(self._ours[how], served_model(live, name), requests)
            else:
                found = _guarded(self._open[how], _open(live, name), requests)
            for (place, _), reply in zip(members, found, strict=True):
                replies[place] = reply
        return [replies[place] for place in range(len(asks))]

    def _read(self, live: Live, ask: Ask) -> tuple[str, Request]:
        """A request's rows, typed where nothing is wrong with them at first sight, and the way they are answered."""
        if ask.kind != "predict":
            _open(live, ask.model)
        elif not (model := served_model(live, ask.model)).relayed:
            if ask.form is not None:
                return self._formed(model, ask, ask.form)
            typed = model.typed.read(ask.body, max_rows=self._max_rows)
            if typed is not None:
                rows, alone = typed
                return "typed", Request(rows=rows, alone=alone, body=ask.body)
        return ask.kind, read_request(ask.body, max_rows=self._max_rows)

    def _formed(self, model: LiveModel, ask: Ask, form: Form) -> tuple[str, Request]:
        request = form.read(ask.body, model, max_rows=self._max_rows)
        if request.table is not None:
            return "typed", request
        rows_typed = model.typed.convert(request.rows)
        if rows_typed is None:
            return "predict", request
        return "typed", replace(request, rows=rows_typed, body=ask.body)

    def _typed_predictions(self, model: LiveModel, requests: Sequence[Request]) -> list[Reply]:
        # tables behind the rows, so that all are scored and recorded as one batch
        order = sorted(range(len(requests)), key=lambda place: requests[place].table is not None)
        ordered = [requests[place] for place in order]
        rows = [row for request in ordered for row in request.rows]
        tables = [request.table for request in ordered if request.table is not None]
        answers = self._predictor.answer_typed(model, rows, tables=tables, wholes=_wholes(ordered))
        if answers is not None:
            replies = dict(zip(order, self._replies(model, ordered, answers), strict=True))
            return [replies[place] for place in range(len(requests))]
        if len(requests) > 1:
            return [reply for request in requests for reply in _guarded(self._typed_predictions, model, [request])]
        (request,) = requests
        assert request.body is not None
        if request.form is None:
            untyped = read_request(request.body, max_rows=self._max_rows)
        else:
            untyped = request.form.read(request.body, model, max_rows=self._max_rows)
        return self._predictions(model, [replace(untyped, reasons=request.reasons)])

    def _predictions(self, model: LiveModel, requests: Sequence[Request]) -> list[Reply]:
        if model.relayed:
            return [ASK_FIRST] * len(requests)
        rows = [row for request in requests for row in request.rows]
        answers = self._predictor.answer(model, rows, wholes=_wholes(requests))
        return self._replies(model, requests, answers)

    def _replies(self, model: LiveModel, requests: Sequence[Request], answers: Answers) -> list[Reply]:
        """The answers told apart again: one reply for each request."""
        replies, start = [], 0
        for request in requests:
            own = answers[start : start + len(request)]
            start += len(request)
            if request.reasons:
                own = explained(model, request, own, now=self._clock.now())
            formed = request.form is not None
            replies.append(_formed(model, request, own) if formed else predictions_reply(model.name, request, own))
        return replies

    def _relayed(self, relayed: Relayed) -> Reply:
        def answer(model: LiveModel, requests: Sequence[Request]) -> list[Reply]:
            return self._replies(model, requests, self._recorder.relay(relayed))

        return _guarded(answer, relayed.model, [relayed.request])[0]

    def _recorded(self, model: OpenModel, requests: Sequence[Request]) -> list[Reply]:
        """Request by request: what is recorded of one is a commit for each set of versions and thresholds."""
        replies = []
        for request in requests:
            answers = self._recorder.record(model, request.rows)
            errors = [answer if isinstance(answer, list) else [] for answer in answers]
            good = sum(isinstance(answer, bytes) for answer in answers)
            replies.append(_taken(model, request, errors, good, said={"recorded": good}))
        return replies

    def _turns(self, model: OpenModel, requests: Sequence[Request]) -> list[Reply]:
        replies = []
        for request in requests:
            turns = [turn_of(model, row, self._clock) for row in request.rows]
            errors = [[turn] if isinstance(turn, RowError) else [] for turn in turns]
            results = [turn for turn in turns if not isinstance(turn, RowError)]
            replies.append(_taken(model, request, errors, len(results), said={"results": results}))
        return replies

    def _outcomes(self, model: OpenModel, requests: Sequence[Request]) -> list[Reply]:
        records: list[OutcomeRecord] = []
        replies = []
        for request in requests:
            errors: list[list[RowError]] = []
            good = 0
            for row in request.rows:
                told, wrong = read_outcomes(
                    row, model.contract, self._clock, decides=model.decides, decoder=model.decoder
                )
                records += told
                errors.append(wrong)
                good += not wrong
            replies.append(_taken(model, request, errors, good, said={"recorded": good}))
        self._spool.append_outcomes(model.name, records)
        return replies


def _taken(
    model: OpenModel, request: Request, errors: Sequence[Sequence[RowError]], good: int, *, said: Mapping[str, Any]
) -> Reply:
    """The reply to rows of which so many are good. errors: of each row. said: what is told beside them."""
    if not good:
        return refused(request, errors)
    body = msgspec.json.encode({"model": model.name, **said, "errors": indexed(errors)})
    return Reply(status=200, body=body, rows=len(errors), refused=len(errors) - good)


def _wholes(requests: Sequence[Request]) -> list[Whole]:
    """The places of the requests that are answered whole or not at all."""
    found, start = [], 0
    for request in requests:
        end = start + len(request)
        if request.whole:
            found.append(Whole(rows=range(start, end), version=request.version))
        start = end
    return found


def _formed(model: LiveModel, request: Request, own: Answers) -> Reply:
    assert request.form is not None
    try:
        reply = request.form.reply(model, request, own)
    except Problem as problem:
        reply = Reply.of(problem)
    return replace(reply, rows=len(own), refused=sum(isinstance(answer, list) for answer in own))


def _open(live: Live, name: str) -> OpenModel:
    """The model, with a champion or without. Raises Problem where its rows cannot be read."""
    model = live.models.get(name)
    if model is not None:
        return OpenModel.of(model)
    found = live.unserved.get(name)
    if isinstance(found, OpenModel) and name not in live.problems:
        return found
    if isinstance(found, str) and found:
        raise Problem(503, "no-contract", f"what {name}'s rows are is not known: {found}")
    return OpenModel.of(served_model(live, name))


def _guarded(
    answer: Callable[[M, Sequence[Request]], list[Reply]], model: M, requests: Sequence[Request]
) -> list[Reply]:
    """The replies; where the batch fails as a whole, each request by itself, so that one costs the others nothing."""
    try:
        return answer(model, requests)
    except StorageFull as error:
        return [Reply.of(Problem(507, "storage-full", str(error)))] * len(requests)
    except Exception as error:  # whatever it is, these requests get an answer and the next batch is scored
        if len(requests) > 1:
            return [reply for request in requests for reply in _guarded(answer, model, [request])]
        return [Reply.of(_told(error, model.name))]


def _told(error: Exception, model: str) -> Problem:
    if isinstance(error, Problem):
        return error
    if isinstance(error, RecursionError):
        return Problem(400, "bad-request", "the body holds values in values, hundreds deep; a row's values are plain")
    if isinstance(error, TrafficError):
        return Problem(503, "not-recorded", f"{error}; nothing of this request was recorded, send it again later")
    if isinstance(error, EverloopError):
        return Problem(500, "not-answered", str(error))
    _LOG.error("a request for %s failed", model, exc_info=error)
    return Problem(
        500, "not-answered", f"an error of everloop's own: {type(error).__name__}; the endpoint's log has it"
    )
