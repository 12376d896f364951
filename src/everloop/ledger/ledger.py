"""The ledger: facts are appended, the state they imply changes with them, in one transaction."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, TypeAlias

import msgspec
import sqlalchemy as sa

from everloop.clock import Clock, to_us
from everloop.errors import ChainBroken, Conflict, LedgerError, LedgerUnreadable, NotFound
from everloop.ledger import leases, schema, state
from everloop.ledger.database import Database
from everloop.ledger.facts import ChainReport, Fact, Row, fact_hash, verify_chain
from everloop.ledger.head import Head, HeadFile
from everloop.ledger.kinds import SCHEMAS, Exposure, Payload, RoutingChanged, VersionRegistered, encode_payload
from everloop.ledger.queries import Queries, head_of, rows_of
from everloop.ledger.records import Lease, RoutingState, Version
from everloop.ledger.secrecy import holds_key

__all__ = ["Key", "Ledger", "ProjectLike", "Transaction"]

Key: TypeAlias = tuple[str, str, int]


class _Settings(Protocol):
    @property
    def ledger(self) -> str | None: ...


class _Paths(Protocol):
    @property
    def ledger_db(self) -> Path: ...


class ProjectLike(Protocol):
    """What of a project the ledger needs: where it is kept."""

    @property
    def settings(self) -> _Settings:
        """`.ledger`: a `postgresql://` or `sqlite:///` address, or None for the project's own file."""
        ...

    @property
    def paths(self) -> _Paths:
        """`.ledger_db`: the file."""
        ...


class Transaction(Queries):
    """Several facts and the state they imply, all or nothing; what it reads includes what it wrote."""

    def __init__(self, connection: sa.Connection, database: Database, clock: Clock) -> None:
        self._connection = connection
        self._database = database
        self._clock = clock
        self._head = head_of(connection)

    def _reading(self) -> AbstractContextManager[sa.Connection]:
        return nullcontext(self._connection)

    def append(
        self,
        kind: str,
        subject: str,
        payload: Payload | Mapping[str, Any],
        *,
        actor: str,
        cause: int | None = None,
        key: Key | None = None,
    ) -> Fact:
        """Write a fact and change the state by it.

        key: (run, step, n); a second append under the same key writes nothing and returns the first fact.
        Raises LedgerError for a payload that is not one of the kind, Conflict where the state does not allow it.
        """
        if key is not None:
            existing = self.keyed(*key)
            if existing is not None:
                return _same(existing, kind, subject, key)
        if not subject or not actor:
            raise LedgerError(f"the fact {kind} needs a subject and an actor; got {subject!r} and {actor!r}")
        if cause is not None and not 0 < cause <= self._head.seq:
            raise LedgerError(f"the fact {kind} names fact {cause} as its cause; there are 1 to {self._head.seq}")
        stored = encode_payload(kind, payload)
        if holds_key(stored) or holds_key(actor) or holds_key(subject):
            raise LedgerError(
                f"the fact {kind} would hold the text of a key, for every reader to see; leave it out, and revoke that "
                "key if others may have seen it"
            )
        return self._write(kind, subject, stored, actor=actor, cause=cause, key=key)

    def _write(
        self, kind: str, subject: str, payload: bytes, *, actor: str, cause: int | None, key: Key | None
    ) -> Fact:
        run, step, n = (None, None, None) if key is None else key
        row = Row(
            seq=self._head.seq + 1,
            at_us=to_us(self._clock.now()),
            actor=actor,
            kind=kind,
            subject=subject,
            cause=cause,
            schema=SCHEMAS[kind],
            payload=payload,
            prev=self._head.hash,
            hash="",
            run=run,
            step=step,
            n=n,
        )
        row = row._replace(hash=fact_hash(row))
        fact = Fact.from_row(row)
        if kind == "version.registered" and fact.payload["number"] < 1:
            raise LedgerError("a version gets its number from the ledger: use register_version")
        if kind not in state.STATE_KINDS:
            self._insert(row)
        else:
            with self._database.undoing(self._connection):  # a caller may catch the Conflict, and nothing of this stays
                self._insert(row)
                state.apply(self._connection, fact)
        self._head = Head(seq=row.seq, hash=row.hash)
        return fact

    def _insert(self, row: Row) -> None:
        # compiled once and given to the driver: building the statement anew costs four times what SQLite does with it
        statement = _insert_statement(self._database.engine.dialect)
        self._connection.exec_driver_sql(statement, row if self._database.is_sqlite else row._asdict())

    def register_version(
        self,
        model: str,
        payload: VersionRegistered,
        *,
        actor: str,
        cause: int | None = None,
        key: Key | None = None,
        number: int | None = None,
    ) -> tuple[Version, Fact]:
        """Give a bundle the model's next number. Under a key that wrote before, that version again.

        number: the one that others call it by, instead. Raises Conflict where another version has it.
        """
        if payload.model != model:
            raise LedgerError(f"a version of {payload.model} cannot be registered as one of {model}")
        existing = None if key is None else self.keyed(*key)
        if existing is not None:
            fact = _same(existing, "version.registered", existing.subject, key)
            return self.version(model, fact.payload["number"]), fact
        newest = self._connection.scalar(
            sa.select(sa.func.max(schema.version.c.number)).where(schema.version.c.model == model)
        )
        if number is None:
            number = 1 if newest is None else newest + 1
        elif any(one.number == number for one in self.versions(model)):
            raise Conflict(f"{model} has a version v{number} already; 'everloop model show v{number}' tells of it")
        numbered = msgspec.structs.replace(payload, number=number)
        fact = self.append("version.registered", f"{model}/v{number}", numbered, actor=actor, cause=cause, key=key)
        return self.version(model, number), fact

    def change_routing(
        self,
        model: str,
        *,
        expected_revision: int,
        champion: int | None,
        previous: int | None,
        challengers: Sequence[Exposure] = (),
        reason: str,
        actor: str,
        cause: int | None = None,
        key: Key | None = None,
    ) -> tuple[RoutingState, Fact]:
        """Replace the whole routing if it still has `expected_revision` (0: there is none). Raises Conflict."""
        self._refuse_unknown(model, champion, previous, *(exposure.version for exposure in challengers))
        payload = RoutingChanged(
            model=model,
            revision=expected_revision + 1,
            champion=champion,
            previous=previous,
            challengers=list(challengers),
            reason=reason,
        )
        fact = self.append("routing.changed", model, payload, actor=actor, cause=cause, key=key)
        routing = self.routing(model)
        if routing is None:
            raise NotFound(f"{model} has no routing")
        return routing, fact

    def _refuse_unknown(self, model: str, *numbers: int | None) -> None:
        for number in numbers:
            if number is not None:
                self.version(model, number)

    def acquire_lease(self, name: str, holder: str, *, ttl_s: float) -> Lease | None:
        """Take the lease, or lengthen one's own; None where another holds it."""
        held = leases.lease_of(self._connection, self._database, self._clock, name)
        if held is not None and held.alive and held.holder != holder:
            return None
        if held is None or held.holder != holder:
            taken_from = None if held is None else held.holder
            payload = {"lease": name, "holder": holder, "taken_from": taken_from}
            self.append("lease.acquired", name, payload, actor=holder)
        leases.beat(self._connection, self._database, name=name, holder=holder, ttl_s=ttl_s)
        return leases.lease_of(self._connection, self._database, self._clock, name)

    def renew_lease(self, name: str, holder: str, *, ttl_s: float) -> Lease:
        """Say in time that the holder lives. Raises Conflict where someone else took the lease."""
        held = leases.lease_of(self._connection, self._database, self._clock, name)
        if held is None or held.holder != holder:
            now = "nobody holds it" if held is None else f"{held.holder} holds it"
            raise Conflict(f"{holder} lost the lease {name}: {now}; stop what it protects and acquire it anew")
        leases.beat(self._connection, self._database, name=name, holder=holder, ttl_s=ttl_s)
        renewed = leases.lease_of(self._connection, self._database, self._clock, name)
        return held if renewed is None else renewed

    def release_lease(self, name: str, holder: str) -> None:
        """Give the lease back; nothing happens where another holds it by now."""
        held = leases.lease_of(self._connection, self._database, self._clock, name)
        if held is not None and held.holder == holder:
            self.append("lease.released", name, {"lease": name, "holder": holder}, actor=holder)
            leases.forget(self._connection, name)


@cache
def _insert_statement(dialect: sa.Dialect) -> str:
    return str(schema.fact.insert().compile(dialect=dialect))


def _same(existing: Fact, kind: str, subject: str, key: Key | None) -> Fact:
    if existing.kind != kind or existing.subject != subject:
        raise Conflict(
            f"the key {key} belongs to fact {existing.seq} ({existing.kind} {existing.subject}), "
            f"so {kind} {subject} cannot be written under it"
        )
    return existing


class Ledger(Queries):
    """The one database of facts and of the state they imply. Safe to share between threads."""

    def __init__(self, database: Database, *, clock: Clock, head_file: HeadFile | None) -> None:
        self._database = database
        self._clock = clock
        self._head_file = head_file

    @classmethod
    def open(
        cls,
        target: str | Path | ProjectLike,
        *,
        clock: Clock,
        head_path: Path | None = None,
        busy_timeout_s: float = 30.0,
    ) -> Ledger:
        """Open or make a ledger.

        target: a file, a `postgresql://` address, or a project. head_path: where the chain's head is kept
        besides; for a file it defaults to the file's name with `.head`. Raises LedgerUnreadable.
        """
        address, beside = _place_of(target)
        head_path = beside if head_path is None else head_path
        database = Database(address, busy_timeout_s=busy_timeout_s)
        ledger = cls(database, clock=clock, head_file=None if head_path is None else HeadFile(head_path))
        ledger._refuse_lost()
        database.prepare()
        ledger._bring_up_to_date()
        return ledger

    def _refuse_lost(self) -> None:
        """Raises LedgerUnreadable where the head file has seen facts and there is no ledger any more."""
        try:
            kept, _ = self._kept_head()
        except ChainBroken:
            return  # no head to hold it against; verify tells it
        if kept is not None and kept.seq > 0 and self._database.is_empty():
            raise LedgerUnreadable(
                f"the ledger {self._database.place} is gone or empty, and held {kept.seq:,} facts; "
                "put a backup in its place, or remove the head file beside it to begin a new one"
            )

    def _bring_up_to_date(self) -> None:
        query = sa.select(schema.meta.c.value).where(schema.meta.c.name == "state")
        with self._database.reading() as connection:
            found = connection.scalar(query)
            head = head_of(connection)
        self._refuse_newer(found)
        if found != schema.STATE_SCHEMA:
            self.rebuild_state(only_from=found)
        # A ledger that holds facts but has lost its head file is told by verify, not mended here.
        if self._head_file is not None and head.seq == 0 and self._head_file.read() is None:
            self._head_file.path.parent.mkdir(parents=True, exist_ok=True)
            self._head_file.write(head)

    def _refuse_newer(self, found: int | None) -> None:
        """Raises LedgerUnreadable for a newer everloop's state: made older, it would fail that one's work."""
        if found is not None and found > schema.STATE_SCHEMA:
            raise LedgerUnreadable(
                f"the state of the ledger {self._database.place} has schema {found}, "
                f"this everloop knows up to {schema.STATE_SCHEMA}; upgrade everloop"
            )

    def _reading(self) -> AbstractContextManager[sa.Connection]:
        return self._database.reading()

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Several facts and reads as one: committed at the end of the block, or nothing of it."""
        with self._database.writing() as connection:
            before = head_of(connection)
            transaction = Transaction(connection, self._database, self._clock)
            yield transaction
            after = transaction._head
        if after != before and self._head_file is not None:
            self._head_file.advance(after, lambda kept: kept == before or self._holds(kept))

    def _holds(self, head: Head) -> bool:
        if head.seq == 0:
            return True
        query = sa.select(schema.fact.c.hash).where(schema.fact.c.seq == head.seq)
        with self._database.reading() as connection:
            return bool(connection.scalar(query) == head.hash)

    def append(
        self,
        kind: str,
        subject: str,
        payload: Payload | Mapping[str, Any],
        *,
        actor: str,
        cause: int | None = None,
        key: Key | None = None,
    ) -> Fact:
        """`Transaction.append` in a transaction of its own."""
        with self.transaction() as transaction:
            return transaction.append(kind, subject, payload, actor=actor, cause=cause, key=key)

    def register_version(
        self,
        model: str,
        payload: VersionRegistered,
        *,
        actor: str,
        cause: int | None = None,
        key: Key | None = None,
        number: int | None = None,
    ) -> tuple[Version, Fact]:
        """`Transaction.register_version` in a transaction of its own."""
        with self.transaction() as transaction:
            return transaction.register_version(model, payload, actor=actor, cause=cause, key=key, number=number)

    def change_routing(
        self,
        model: str,
        *,
        expected_revision: int,
        champion: int | None,
        previous: int | None,
        challengers: Sequence[Exposure] = (),
        reason: str,
        actor: str,
        cause: int | None = None,
        key: Key | None = None,
    ) -> tuple[RoutingState, Fact]:
        """`Transaction.change_routing` in a transaction of its own."""
        with self.transaction() as transaction:
            return transaction.change_routing(
                model,
                expected_revision=expected_revision,
                champion=champion,
                previous=previous,
                challengers=challengers,
                reason=reason,
                actor=actor,
                cause=cause,
                key=key,
            )

    def acquire_lease(self, name: str, holder: str, *, ttl_s: float) -> Lease | None:
        """`Transaction.acquire_lease` in a transaction of its own."""
        with self.transaction() as transaction:
            return transaction.acquire_lease(name, holder, ttl_s=ttl_s)

    def renew_lease(self, name: str, holder: str, *, ttl_s: float) -> Lease:
        """`Transaction.renew_lease` in a transaction of its own."""
        with self.transaction() as transaction:
            return transaction.renew_lease(name, holder, ttl_s=ttl_s)

    def release_lease(self, name: str, holder: str) -> None:
        """`Transaction.release_lease` in a transaction of its own."""
        with self.transaction() as transaction:
            transaction.release_lease(name, holder)

    def lease(self, name: str) -> Lease | None:
        """The lease as it stands, held or run out; None where nobody has it."""
        with self._database.reading() as connection:
            return leases.lease_of(connection, self._database, self._clock, name)

    def say_alive(self, name: str, *, ttl_s: float) -> None:
        """A sign of life, good for `ttl_s` from now by the database's time. No fact: nobody must answer for it."""
        with self._database.writing() as connection:
            leases.beat(connection, self._database, name=name, holder=name, ttl_s=ttl_s)

    def say_gone(self, name: str) -> None:
        """Take the last sign of life back: what ends in order need not be waited for."""
        with self._database.writing() as connection:
            leases.forget(connection, name)

    def is_silent(self, name: str) -> bool:
        """Whether the last sign of life has run out, or there never was one."""
        with self._database.reading() as connection:
            left_s = leases.sign_of_life_s(connection, self._database, name)
        return left_s is None or left_s <= 0

    @property
    def shared_address(self) -> str | None:
        """The PostgreSQL address, password included, that other machines can share; None for a file."""
        return self._database.address

    def verify(self, *, noted: Head | None = None) -> ChainReport:
        """Recompute the whole chain, hold it against the head file, and the state against what the facts imply.

        noted: a head that was written down elsewhere, as `Head.parse` reads it; it too must be in the chain.
        """
        # The file is read first: it may then only be behind the rows read after it.
        try:
            kept, problem = self._kept_head()
        except ChainBroken as error:
            kept, problem = None, str(error)
        with self._database.reading(repeatable=True) as connection:
            report = verify_chain(rows_of(connection), kept, noted)
            if report.ok and problem is None:
                problem = _unfounded(connection)
        if report.ok and problem is not None and report.facts > 0:
            return ChainReport(ok=False, facts=report.facts, head=report.head, problem=problem)
        return report

    def _kept_head(self) -> tuple[Head | None, str | None]:
        if self._head_file is None:
            return None, None
        kept = self._head_file.read()
        if kept is None:
            return None, f"the head file {self._head_file.path} is missing: a cut tail would not be found"
        return kept, None

    def rebuild_state(self, *, only_from: int | None = None) -> int:
        """Drop the state and replay all facts; returns how many.

        only_from: do so only if the state is still of that schema, so that of many processes one does it.
        Raises LedgerUnreadable where it is of a newer one by now.
        """
        meta = schema.meta
        facts = 0
        with self._database.writing() as connection:
            found = connection.scalar(sa.select(meta.c.value).where(meta.c.name == "state"))
            self._refuse_newer(found)
            if only_from is not None and found != only_from:
                return 0
            schema.state_metadata.drop_all(connection)
            schema.state_metadata.create_all(connection)
            for row in list(rows_of(connection)):
                state.apply(connection, Fact.from_row(row))
                facts += 1
            connection.execute(meta.update().where(meta.c.name == "state"), {"value": schema.STATE_SCHEMA})
        return facts

    def dump_state(self) -> dict[str, list[tuple[Any, ...]]]:
        """All state, table by table: what two ledgers, or a state and its replay, are compared by."""
        with self._database.reading() as connection:
            return state.dump(connection)

    def hang_up(self) -> None:
        """Break off all connections of this process to a server that does not answer; see `Database.hang_up`."""
        self._database.hang_up()

    def close(self) -> None:
        """Give all connections back."""
        self._database.close()

    def __enter__(self) -> Ledger:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _unfounded(connection: sa.Connection) -> str | None:
    """What the state says that no fact does, or the other way round; None where `replay(log) == state`."""
    beside = sa.create_engine("sqlite://")
    with beside.begin() as replayed:
        schema.state_metadata.create_all(replayed)
        for row in state.in_force(rows_of(connection, kinds=state.STATE_KINDS)):
            state.apply(replayed, Fact.from_row(row))
        implied = state.dump(replayed)
    beside.dispose()
    for table, rows in state.dump(connection).items():
        differing = set(rows) ^ set(implied[table])
        if differing:
            named = " ".join(str(part) for part in min(differing, key=str)[:2])
            return f"the state was changed without a fact: {table} {named} is not what the chain says"
    return None


def _place_of(target: str | Path | ProjectLike) -> tuple[str | Path, Path | None]:
    """Where the ledger is kept, and where its head is kept besides."""
    if isinstance(target, Path):
        return target, target.with_suffix(".head")
    if not isinstance(target, str):
        file, address = target.paths.ledger_db, target.settings.ledger
        return (file if address is None else _place_of(address)[0]), file.with_suffix(".head")
    if target.startswith("sqlite:///"):
        return _place_of(Path(target.removeprefix("sqlite:///")))
    return (target, None) if "://" in target else _place_of(Path(target))
