"""What the endpoint says when it cannot do what was asked: RFC 9457 problems, and one entry per bad row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

__all__ = ["MANY_ERRORS", "PROBLEM_TYPE", "Problem", "RowError"]

PROBLEM_TYPE = "application/problem+json"
# A reply tells this many errors in full, and of further bad rows the first of each.
MANY_ERRORS = 1_000


class RowError(msgspec.Struct, frozen=True, kw_only=True):
    """One thing wrong with a row that was not answered: which row, which column, which value.

    index: of the row in the request, from 0. conflict: its id was used for another row.
    """

    index: int = 0
    id: str | None
    column: str | None
    value: Any
    detail: str
    conflict: bool = False


class _Body(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    type: str
    title: str
    status: int
    detail: str
    errors: tuple[RowError, ...] = ()


class Problem(Exception):
    """A request that is answered with a problem. kind: the last word of its type, `urn:everloop:problem:KIND`.

    headers: of the answer, besides those that every answer has.
    """

    def __init__(
        self,
        status: int,
        kind: str,
        detail: str,
        *,
        errors: Sequence[RowError] = (),
        headers: Sequence[tuple[bytes, bytes]] = (),
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.kind = kind
        self.detail = detail
        self.errors = tuple(errors)
        self.headers = tuple(headers)

    def body(self) -> bytes:
        """The problem as JSON."""
        title = self.kind.replace("-", " ").capitalize()
        kind = f"urn:everloop:problem:{self.kind}"
        return msgspec.json.encode(
            _Body(type=kind, title=title, status=self.status, detail=self.detail, errors=self.errors)
        )
