"""The queue: runs wait in the ledger, and every worker that shares it may begin, or take over, the next.

The ledger decides, in one transaction each: who asked for what, whose turn it is, whose a run is now. So whatever
process dies between two of these lines, another finds the run as it stands.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import msgspec

from everloop.ledger import Ledger, RunFolded, RunQueued, RunStarted, RunState, RunTaken, Transaction

__all__ = ["Envelope", "Queue", "Summary", "run_key"]

Summary = Callable[[dict[str, Any]], dict[str, Any]]
_STARTED, _ENDED, _QUEUED = 0, 1, 2


def run_key(run_id: str, *, ended: bool = False) -> tuple[str, str, int]:
    """Under which the fact that a run began is kept, or the one that it ended: each is written once."""
    return (run_id, "run", _ENDED if ended else _STARTED)


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """What a run needs to begin, kept by the workflow engine. retry_of: whose steps before `from_step` are kept."""

    run_id: str
    workflow: str
    inputs: dict[str, Any]
    actor: str
    cause: int | None = None
    lane: str = ""
    fold: str = ""
    retry_of: str | None = None
    from_step: str | None = None

    def text(self, name: str) -> str | None:
        """An input that is a text and not empty."""
        value = self.inputs.get(name)
        return value if isinstance(value, str) and value else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """One worker's view of the queue. slot: its identity. summary: what of a run's inputs its first fact tells."""

    ledger: Ledger
    slot: str
    summary: Summary

    def ask(self, wanted: Envelope) -> str:
        """Let a run wait; gives its id. Asked for before, nothing is written: it is the run that it was, or became.

        A request whose lane and fold are those of a run that still waits becomes that run, with the newer inputs.
        """
        with self.ledger.transaction() as transaction:
            same = self._asked_before(transaction, wanted.run_id)
            if same is not None:
                return same
            into = next((run for run in transaction.runs(status="queued") if _is_same(run, wanted)), None)
            if into is None:
                self._queue(transaction, wanted)
                return wanted.run_id
            folded = RunFolded(
                run=wanted.run_id, into=into.run, trigger=wanted.text("trigger"), inputs=dict(wanted.inputs)
            )
            transaction.append(
                "run.folded", into.run, folded, actor=wanted.actor, cause=wanted.cause, key=run_key(wanted.run_id)
            )
            return into.run

    @staticmethod
    def _asked_before(transaction: Transaction, run_id: str) -> str | None:
        known = transaction.keyed(*run_key(run_id)) or transaction.keyed(run_id, "run", _QUEUED)
        if known is None:
            return None
        return str(known.payload["into"]) if known.kind == "run.folded" else run_id

    @staticmethod
    def _queue(transaction: Transaction, wanted: Envelope) -> None:
        named: dict[str, Any] = {name: wanted.text(name) for name in ("model", "spec", "trigger")}
        payload = RunQueued(
            run=wanted.run_id,
            workflow=wanted.workflow,
            lane=wanted.lane,
            fold=wanted.fold,
            inputs=dict(wanted.inputs),
            retry_of=wanted.retry_of,
            from_step=wanted.from_step,
            **named,
        )
        key = (wanted.run_id, "run", _QUEUED)
        transaction.append("run.queued", wanted.run_id, payload, actor=wanted.actor, cause=wanted.cause, key=key)

    def begin(self, known: Collection[str], *, lane: str | None = None, run_id: str | None = None) -> Envelope | None:
        """Make the oldest run that waits, and whose lane is free, this worker's; None where there is none.

        known: the workflows that this worker can run. lane, run_id: only one of these; a run's turn is not jumped.
        """
        if not self.ledger.runs(status="queued"):
            return None  # the common case costs no lock
        with self.ledger.transaction() as transaction:
            busy = {run.lane for run in transaction.runs(status="running") if run.lane}
            for run in transaction.runs(status="queued"):
                wanted = (lane is None or run.lane == lane) and (run_id is None or run.run == run_id)
                if run.lane not in busy and run.workflow in known and wanted:
                    envelope = _envelope(transaction, run)
                    self._start(transaction, envelope)
                    return envelope
                if run.lane:
                    busy.add(run.lane)
        return None

    def _start(self, transaction: Transaction, envelope: Envelope) -> None:
        named: dict[str, Any] = {name: envelope.text(name) for name in ("model", "spec", "spec_hash", "trigger")}
        payload = RunStarted(
            run=envelope.run_id,
            workflow=envelope.workflow,
            slot=self.slot,
            inputs=self.summary(envelope.inputs),
            **named,
        )
        key = run_key(envelope.run_id)
        transaction.append("run.started", envelope.run_id, payload, actor=envelope.actor, cause=envelope.cause, key=key)

    def take_over(self, run: RunState, sentence: str, *, told: bool = True) -> Envelope | None:
        """Make a run whose worker is gone this worker's; None where another was faster, or it ended meanwhile.

        told: whether a fact says so; none does of a run that this very process broke off.
        """
        with self.ledger.transaction() as transaction:
            now = transaction.run(run.run)
            if now.status != "running" or now.slot != run.slot or now.last_seq != run.last_seq:
                return None
            if told:
                taken = RunTaken(run=run.run, slot=self.slot, taken_from=run.slot, sentence=sentence)
                transaction.append("run.taken", run.run, taken, actor=self.slot, cause=run.seq)
            return _envelope(transaction, run)

    def holds(self, reads: Transaction | Ledger, run_id: str) -> bool:
        """Whether the run is still this worker's to write about; one that has ended is nobody's: it changes no more."""
        run = reads.run(run_id)
        return run.slot == self.slot or not run.open


def _is_same(waiting: RunState, wanted: Envelope) -> bool:
    same_work = waiting.workflow == wanted.workflow and waiting.lane == wanted.lane
    return bool(wanted.fold) and wanted.retry_of is None and same_work and waiting.fold == wanted.fold


def _envelope(transaction: Transaction, run: RunState) -> Envelope:
    queued = transaction.keyed(run.run, "run", _QUEUED)
    first = transaction.fact(run.seq)
    return Envelope(
        run_id=run.run,
        workflow=run.workflow,
        inputs=dict(run.inputs),
        actor=first.actor,
        cause=first.cause,
        lane=run.lane,
        fold=run.fold,
        retry_of=None if queued is None else queued.payload["retry_of"],
        from_step=None if queued is None else queued.payload["from_step"],
    )
