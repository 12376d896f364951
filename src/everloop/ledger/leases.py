"""Leases: one holder at a time, who must say in time that it still lives; and the plain signs of life of workers.

They run by the database's time, the same for every process and never simulated. A new holder is a fact; a
heartbeat is not.
"""

from __future__ import annotations

import sqlalchemy as sa

from everloop.clock import Clock
from everloop.errors import Conflict
from everloop.ledger import schema
from everloop.ledger.database import Database
from everloop.ledger.records import Lease

__all__ = ["beat", "forget", "lease_of", "sign_of_life_s"]


def lease_of(connection: sa.Connection, database: Database, clock: Clock, name: str) -> Lease | None:
    """The lease as it stands, held or run out; None where it was never taken or given back."""
    table, beats = schema.lease, schema.heartbeat
    held = connection.execute(table.select().where(table.c.lease == name)).first()
    if held is None:
        return None
    expires_ms = connection.scalar(
        sa.select(beats.c.expires_ms).where((beats.c.lease == name) & (beats.c.holder == held.holder))
    )
    monotonic_s = clock.monotonic_s()
    remaining_s = 0.0 if expires_ms is None else (expires_ms - database.now_ms(connection)) / 1000
    return Lease(
        name=name,
        holder=held.holder,
        token=held.seq,
        remaining_s=remaining_s,
        deadline_s=monotonic_s + remaining_s,
    )


def beat(connection: sa.Connection, database: Database, *, name: str, holder: str, ttl_s: float) -> None:
    """Let the holder's lease run `ttl_s` from now."""
    if ttl_s < 0:
        raise Conflict(f"a lease of {ttl_s} s makes no sense; give 0 or more")
    table = schema.heartbeat
    connection.execute(table.delete().where(table.c.lease == name))
    expires_ms = database.now_ms(connection) + int(ttl_s * 1000)
    connection.execute(table.insert(), {"lease": name, "holder": holder, "expires_ms": expires_ms})


def sign_of_life_s(connection: sa.Connection, database: Database, name: str) -> float | None:
    """For how many seconds more `name` counts as alive, ≤ 0 once it is silent; None where it never said a word."""
    beats = schema.heartbeat
    expires_ms = connection.scalar(sa.select(beats.c.expires_ms).where(beats.c.lease == name))
    return None if expires_ms is None else (expires_ms - database.now_ms(connection)) / 1000


def forget(connection: sa.Connection, name: str) -> None:
    """Drop the heartbeat of a lease that was given back, or of a worker that ended in order."""
    connection.execute(schema.heartbeat.delete().where(schema.heartbeat.c.lease == name))
