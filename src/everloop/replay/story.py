"""The story of a replay, told from the ledger's facts: what happened on which day, a line each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from everloop.ledger import Fact, Ledger
from everloop.replay.world import WorldPlan

__all__ = ["Event", "History", "change_event", "read_history", "shortened", "story_of", "told_facts"]

JSON = Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A line of the story. kind: the fact's, or `world` for what the company could not know."""

    at: datetime
    kind: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """What of the ledger a summary counts: facts by kind, oldest first."""

    facts: Mapping[str, tuple[Fact, ...]]

    def of(self, kind: str) -> tuple[Fact, ...]:
        """The facts of a kind."""
        return self.facts.get(kind, ())

    @property
    def alerts(self) -> tuple[Fact, ...]:
        """Every alert that was opened."""
        return self.of("alert.opened")

    @property
    def promotions(self) -> tuple[Fact, ...]:
        """Every challenger that became champion by its rollout."""
        return self.of("rollout.promoted")

    @property
    def refusals(self) -> tuple[Fact, ...]:
        """Every run that a gate refused."""
        return self.of("run.refused")

    @property
    def rollbacks(self) -> tuple[Fact, ...]:
        """Every challenger taken back by its guardrails or by the comparison, and every champion that gave way."""
        stopped = [fact for fact in self.of("rollout.stopped") if _taken_back(fact)]
        return tuple(sorted([*stopped, *self.of("rollback.done")], key=lambda fact: fact.seq))

    def first_exposure(self, since: datetime) -> datetime | None:
        """When a challenger's answers were first given to customers, from `since` on."""
        for fact in self.of("rollout.moved"):
            if fact.at >= since and fact.payload.get("mode") == "canary" and (fact.payload.get("share") or 0) > 0:
                return fact.at
        return None


def _taken_back(fact: Fact) -> bool:
    if fact.payload.get("verdict") is not None:
        return True
    comparison = fact.payload.get("details", {}).get("comparison") or {}
    return bool(comparison.get("outcome") == "worse")


def read_history(ledger: Ledger) -> History:
    """All facts of the kinds that a story has lines for."""
    kinds = {*_LINES, "rollback.done"}
    return History(facts={kind: tuple(ledger.facts(kind=kind)) for kind in sorted(kinds)})


def told_facts(ledger: Ledger, *, after: int = 0) -> list[Event]:
    """The lines of the facts that came after `after`, in their order."""
    return [event for fact in ledger.facts(after=after) if (event := _event(fact)) is not None]


def story_of(history: History, plan: WorldPlan) -> list[Event]:
    """The story by time; the hidden change is told where it lies."""
    facts = sorted((fact for kind in _LINES for fact in history.of(kind)), key=lambda fact: fact.seq)
    events = [event for fact in facts if (event := _event(fact)) is not None]
    change = change_event(plan)
    if change is not None:
        events.insert(sum(event.at <= change.at for event in events), change)
    return events


def change_event(plan: WorldPlan) -> Event | None:
    """What only the generator knows."""
    if plan.change_at is None:
        return None
    return Event(at=plan.change_at, kind="world", text="a new fraud pattern appears; nobody tells everloop")


def shortened(text: str, width: int) -> str:
    """The text in one line of at most so many characters."""
    line = " ".join(text.split())
    return line if len(line) <= width else line[: width - 1].rstrip() + "…"


def _event(fact: Fact) -> Event | None:
    line = _LINES.get(fact.kind)
    text = None if line is None else line(fact.payload, fact)
    return None if text is None else Event(at=fact.at, kind=fact.kind, text=text)


def _version(payload: JSON, fact: Fact) -> str | None:
    if payload["number"] == 1:
        return f"v1 from {payload['spec']} passes its gates and answers"
    return f"v{payload['number']} from {payload['spec']} passes its gates ({payload['trigger']})"


def _refused(payload: JSON, fact: Fact) -> str | None:
    failed = [one for one in payload["verdicts"] if one["outcome"] != "passed"]
    why = failed[0]["sentence"] if failed else payload["sentence"]
    return f"a gate refuses {fact.actor}'s {payload['run']}: {why}"


def _moved(payload: JSON, fact: Fact) -> str | None:
    return f"v{payload['version']} answers {payload['sentence']} of the customers" if payload.get("share") else None


def _stopped(payload: JSON, fact: Fact) -> str | None:
    what = "rolled back" if _taken_back(fact) else "given up"
    return f"v{payload['version']} {what}: {payload['sentence']}"


_LINES: Final[Mapping[str, Callable[[JSON, Fact], str | None]]] = {
    "alert.closed": lambda payload, fact: f"alert {payload['alert']} closed: {payload['reason']}",
    "alert.opened": lambda payload, fact: (
        f"alert {payload['alert']} ({payload['evidence_kind']}): {payload['sentence']}"
    ),
    "investigation.made": lambda payload, fact: f"investigated: {payload['sentence']}",
    "proposal.made": lambda payload, fact: f"{payload['spec']} proposed: {payload['reason']}",
    "rollout.moved": _moved,
    "rollout.promoted": lambda payload, fact: f"v{payload['version']} promoted: {payload['sentence']}",
    "rollout.started": lambda payload, fact: f"v{payload['version']} tried in {payload['steps'][0]}",
    "rollout.stopped": _stopped,
    "run.failed": lambda payload, fact: f"{payload['run']} waits: {payload['sentence']}",
    "run.refused": _refused,
    "version.registered": _version,
}
