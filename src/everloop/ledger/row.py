"""A row of the chain, and the hash that ties it to the one before."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Final, NamedTuple

import msgspec

__all__ = ["GENESIS", "Row", "fact_hash"]

GENESIS: Final = "0" * 64
_encode: Final[Callable[[object], bytes]] = msgspec.json.Encoder().encode


class Row(NamedTuple):
    """A fact as the table holds it, without its hash's neighbours being checked."""

    seq: int
    at_us: int
    actor: str
    kind: str
    subject: str
    cause: int | None
    schema: int
    payload: bytes
    prev: str
    hash: str
    run: str | None
    step: str | None
    n: int | None


def fact_hash(row: Row) -> str:
    """sha256 over the row's fields but its own hash.

    The fields stand first as one line of JSON, then the payload's bytes as stored; JSON holds no raw line
    break, so no two rows give the same bytes.
    """
    seq, at_us, actor, kind, subject, cause, schema, payload, prev, _, run, step, n = row
    fields = _encode((seq, at_us, actor, kind, subject, cause, schema, prev, run, step, n))
    return hashlib.sha256(fields + b"\n" + payload).hexdigest()
