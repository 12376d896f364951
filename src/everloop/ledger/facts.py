"""A fact, the hash that ties it to the one before, and the report on the whole chain."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from everloop.clock import from_us
from everloop.ledger.damage import damage_of
from everloop.ledger.head import Head
from everloop.ledger.kinds import decode_payload
from everloop.ledger.row import GENESIS, Row, fact_hash

__all__ = ["GENESIS", "ChainReport", "Fact", "Row", "fact_hash", "verify_chain"]

_KEPT: Final = "the head file"
_NOTED: Final = "the head noted elsewhere"


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


def verify_chain(rows: Iterable[Row], kept: Head | None, noted: Head | None = None) -> ChainReport:
    """Walk the rows in order of seq and hold them against heads that are kept outside of the table.

    kept: the head file's content; it may be behind the table (a crash between commit and file), never ahead.
    noted: a head that someone wrote down elsewhere, to which the same applies.
    """
    seq, last = 0, GENESIS
    outside = {_KEPT: kept, _NOTED: noted}
    awaited = {head.seq for head in outside.values() if head is not None}
    seen = {0: GENESIS}
    walk = iter(rows)
    for row in walk:
        if row.seq != seq + 1 or row.prev != last or fact_hash(row) != row.hash:
            head = Head(seq=seq, hash=last)
            return ChainReport(ok=False, facts=seq, head=head, problem=damage_of(row, head, next(walk, None)))
        seq, last = row.seq, row.hash
        if seq in awaited:
            seen[seq] = last
    problems = [_unlike(head, seen, seq, whose) for whose, head in outside.items() if head is not None]
    problem = next((one for one in problems if one is not None), None)
    return ChainReport(ok=problem is None, facts=seq, head=Head(seq=seq, hash=last), problem=problem)


def _unlike(outside: Head, seen: Mapping[int, str], last: int, whose: str) -> str | None:
    """What a head that was kept elsewhere shows of a chain that is whole in itself."""
    if outside.seq > last:
        gone = f"fact {outside.seq} is" if outside.seq == last + 1 else f"facts {last + 1} to {outside.seq} are"
        return f"the chain was cut: it ends at fact {last}, but {whose} has seen fact {outside.seq}; {gone} gone"
    if seen.get(outside.seq) == outside.hash:
        return None
    return (
        f"the chain was written anew: fact {outside.seq} is not the one {whose} has seen, "
        f"so fact {outside.seq} or one before it was changed, and every hash from there on"
    )
