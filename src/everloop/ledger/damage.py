"""What happened to a row that does not fit the chain: changed, removed, moved, swapped."""

from __future__ import annotations

from typing import Final

from everloop.ledger.head import Head
from everloop.ledger.row import Row, fact_hash

__all__ = ["damage_of"]

_FARTHEST: Final = 50_000
"""How far from its place a row is looked for: a fifth of a second's work."""


def damage_of(row: Row, before: Head, after: Row | None) -> str:
    """What is wrong with the first row that does not fit behind `before`, in a sentence that names it.

    after: the row that follows it in the table, None at the end.
    """
    if row.seq <= before.seq:
        return f"fact {row.seq} stands where no fact can: facts count from 1"
    if row.seq > before.seq + 1:
        gone = f"{before.seq + 1} was" if row.seq == before.seq + 2 else f"{before.seq + 1} to {row.seq - 1} were"
        return f"fact{'' if row.seq == before.seq + 2 else 's'} {gone} removed: after {before.seq} comes {row.seq}"
    if fact_hash(row) == row.hash:
        return _unlinked(row, before, after)
    place = _own_place(row)
    if place is None:
        return f"fact {row.seq} ({row.kind} {row.subject}) was changed after it was written"
    if after is not None and after.seq == place and _own_place(after) == row.seq:
        return f"facts {row.seq} and {place} were swapped: what stands at {row.seq} was written as fact {place}"
    if after is not None and place == row.seq + 1 and _own_place(after) == after.seq + 1:
        return f"fact {row.seq} was removed and the later ones numbered anew: at {row.seq} stands what was fact {place}"
    return f"fact {row.seq} was moved: what stands there was written as fact {place}, so rows are in another order"


def _unlinked(row: Row, before: Head, after: Row | None) -> str:
    """Of a row that is whole in itself and names another predecessor: was it written anew, or the one before?"""
    if before.seq == 0:
        return f"fact {row.seq} ({row.kind} {row.subject}) does not begin a chain: facts before it were removed"
    if after is None or after.prev == row.hash:
        return (
            f"fact {before.seq} was changed and its hash written anew: "
            f"fact {row.seq} does not follow it, and follows what stood there before"
        )
    return f"fact {row.seq} was changed and its hash written anew: it does not follow fact {before.seq}"


def _own_place(row: Row) -> int | None:
    """The number under which the row was written, where its hash holds for another than it has."""
    for distance in range(1, _FARTHEST):
        for place in (row.seq + distance, row.seq - distance):
            if place > 0 and fact_hash(row._replace(seq=place)) == row.hash:
                return place
    return None
