"""Reading: the same doors on the ledger and inside of a transaction."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from itertools import islice
from typing import Any

import msgspec
import sqlalchemy as sa

from everloop.clock import from_us, to_us
from everloop.errors import NotFound
from everloop.ledger import schema
from everloop.ledger.causes import causes_of
from everloop.ledger.facts import GENESIS, Fact, Row
from everloop.ledger.head import Head
from everloop.ledger.kinds import Exposure
from everloop.ledger.records import AlertState, Approval, RolloutState, RoutingState, RunState, ScheduleState, Version

__all__ = ["Queries", "head_of", "rows_of"]

_ROUTING_REVISION = sa.text("SELECT revision FROM routing WHERE model = :model")
_LAST_OF_KIND = sa.text("SELECT max(seq) FROM fact WHERE kind = :kind")


def rows_of(connection: sa.Connection, *, after: int = 0, kinds: Collection[str] | None = None) -> Iterator[Row]:
    """The chain from the row after `after` on, streamed in order of seq; of these kinds alone where some are given."""
    query = schema.fact.select().where(schema.fact.c.seq > after).order_by(schema.fact.c.seq)
    if kinds is not None:
        query = query.where(schema.fact.c.kind.in_(sorted(kinds)))
    for row in connection.execute(query.execution_options(yield_per=1000)):
        yield _row(row)


def _row(row: Any) -> Row:
    values = tuple(row)
    stored = values[7]  # PostgreSQL's driver may hand out a view; SQLite whatever someone put there
    if type(stored) is bytes:
        return Row._make(values)
    return Row._make(values)._replace(payload=bytes(stored) if isinstance(stored, memoryview) else str(stored).encode())


def head_of(connection: sa.Connection) -> Head:
    """The chain's last fact; seq 0 before the first."""
    table = schema.fact
    row = connection.execute(sa.select(table.c.seq, table.c.hash).order_by(table.c.seq.desc()).limit(1)).first()
    return Head(seq=0, hash=GENESIS) if row is None else Head(seq=row.seq, hash=row.hash)


def _is_about(fact: Fact, model: str, runs: Collection[str]) -> bool:
    """Whether a fact is one of a model; what a run's steps say names the run alone."""
    payload = fact.payload
    if fact.kind == "project.created":
        return model in payload["models"]
    return payload.get("model") == model or payload.get("run") in runs


class Queries(ABC):
    """What can be asked of the facts and of the state they imply."""

    @abstractmethod
    def _reading(self) -> AbstractContextManager[sa.Connection]: ...

    def head(self) -> Head:
        """The last fact's seq and hash; seq 0 where there is none."""
        with self._reading() as connection:
            return head_of(connection)

    def facts(
        self,
        *,
        kind: str | Sequence[str] | None = None,
        subject: str | None = None,
        run: str | None = None,
        step: str | None = None,
        actor: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        model: str | None = None,
        after: int = 0,
        limit: int | None = None,
        newest_first: bool = False,
    ) -> list[Fact]:
        """The facts of these kinds, about this subject, written by this run's steps or this actor, with seq > after.

        step: of the run's steps this one alone. since, until: written at `since ≤ at < until`. model: whose payload
        names it, or which say how its runs went.
        """
        table = schema.fact
        query = table.select().where(table.c.seq > after)
        if kind is not None:
            query = query.where(table.c.kind.in_([kind] if isinstance(kind, str) else list(kind)))
        if subject is not None:
            query = query.where(table.c.subject == subject)
        if run is not None:
            query = query.where(table.c.run == run)
        if step is not None:
            query = query.where(table.c.step == step)
        if actor is not None:
            query = query.where(table.c.actor == actor)
        if since is not None:
            query = query.where(table.c.at_us >= to_us(since))
        if until is not None:
            query = query.where(table.c.at_us < to_us(until))
        query = query.order_by(table.c.seq.desc() if newest_first else table.c.seq)
        with self._reading() as connection:
            if model is None:
                return [Fact.from_row(_row(row)) for row in connection.execute(query.limit(limit))]
            runs = set(connection.scalars(sa.select(schema.run.c.run).where(schema.run.c.model == model)))
            rows = connection.execute(query.execution_options(yield_per=1000))
            found = (fact for row in rows if _is_about(fact := Fact.from_row(_row(row)), model, runs))
            return list(islice(found, limit))

    def last(self, kind: str | Sequence[str], subject: str | None = None) -> Fact | None:
        """The newest fact of a kind, or None."""
        found = self.facts(kind=kind, subject=subject, limit=1, newest_first=True)
        return found[0] if found else None

    def last_seq(self, kinds: Sequence[str]) -> int:
        """The seq of the newest fact of these kinds, 0 where there is none: one indexed read for each, for a poll."""
        with self._reading() as connection:
            return max(int(connection.execute(_LAST_OF_KIND, {"kind": kind}).scalar() or 0) for kind in kinds)

    def fact(self, seq: int) -> Fact:
        """One fact. Raises NotFound."""
        with self._reading() as connection:
            row = connection.execute(schema.fact.select().where(schema.fact.c.seq == seq)).first()
            if row is None:
                raise NotFound(f"there is no fact {seq}; the last is {head_of(connection).seq}")
            return Fact.from_row(_row(row))

    def keyed(self, run: str, step: str, n: int) -> Fact | None:
        """The fact that a run's step has written under its n-th key, or None."""
        table = schema.fact
        same = (table.c.run == run) & (table.c.step == step) & (table.c.n == n)
        with self._reading() as connection:
            row = connection.execute(table.select().where(same)).first()
        return None if row is None else Fact.from_row(_row(row))

    def why(self, model: str, number: int) -> list[Fact]:
        """The chain of causes of a version, newest first: version, run, approval, spec, proposal, alert …"""
        return self.chain_of(self.version(model, number).seq)

    def chain_of(self, seq: int) -> list[Fact]:
        """The causes of a fact, itself first, newest first: its `cause` links, and what its payload names."""
        found: dict[int, Fact] = {}
        open_seqs = [seq]
        while open_seqs:
            number = open_seqs.pop()
            if number not in found:
                found[number] = self.fact(number)
                open_seqs += causes_of(found[number], self.last)
        return [found[number] for number in sorted(found, reverse=True)]

    def routing_revision(self, model: str) -> int:
        """The routing's revision, 0 where a model has none yet: one indexed read, cheap enough for a poll."""
        with self._reading() as connection:
            return int(connection.execute(_ROUTING_REVISION, {"model": model}).scalar() or 0)

    def routing(self, model: str) -> RoutingState | None:
        """Who answers for the model now, or None before the first version was released."""
        with self._reading() as connection:
            row = connection.execute(schema.routing.select().where(schema.routing.c.model == model)).first()
        if row is None:
            return None
        fields = dict(row._mapping)
        exposures = msgspec.json.decode(bytes(fields.pop("challengers")), type=tuple[Exposure, ...])
        return RoutingState(at=from_us(fields.pop("at_us")), challengers=exposures, **fields)

    def versions(self, model: str | None = None) -> list[Version]:
        """The registered versions, oldest first; of all models where none is named."""
        table = schema.version
        query = table.select().order_by(table.c.model, table.c.number)
        with self._reading() as connection:
            rows = connection.execute(query if model is None else query.where(table.c.model == model)).all()
        routes = {name: self.routing(name) for name in {row.model for row in rows}}
        return [_version(row, routes[row.model]) for row in rows]

    def version(self, model: str, number: int) -> Version:
        """One version. Raises NotFound, naming the newest."""
        table = schema.version
        with self._reading() as connection:
            row = connection.execute(
                table.select().where((table.c.model == model) & (table.c.number == number))
            ).first()
            newest = connection.scalar(sa.select(sa.func.max(table.c.number)).where(table.c.model == model))
        if row is None:
            known = "it has none yet" if newest is None else f"the newest is v{newest}"
            raise NotFound(f"{model} has no version v{number}; {known}. 'everloop model list' shows them")
        return _version(row, self.routing(model))

    def removal(self, bundle: str) -> Fact | None:
        """The fact by which the retention rule last took a bundle away; a copy may have been put back since."""
        for fact in self.facts(kind="retention.done", newest_first=True):
            if any(one["what"] == "bundle" and one["name"] == bundle for one in fact.payload["removed"]):
                return fact
        return None

    def rollouts(self, model: str | None = None, *, running_only: bool = False) -> list[RolloutState]:
        """The rollouts, oldest first."""
        table = schema.rollout
        query = table.select().order_by(table.c.seq)
        query = query if model is None else query.where(table.c.model == model)
        query = query.where(table.c.status == "running") if running_only else query
        with self._reading() as connection:
            return [_rollout(row) for row in connection.execute(query)]

    def alerts(self, model: str | None = None, *, open_only: bool = False) -> list[AlertState]:
        """The alerts, oldest first."""
        table = schema.alert
        query = table.select().order_by(table.c.seq)
        query = query if model is None else query.where(table.c.model == model)
        query = query.where(table.c.status == "open") if open_only else query
        with self._reading() as connection:
            return [_alert(row) for row in connection.execute(query)]

    def alert(self, alert: str) -> AlertState:
        """One alert. Raises NotFound."""
        with self._reading() as connection:
            row = connection.execute(schema.alert.select().where(schema.alert.c.alert == alert)).first()
        if row is None:
            raise NotFound(f"there is no alert {alert}; 'everloop alert list' shows them")
        return _alert(row)

    def approval(self, model: str, spec_hash: str) -> Approval | None:
        """Who approved the spec with this hash, or None."""
        table = schema.approval
        same = (table.c.model == model) & (table.c.spec_hash == spec_hash)
        with self._reading() as connection:
            row = connection.execute(table.select().where(same)).first()
        if row is None:
            return None
        at = from_us(row.at_us)
        return Approval(model=row.model, spec=row.spec, spec_hash=row.spec_hash, by=row.approver, at=at, seq=row.seq)

    def runs(self, model: str | None = None, *, status: str | None = None) -> list[RunState]:
        """The runs, oldest first."""
        table = schema.run
        query = table.select().order_by(table.c.seq)
        query = query if model is None else query.where(table.c.model == model)
        query = query if status is None else query.where(table.c.status == status)
        with self._reading() as connection:
            return [_run(row) for row in connection.execute(query)]

    def run(self, run: str) -> RunState:
        """One run. Raises NotFound."""
        with self._reading() as connection:
            row = connection.execute(schema.run.select().where(schema.run.c.run == run)).first()
        if row is None:
            raise NotFound(f"there is no run {run}; 'everloop run list' shows them")
        return _run(row)

    def schedule(self, model: str) -> ScheduleState | None:
        """The last pause of the model's schedule, or None where it was never paused."""
        with self._reading() as connection:
            row = connection.execute(schema.schedule.select().where(schema.schedule.c.model == model)).first()
        return None if row is None else ScheduleState(**_dated(dict(row._mapping), "paused", "resumed"))


def _version(row: Any, routing: RoutingState | None) -> Version:
    fields = dict(row._mapping)
    record = msgspec.json.decode(bytes(fields.pop("record")))
    picked = {name: record.get(name) for name in ("data", "trigger")}
    role = _role(row.number, routing)
    at = from_us(fields.pop("at_us"))
    return Version(at=at, role=role, metrics=record["metrics"], record=record, **picked, **fields)


def _role(number: int, routing: RoutingState | None) -> Any:
    if routing is None:
        return None
    if routing.champion == number:
        return "champion"
    if any(exposure.version == number for exposure in routing.challengers):
        return "challenger"
    return "previous" if routing.previous == number else None


def _rollout(row: Any) -> RolloutState:
    fields = dict(row._mapping)
    record = msgspec.json.decode(bytes(fields.pop("record")))
    picked = {name: record[name] for name in ("against", "salt", "trigger", "promote")}
    steps = tuple(record["steps"])
    return RolloutState(record=record, steps=steps, **picked, **_dated(fields, "started", "moved", "ended"))


def _alert(row: Any) -> AlertState:
    fields = dict(row._mapping)
    record = msgspec.json.decode(bytes(fields.pop("record")))
    names = ("check", "sentence", "evidence_kind", "evidence", "window", "policy")
    picked = {name: record[name] for name in names}
    return AlertState(record=record, **picked, **_dated(fields, "opened", "closed"))


def _run(row: Any) -> RunState:
    fields = _dated(dict(row._mapping), "queued", "started", "ended")
    return RunState(inputs=msgspec.json.decode(bytes(fields.pop("inputs"))), **fields)


def _dated(fields: dict[str, Any], *names: str) -> dict[str, Any]:
    for name in names:
        us = fields.pop(f"{name}_us")
        fields[f"{name}_at"] = None if us is None else from_us(us)
    return fields
