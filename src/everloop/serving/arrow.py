"""Predictions in bulk: rows come as an Arrow stream or file, answers go as a stream; either is JSON where wanted."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import polars as pl
from msgspec.structs import replace

from everloop.data import TableRows, read_arrow
from everloop.errors import DataError, TooMuchData
from everloop.serving.batcher import Reply
from everloop.serving.live import LiveModel
from everloop.serving.problem import Problem, RowError
from everloop.serving.rows import Request, predictions_reply, read_request, refused

__all__ = ["ARROW_FILE", "ARROW_STREAM", "ArrowForm", "form_of"]

ARROW_STREAM: Final = "application/vnd.apache.arrow.stream"
ARROW_FILE: Final = "application/vnd.apache.arrow.file"
_ARROW: Final = b"application/vnd.apache.arrow."
_SENT: Final = (ARROW_STREAM.encode(), ARROW_FILE.encode())
_FEW_ERRORS: Final = 5


class _Answer(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    score: float
    version: int
    side: str
    decision: str | None = None
    quantiles: dict[str, float] = {}
    reasons: msgspec.Raw = msgspec.Raw(b"null")


_decode_answers = msgspec.json.Decoder(list[_Answer]).decode


def form_of(content_type: bytes, accept: bytes) -> ArrowForm | None:
    """The form of a request whose body or answer is Arrow; None of one that is JSON both ways.

    content_type, accept: the headers' values, empty where there are none. An answer is of the request's own form unless
    `accept` names the other one alone.
    """
    sent = content_type.partition(b";")[0].strip().lower() in _SENT
    if not sent and _ARROW not in accept.lower():
        return None
    accepted = accept.lower()
    return ArrowForm(sent=sent, wanted=_ARROW in accepted or b"application/json" not in accepted)


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrowForm:
    """sent: whether the body is Arrow. wanted: whether the answer is."""

    sent: bool
    wanted: bool

    def read(self, body: bytes, model: LiveModel, *, max_rows: int) -> Request:
        """The rows of the table. Raises Problem."""
        if not self.sent:
            return replace(read_request(body, max_rows=max_rows), form=self)
        wanted = {*model.contract.names_at_prediction(), "id"}
        try:
            frame, names, rows = read_arrow(body, wanted=wanted, max_rows=max_rows)
        except TooMuchData as error:
            raise Problem(413, "too-large", f"the table cannot be taken: {error}") from error
        except DataError as error:
            raise Problem(400, "bad-arrow", f"the body is no table in Arrow's IPC format: {error}") from error
        if rows == 0:
            raise Problem(400, "no-rows", "the table has no rows; send at least one")
        return Request(table=TableRows(frame, rows=rows, names=names), form=self)

    def reply(self, model: LiveModel, request: Request, answers: Sequence[bytes | list[RowError]]) -> Reply:
        """One row for each of the request, in its order; JSON where that is wanted."""
        if not self.wanted:
            return predictions_reply(model.name, request, answers)
        errors = [answer for answer in answers if isinstance(answer, list)]
        if len(errors) == len(answers):
            return refused(request, errors)
        written = io.BytesIO()
        # the oldest form of texts, which every client reads
        answered(model, answers, reasons=request.reasons > 0).write_ipc_stream(
            written, compat_level=pl.CompatLevel.oldest()
        )
        return Reply(status=200, body=written.getvalue(), content_type=ARROW_STREAM)


def answered(model: LiveModel, answers: Sequence[bytes | list[RowError]], *, reasons: bool = False) -> pl.DataFrame:
    """index, id, score, quantiles, decision, version, side and error; of a row with an error only index, id and it.

    reasons: whether there are reasons too, as JSON.
    """
    found = iter(_decode_answers(b"[" + b",".join(answer for answer in answers if isinstance(answer, bytes)) + b"]"))
    rows = [next(found) if isinstance(answer, bytes) else None for answer in answers]
    columns: dict[str, tuple[list[Any], pl.DataType]] = {
        "id": ([_id(answers[n]) if row is None else row.id for n, row in enumerate(rows)], pl.String()),
        "score": ([None if row is None else row.score for row in rows], pl.Float64()),
    }
    for name in model.champion.quantiles:
        columns[name] = ([None if row is None else row.quantiles.get(name) for row in rows], pl.Float64())
    if model.decides:
        columns["decision"] = ([None if row is None else row.decision for row in rows], pl.String())
    columns["version"] = ([None if row is None else row.version for row in rows], pl.Int64())
    columns["side"] = ([None if row is None else row.side for row in rows], pl.String())
    if reasons:
        columns["reasons"] = ([None if row is None else bytes(row.reasons).decode() for row in rows], pl.String())
    columns["error"] = ([_error(answer) for answer in answers], pl.String())
    index = pl.Series("index", range(len(rows)), dtype=pl.Int64)
    return pl.DataFrame([index, *(pl.Series(name, values, dtype=dtype) for name, (values, dtype) in columns.items())])


def _id(answer: bytes | list[RowError]) -> str | None:
    return answer[0].id if isinstance(answer, list) and answer else None


def _error(answer: bytes | list[RowError]) -> str | None:
    if isinstance(answer, bytes):
        return None
    more = f"; and {len(answer) - _FEW_ERRORS:,} more" if len(answer) > _FEW_ERRORS else ""
    return "; ".join(error.detail for error in answer[:_FEW_ERRORS]) + more
