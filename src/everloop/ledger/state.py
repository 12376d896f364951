"""The state that facts imply: one small function per kind, applied in the fact's own transaction and in replay.

The law is `replay(log) == state`: a function here reads the fact and the state tables, nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from everloop.clock import to_us
from everloop.errors import Conflict
from everloop.ledger import schema
from everloop.ledger.facts import Fact
from everloop.ledger.row import Row

__all__ = ["STATE_KINDS", "apply", "dump", "in_force"]

Apply = Callable[[sa.Connection, Fact], None]


def _json(value: object) -> bytes:
    return msgspec.json.encode(value, order="sorted")


def _version_registered(connection: sa.Connection, fact: Fact) -> None:
    payload = fact.payload
    names = ("model", "number", "bundle", "run", "spec", "spec_hash")
    row = {name: payload[name] for name in names}
    row |= {"at_us": to_us(fact.at), "seq": fact.seq, "record": _json(payload)}
    connection.execute(schema.version.insert(), row)


def _routing_changed(connection: sa.Connection, fact: Fact) -> None:
    payload, table = fact.payload, schema.routing
    model, revision = payload["model"], payload["revision"]
    row = {name: payload[name] for name in ("revision", "champion", "previous", "reason")}
    row |= {"challengers": _json(payload["challengers"]), "at_us": to_us(fact.at), "seq": fact.seq}
    found = connection.scalar(sa.select(table.c.revision).where(table.c.model == model))
    if (0 if found is None else found) != revision - 1:
        raise Conflict(
            f"the routing of {model} is at revision {0 if found is None else found}, not {revision - 1}: "
            "someone changed it first; read it again and decide anew"
        )
    if found is None:
        connection.execute(table.insert(), row | {"model": model})
    else:
        connection.execute(table.update().where(table.c.model == model), row)


def _rollout_started(connection: sa.Connection, fact: Fact) -> None:
    payload, at_us = fact.payload, to_us(fact.at)
    if _running(connection, payload["model"], payload["version"]) is not None:
        raise Conflict(f"{fact.subject} is being rolled out already; stop that rollout first")
    row = {name: payload[name] for name in ("model", "version", "step")}
    row |= {"seq": fact.seq, "status": "running", "started_us": at_us, "moved_us": at_us, "last_seq": fact.seq}
    connection.execute(schema.rollout.insert(), row | {"sentence": payload["reason"], "record": _json(payload)})


def _running(connection: sa.Connection, model: str, version: int) -> int | None:
    table = schema.rollout
    same = (table.c.model == model) & (table.c.version == version) & (table.c.status == "running")
    seq: int | None = connection.scalar(sa.select(table.c.seq).where(same))
    return seq


def _rollout_goes_on(status: str) -> Apply:
    def goes_on(connection: sa.Connection, fact: Fact) -> None:
        payload, table, at_us = fact.payload, schema.rollout, to_us(fact.at)
        seq = _running(connection, payload["model"], payload["version"])
        if seq is None:
            raise Conflict(f"{fact.subject} is not being rolled out, so there is nothing to record as {fact.kind}")
        row: dict[str, Any] = {"status": status, "sentence": payload["sentence"], "last_seq": fact.seq}
        if payload.get("step") is not None:
            row["step"] = payload["step"]
        row["moved_us" if status == "running" else "ended_us"] = at_us
        connection.execute(table.update().where(table.c.seq == seq), row)

    return goes_on


def _alert_opened(connection: sa.Connection, fact: Fact) -> None:
    payload = fact.payload
    if connection.scalar(sa.select(schema.alert.c.seq).where(schema.alert.c.alert == payload["alert"])) is not None:
        raise Conflict(f"the alert {payload['alert']} was opened before; give a new one another id")
    row = {"alert": payload["alert"], "model": payload["model"], "status": "open", "opened_us": to_us(fact.at)}
    connection.execute(schema.alert.insert(), row | {"seq": fact.seq, "record": _json(payload)})


def _alert_closed(connection: sa.Connection, fact: Fact) -> None:
    payload, table = fact.payload, schema.alert
    row = {"status": "closed", "closed_us": to_us(fact.at), "closed_reason": payload["reason"]}
    still_open = (table.c.alert == payload["alert"]) & (table.c.status == "open")
    if connection.execute(table.update().where(still_open), row).rowcount == 0:
        raise Conflict(f"there is no open alert {payload['alert']}; 'everloop alert list' shows them")


def _investigation_made(connection: sa.Connection, fact: Fact) -> None:
    table = schema.alert
    connection.execute(table.update().where(table.c.alert == fact.payload["alert"]), {"investigation": fact.seq})


def _proposal_made(connection: sa.Connection, fact: Fact) -> None:
    table = schema.alert
    connection.execute(table.update().where(table.c.alert == fact.payload["alert"]), {"proposal": fact.payload["spec"]})


def _spec_approved(connection: sa.Connection, fact: Fact) -> None:
    payload, table = fact.payload, schema.approval
    same = (table.c.model == payload["model"]) & (table.c.spec_hash == payload["spec_hash"])
    connection.execute(table.delete().where(same))
    row = {name: payload[name] for name in ("model", "spec_hash", "spec")}
    connection.execute(table.insert(), row | {"approver": payload["by"], "at_us": to_us(fact.at), "seq": fact.seq})


def _run_queued(connection: sa.Connection, fact: Fact) -> None:
    payload, at_us = fact.payload, to_us(fact.at)
    names = ("run", "workflow", "model", "spec", "trigger", "lane", "fold")
    row = {name: payload[name] for name in names} | {"status": "queued", "inputs": _json(payload["inputs"])}
    row |= {"queued_us": at_us, "started_us": at_us, "seq": fact.seq, "last_seq": fact.seq}
    connection.execute(schema.run.insert(), row)


def _run_folded(connection: sa.Connection, fact: Fact) -> None:
    payload, table = fact.payload, schema.run
    waits = (table.c.run == payload["into"]) & (table.c.status == "queued")
    row = {"inputs": _json(payload["inputs"]), "last_seq": fact.seq}
    if connection.execute(table.update().where(waits), row).rowcount == 0:
        raise Conflict(f"run {payload['into']} does not wait any more, so nothing can be folded into it")


def _run_started(connection: sa.Connection, fact: Fact) -> None:
    payload, table = fact.payload, schema.run
    row = {"status": "running", "started_us": to_us(fact.at), "seq": fact.seq, "last_seq": fact.seq}
    row |= {"slot": payload.get("slot")}
    found = connection.scalar(sa.select(table.c.status).where(table.c.run == payload["run"]))
    if found is None:  # begun by an everloop that had no queue
        names = ("run", "workflow", "model", "spec", "trigger")
        row |= {name: payload[name] for name in names} | {"lane": "", "fold": "", "inputs": _json(payload["inputs"])}
        connection.execute(table.insert(), row)
    elif found != "queued":
        raise Conflict(f"run {payload['run']} is {found}, so it cannot begin")
    else:
        connection.execute(table.update().where(table.c.run == payload["run"]), row)


def _run_taken(connection: sa.Connection, fact: Fact) -> None:
    payload, table = fact.payload, schema.run
    running = (table.c.run == payload["run"]) & (table.c.status == "running")
    if connection.execute(table.update().where(running), {"slot": payload["slot"], "last_seq": fact.seq}).rowcount == 0:
        raise Conflict(f"run {payload['run']} does not go on, so nobody can take it over")


def _run_configured(connection: sa.Connection, fact: Fact) -> None:
    """A run that reads its configuration from a store learns on its way which spec it is of."""
    table = schema.run
    row = {"spec": fact.payload["spec"], "last_seq": fact.seq}
    connection.execute(table.update().where(table.c.run == fact.payload["run"]), row)


def _run_step(connection: sa.Connection, fact: Fact) -> None:
    table = schema.run
    row = {"step": fact.payload["step"], "last_seq": fact.seq}
    connection.execute(table.update().where(table.c.run == fact.payload["run"]), row)


def _run_ended(status: str) -> Apply:
    def ended(connection: sa.Connection, fact: Fact) -> None:
        payload, table = fact.payload, schema.run
        row = {"status": status, "ended_us": to_us(fact.at), "last_seq": fact.seq, "sentence": payload["sentence"]}
        if status in ("refused", "failed"):
            row |= {"step": payload["step"], "evidence_path": payload.get("evidence_path")}
        connection.execute(table.update().where(table.c.run == payload["run"]), row)

    return ended


def _schedule_paused(connection: sa.Connection, fact: Fact) -> None:
    payload, table = fact.payload, schema.schedule
    same = table.c.model == payload["model"]
    held = connection.execute(table.select().where(same)).first()
    if held is not None and held.status == "paused":
        raise Conflict(f"the schedule of {payload['model']} is paused already, by {held.paused_by}: {held.reason}")
    connection.execute(table.delete().where(same))
    row = {name: payload[name] for name in ("model", "reason")} | {"status": "paused", "paused_by": fact.actor}
    connection.execute(table.insert(), row | {"paused_us": to_us(fact.at), "seq": fact.seq})


def _schedule_resumed(connection: sa.Connection, fact: Fact) -> None:
    model, table = fact.payload["model"], schema.schedule
    held = (table.c.model == model) & (table.c.status == "paused")
    row = {"status": "active", "resumed_by": fact.actor, "resumed_us": to_us(fact.at), "seq": fact.seq}
    if connection.execute(table.update().where(held), row).rowcount == 0:
        raise Conflict(f"the schedule of {model} is not paused, so there is nothing to resume")


def _lease_acquired(connection: sa.Connection, fact: Fact) -> None:
    table = schema.lease
    connection.execute(table.delete().where(table.c.lease == fact.payload["lease"]))
    row = {"lease": fact.payload["lease"], "holder": fact.payload["holder"], "at_us": to_us(fact.at), "seq": fact.seq}
    connection.execute(table.insert(), row)


def _lease_released(connection: sa.Connection, fact: Fact) -> None:
    connection.execute(schema.lease.delete().where(schema.lease.c.lease == fact.payload["lease"]))


_APPLY: Final[Mapping[str, Apply]] = {
    "alert.closed": _alert_closed,
    "alert.opened": _alert_opened,
    "investigation.made": _investigation_made,
    "lease.acquired": _lease_acquired,
    "lease.released": _lease_released,
    "proposal.made": _proposal_made,
    "rollout.moved": _rollout_goes_on("running"),
    "rollout.promoted": _rollout_goes_on("promoted"),
    "rollout.started": _rollout_started,
    "rollout.stopped": _rollout_goes_on("stopped"),
    "routing.changed": _routing_changed,
    "run.cancelled": _run_ended("cancelled"),
    "run.configured": _run_configured,
    "run.failed": _run_ended("failed"),
    "run.finished": _run_ended("finished"),
    "run.folded": _run_folded,
    "run.queued": _run_queued,
    "run.refused": _run_ended("refused"),
    "run.started": _run_started,
    "run.step": _run_step,
    "run.taken": _run_taken,
    "schedule.paused": _schedule_paused,
    "schedule.resumed": _schedule_resumed,
    "spec.approved": _spec_approved,
    "version.registered": _version_registered,
}


STATE_KINDS: Final = frozenset(_APPLY)
"""The kinds of facts that change state; the others are told and imply nothing."""


def in_force(rows: Iterable[Row]) -> Iterator[Row]:
    """The rows that give the same state as all of them: of a run's steps the last before whatever else became of it.

    Most facts of a long chain are steps, and each overwrites what the one before it left in the state.
    """
    steps: dict[str, Row] = {}
    for row in rows:
        if row.kind == "run.step":
            steps[row.subject] = row
            continue
        if row.subject in steps:
            yield steps.pop(row.subject)
        yield row
    yield from steps.values()


def apply(connection: sa.Connection, fact: Fact) -> None:
    """Change the state tables as the fact says. Raises Conflict where the state does not allow it."""
    change = _APPLY.get(fact.kind)
    if change is not None:
        change(connection, fact)


def dump(connection: sa.Connection) -> dict[str, list[tuple[Any, ...]]]:
    """All state, table by table, in the order of the primary keys: what two ledgers are compared by."""
    tables = schema.STATE_TABLES
    return {
        table.name: [tuple(row) for row in connection.execute(table.select().order_by(*table.primary_key.columns))]
        for table in tables
    }
