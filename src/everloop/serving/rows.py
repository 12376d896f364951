"""A request's body as rows, and each row's id."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
from msgspec.structs import replace

from everloop.clock import Clock
from everloop.data import Contract, TableRows
from everloop.ids import is_prediction_id, uuid7
from everloop.serving.batcher import Reply
from everloop.serving.problem import MANY_ERRORS, Problem, RowError

if TYPE_CHECKING:
    from everloop.serving.live import LiveModel

__all__ = [
    "Form",
    "Request",
    "few_names",
    "given_id",
    "id_column",
    "indexed",
    "predictions_reply",
    "read_request",
    "refuse_crowded",
    "refused",
    "row_error",
    "rows_reply",
]

JSON = Any
_SMALL_BYTES = 8_000_000
_MOST_OBJECTS_A_ROW = 16
_MOST_VALUES_A_ROW = 512
_FEW_ERRORS = 5


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A body that was read.

    table: the rows, where they came as a table; `rows` is empty then. alone: the body was one row itself. body: where
    the rows are typed ones, what they were. form: where it is not JSON rows, how it is answered. whole: the rows are
    answered all together or not at all. version: the only version whose answers are wanted, of a whole request.
    reasons: how many are wanted of each answer.
    """

    rows: Sequence[JSON] = ()
    table: TableRows | None = None
    alone: bool = False
    body: bytes | None = None
    form: Form | None = None
    whole: bool = False
    version: int | None = None
    reasons: int = 0

    def __len__(self) -> int:
        """How many rows there are."""
        return len(self.rows) if self.table is None else len(self.table)


class Form(Protocol):
    """Another way than JSON rows in which predictions are asked for."""

    def read(self, body: bytes, model: LiveModel, *, max_rows: int) -> Request:
        """The rows of a body, not typed. Raises Problem."""
        ...

    def reply(self, model: LiveModel, request: Request, answers: Sequence[bytes | list[RowError]]) -> Reply:
        """The reply to what `read` gave. answers: for each row its JSON, or what is wrong with it.

        Of a whole request a row may have neither: it was left out because of another one. Raises Problem.
        """
        ...


def read_request(body: bytes, *, max_rows: int) -> Request:
    """The rows of `{"rows": [...]}`, or of a body that is one row. Raises Problem."""
    refuse_crowded(body, max_rows=max_rows)
    try:
        read = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Problem(400, "bad-json", f'the body is not JSON in UTF-8: {error}; send {{"rows": [...]}}') from error
    if not isinstance(read, dict):
        raise Problem(400, "bad-request", f'the body is a JSON {_kind(read)}; send {{"rows": [...]}} or one row')
    if "rows" not in read:
        return Request(rows=[read], alone=True)
    rows = read["rows"]
    if not isinstance(rows, list):
        raise Problem(400, "bad-request", f"rows is a JSON {_kind(rows)}; it is an array of rows")
    if len(read) > 1:
        others = few_names(set(read) - {"rows"})
        raise Problem(400, "bad-request", f"beside rows the body has {others}; only rows belongs there")
    if not rows:
        raise Problem(400, "no-rows", "rows is empty; send at least one row")
    if len(rows) > max_rows:
        raise Problem(413, "too-many-rows", f"{len(rows):,} rows are more than {max_rows:,}; send several requests")
    return Request(rows=rows, alone=False)


def refuse_crowded(body: bytes, *, max_rows: int) -> None:
    """Refuse a large body that would become far more values than its rows may have, before it is read.

    64 MB of empty objects take 2 GB, and seconds in which nobody else is answered. Commas and brackets within texts
    count too; the bounds leave them room.
    """
    if len(body) <= _SMALL_BYTES:
        return
    opened = body.count(b"{") + body.count(b"[")
    if opened > _MOST_OBJECTS_A_ROW * max_rows or body.count(b",") > _MOST_VALUES_A_ROW * max_rows:
        detail = f"the body holds more values than {max_rows:,} rows can have; send the rows in several requests"
        raise Problem(413, "too-many-values", detail)


def few_names(names: Iterable[str]) -> str:
    """Names as a sentence holds them: the first few, each cut where it is long, and how many more."""
    ordered = sorted(names)
    shown = ", ".join(name if len(name) <= 60 else f"{name[:59]}…" for name in ordered[:5])
    return shown if len(ordered) <= 5 else f"{shown} and {len(ordered) - 5:,} more"


def _kind(value: JSON) -> str:
    kinds = {list: "array", str: "string", bool: "boolean", type(None): "null"}
    return kinds.get(type(value), "number")


def id_column(contract: Contract) -> str:
    """The key under which a row carries its id: the contract's id column, else `id`."""
    column = contract.only("id")
    return "id" if column is None else column.name


def given_id(row: JSON, key: str) -> JSON:
    """The id as the row gives it, under the contract's name or as `id`; None where it gives none."""
    if not isinstance(row, Mapping):
        return None
    found = row.get(key)
    return row.get("id") if found is None else found


def prediction_id(given: JSON, clock: Clock) -> str | None:
    """The prediction's id: the caller's, or a new UUIDv7; None where the caller's cannot be one."""
    if given is None:
        return uuid7(clock)
    text = str(given) if isinstance(given, int) and not isinstance(given, bool) else given
    return text if isinstance(text, str) and is_prediction_id(text) else None


def row_error(row: JSON, key: str, *, column: str | None, value: JSON, detail: str) -> RowError:
    """What is said of one bad row; its index is given where the reply is put together."""
    given = given_id(row, key)
    shown = None if given is None else str(given)[:64]
    return RowError(id=shown, column=column, value=_short(value), detail=detail)


def _short(value: JSON) -> JSON:
    """A value as it is repeated to its sender: itself where it is small."""
    if isinstance(value, str):
        return value if len(value) <= 100 else value[:100] + "…"
    if isinstance(value, list | dict):
        return f"a JSON {'array' if isinstance(value, list) else 'object'}"
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        return _short(str(value))
    return value


def predictions_reply(model: str, request: Request, answers: Sequence[bytes | list[RowError]]) -> Reply:
    """The reply in JSON: what was answered, and what is wrong with the other rows."""
    results = [answer for answer in answers if isinstance(answer, bytes)]
    if len(results) == len(answers):
        return Reply(status=200, body=rows_reply(model, results, []), rows=len(answers))
    errors = [answer if isinstance(answer, list) else [] for answer in answers]
    if not results:
        return refused(request, errors)
    body = rows_reply(model, results, indexed(errors))
    return Reply(status=200, body=body, rows=len(answers), refused=len(answers) - len(results))


def rows_reply(model: str, results: Sequence[bytes], errors: Sequence[RowError]) -> bytes:
    """The body of an answered request: `results` are rows that are JSON already."""
    told = msgspec.json.encode(errors) if errors else b"[]"
    return b'{"model":%b,"results":[%b],"errors":%b}' % (msgspec.json.encode(model), b",".join(results), told)


def indexed(errors: Sequence[Sequence[RowError]]) -> list[RowError]:
    """Every row's errors with its index; beyond `MANY_ERRORS` only each row's first, so that replies stay small."""
    found: list[RowError] = []
    for index, row in enumerate(errors):
        told = row if len(found) < MANY_ERRORS else row[:1]
        found += [msgspec.structs.replace(error, index=index) for error in told[:MANY_ERRORS]]
    return found


def refused(request: Request, errors: Sequence[Sequence[RowError]]) -> Reply:
    """The problem of a request of which no row is good. errors: of each row."""
    told = indexed(errors)
    alone = request.alone or len(errors) == 1
    few = [error.detail if alone else f"row {error.index}: {error.detail}" for error in told[:_FEW_ERRORS]]
    detail = ("" if alone else f"none of {len(errors):,} rows is good: ") + "; ".join(few)
    if len(told) > _FEW_ERRORS:
        detail += f"; and {len(told) - _FEW_ERRORS:,} more, see errors"
    status, kind = (409, "id-conflict") if all(error.conflict for error in told) else (422, "bad-row")
    return replace(Reply.of(Problem(status, kind, detail, errors=told)), rows=len(errors), refused=len(errors))
