"""A fact, the hash that ties it to the one before, and the report on the whole chain."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple

import msgspec

from everloop.clock import from_us
from everloop.ledger.head import Head
from everloop.ledger.kinds import decode_payload

__all__ = ["GENESIS", "ChainReport", "Fact", "Row", "fact_hash", "verify_chain"]

GENESIS: Final = "0" * 64


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One row of the append-only chain: who, what, when, about what, from which cause."""

    seq: int
    at: datetime
    actor: str
    kind: str
    subject: str
    cause: int | None
    schema: int
    payload: Mapping[str, Any]
    prev: str
    hash: str
    run: str | None = None
    step: str | None = None
    n: int | None = None

    @classmethod
    def from_row(cls, row: Row) -> Fact:
        """The fact a row of the table says."""
        fields = row._asdict()
        at_us, stored = fields.pop("at_us"), fields.pop("payload")
        return cls(at=from_us(at_us), payload=decode_payload(bytes(stored)), **fields)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for `--json`."""
        return {
            "seq": self.seq,
            "at": self.at.isoformat(),
            "actor": self.actor,
            "kind": self.kind,
            "subject": self.subject,
            "cause": self.cause,
            "schema": self.schema,
            "payload": dict(self.payload),
            "prev": self.prev,
            "hash": self.hash,
            "run": self.run,
            "step": self.step,
            "n": self.n,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainReport:
    """What `verify` found: how many facts were read, the chain's head, and the first thing wrong, as a sentence."""

    ok: bool
    facts: int
    head: Head
    problem: str | None = None


def fact_hash(row: Row) -> str:
    """sha256 over the row's fields but its own hash.

    The fields stand first as one line of JSON, then the payload's bytes as stored; JSON holds no raw line
    break, so no two rows give the same bytes.
    """
    fields = [row.seq, row.at_us, row.actor, row.kind, row.subject, row.cause, row.schema]
    fields += [row.prev, row.run, row.step, row.n]
    return hashlib.sha256(msgspec.json.encode(fields) + b"\n" + row.payload).hexdigest()


def _problem_of(row: Row, before: Head) -> str | None:
    if row.seq != before.seq + 1:
        missing = f"{before.seq + 1}" if row.seq == before.seq + 2 else f"{before.seq + 1} to {row.seq - 1}"
        return f"fact {missing} was removed: after {before.seq} comes {row.seq}"
    if row.prev != before.hash:
        return f"fact {row.seq} does not follow fact {before.seq}: one of them was changed or moved"
    if fact_hash(row) != row.hash:
        return f"fact {row.seq} ({row.kind} {row.subject}) was changed after it was written"
    return None


def verify_chain(rows: Iterable[Row], kept: Head | None) -> ChainReport:
    """Walk the rows in order of seq and hold them against the head kept outside of the table.

    kept: the head file's content; it may be behind the table (a crash between commit and file), never ahead.
    """
    head = Head(seq=0, hash=GENESIS)
    kept_found = kept is None or kept == head
    for row in rows:
        problem = _problem_of(row, head)
        if problem is not None:
            return ChainReport(ok=False, facts=head.seq, head=head, problem=problem)
        head = Head(seq=row.seq, hash=row.hash)
        kept_found = kept_found or head == kept
    if kept is None or kept_found:
        return ChainReport(ok=True, facts=head.seq, head=head)
    if kept.seq > head.seq:
        problem = f"the chain was cut: it ends at fact {head.seq}, but the head file has seen fact {kept.seq}"
    else:
        problem = f"the chain was written anew: fact {kept.seq} is not the one the head file has seen"
    return ChainReport(ok=False, facts=head.seq, head=head, problem=problem)
