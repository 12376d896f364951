"""A history's digest: two replays of one seed have the same, however fast their machines were and wherever they ran."""

from __future__ import annotations

import hashlib
from typing import Any, Final

import msgspec

from everloop.ledger import Fact, Ledger

__all__ = ["history_digest", "steady_facts"]

# sources: the files that live traffic was moved into are cut by time; the rows in them have a hash of their own
_MACHINES_OWN: Final = frozenset({"code", "environment", "modifier", "seconds", "slot", "sources"})
_FOLDERS_OWN: Final = "project.created"


def steady_facts(ledger: Ledger) -> list[tuple[Any, ...]]:
    """Every fact, oldest first, without what a machine, its speed, its user or a folder's name decides."""
    return [_steady_fact(fact) for fact in ledger.facts() if fact.kind != _FOLDERS_OWN]


def history_digest(ledger: Ledger) -> str:
    """Lower-case hexadecimal sha256 of `steady_facts`."""
    return hashlib.sha256(msgspec.json.encode(steady_facts(ledger), order="sorted")).hexdigest()


def _steady_fact(fact: Fact) -> tuple[Any, ...]:
    return fact.seq, fact.at, fact.actor, fact.kind, fact.subject, fact.cause, _steady(fact.payload)


def _steady(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _steady(item) for key, item in value.items() if key not in _MACHINES_OWN}
    if isinstance(value, list):
        return [_steady(item) for item in value]
    return value
