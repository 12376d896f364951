"""Appending: what is written, once, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from everloop.clock import SimulatedClock
from everloop.errors import Conflict, LedgerError, NotFound
from everloop.ledger import KINDS, Ledger, NoticeSent, SpecApproved

from . import scenes


def test_a_fact_says_who_what_when_and_why(ledger: Ledger, clock: SimulatedClock) -> None:
    first = scenes.notice(ledger)
    clock.advance(timedelta(hours=3))
    payload = SpecApproved(model="fraud", spec="fraud-s1", spec_hash="h", by="alice")
    fact = ledger.append("spec.approved", "fraud-s1", payload, actor="alice", cause=first.seq)
    assert (fact.seq, fact.cause, fact.actor, fact.at) == (2, 1, "alice", clock.now())
    assert fact.payload["by"] == "alice"
    assert ledger.fact(2) == fact
    assert ledger.facts(subject="fraud-s1") == [fact]
    assert ledger.last("spec.approved") == fact
    assert ledger.head().hash == fact.hash


def test_it_is_all_there_when_opened_again(open_ledger: Callable[[], Ledger]) -> None:
    written = scenes.notice(open_ledger())
    again = open_ledger()
    assert again.facts() == [written]
    assert again.verify().ok


def test_facts_are_found_by_kind_and_position(ledger: Ledger) -> None:
    for word in ("one", "two", "three"):
        scenes.notice(ledger, word)
    scenes.alert(ledger)
    assert [fact.seq for fact in ledger.facts(kind="notice.sent", after=1)] == [2, 3]
    assert [fact.seq for fact in ledger.facts(kind=["alert.opened", "notice.sent"], limit=2, newest_first=True)] == [
        4,
        3,
    ]
    with pytest.raises(NotFound, match="the last is 4"):
        ledger.fact(9)


def test_facts_are_found_by_actor_time_and_model(ledger: Ledger, clock: SimulatedClock) -> None:
    begin = clock.now()
    ledger.append("project.created", "payments", {"project": "payments", "models": ["fraud", "eta"]}, actor="olga")
    for number, model in enumerate(("eta", "fraud")):
        clock.advance(timedelta(hours=1))
        run = f"r-{number}"
        ledger.append("run.started", run, {"run": run, "workflow": "train", "model": model}, actor="bob")
        ledger.append("run.step", run, {"run": run, "step": "fit", "position": 1, "seconds": 1.0}, actor="w1")
    scenes.alert(ledger)
    scenes.notice(ledger, "of no model")

    def seqs(**asked: Any) -> list[int]:
        return [fact.seq for fact in ledger.facts(**asked)]

    assert seqs(actor="bob") == [2, 4]
    assert seqs(since=begin + timedelta(hours=1)) == [2, 3, 4, 5, 6, 7]
    assert seqs(until=begin + timedelta(hours=1)) == [1]
    assert seqs(since=begin, until=begin + timedelta(hours=2), kind="run.step") == [3]
    assert seqs(model="eta") == [1, 2, 3]
    assert seqs(model="fraud") == [1, 4, 5, 6]
    assert seqs(model="fraud", limit=2, newest_first=True) == [6, 5]
    assert seqs(model="fraud", actor="w1") == [5]
    assert seqs(model="none") == []


def test_a_key_writes_once(ledger: Ledger) -> None:
    payload = NoticeSent(channel="log", sentence="s", delivered=True)
    key = ("r-1", "fit", 1)
    first = ledger.append("notice.sent", "team", payload, actor="a", key=key)
    second = ledger.append("notice.sent", "team", payload, actor="a", key=key)
    assert first == second
    assert ledger.facts() == [first]
    assert ledger.facts(run="r-1") == [first]
    with pytest.raises(Conflict, match="belongs to fact 1"):
        ledger.append("notice.sent", "others", payload, actor="a", key=key)


def test_a_version_is_registered_once_under_a_key(ledger: Ledger) -> None:
    key = ("r-000001", "register", 1)
    first, fact = ledger.register_version("fraud", scenes.candidate(), actor="worker", key=key)
    again, same = ledger.register_version("fraud", scenes.candidate(), actor="worker", key=key)
    assert (first, fact) == (again, same)
    assert scenes.register(ledger, bundle="b2").number == 2


@pytest.mark.parametrize(
    ("kind", "payload", "sentence"),
    [
        ("notice.lost", {}, "there is no kind of fact 'notice.lost'"),
        ("notice.sent", {"channel": "log", "sentence": "s"}, "missing required field `delivered`"),
        ("notice.sent", {"channel": "log", "sentence": "s", "delivered": "yes"}, "Expected `bool`"),
        ("notice.sent", {"channel": "log", "sentence": "s", "delivered": True, "colour": 1}, "unknown field `colour`"),
        ("spec.approved", NoticeSent(channel="log", sentence="s", delivered=True), "not NoticeSent"),
        ("notice.sent", {"channel": "l", "sentence": "s", "delivered": True, "details": {"x": object()}}, "object"),
        ("version.registered", scenes.candidate(), "use register_version"),
    ],
)
def test_what_is_no_fact_is_refused_and_nothing_written(
    ledger: Ledger, kind: str, payload: object, sentence: str
) -> None:
    with pytest.raises(LedgerError, match=sentence):
        ledger.append(kind, "x", payload, actor="a")  # type: ignore[arg-type]
    assert ledger.facts() == []


def test_numpy_and_paths_are_written_as_plain_values(ledger: Ledger) -> None:
    details = {"x": np.float64(0.5), "y": np.arange(2), "z": Path("a/b"), "n": float("nan")}
    payload = NoticeSent(channel="log", sentence="s", delivered=True, details=details)
    fact = ledger.append("notice.sent", "team", payload, actor="a")
    assert fact.payload["details"] == {"x": 0.5, "y": [0, 1], "z": "a/b", "n": None}


def test_a_cause_must_be_a_fact_that_was_there(ledger: Ledger) -> None:
    with pytest.raises(LedgerError, match="names fact 7 as its cause"):
        ledger.append("notice.sent", "t", {"channel": "l", "sentence": "s", "delivered": True}, actor="a", cause=7)


def test_a_transaction_is_all_or_nothing(ledger: Ledger) -> None:
    payload = NoticeSent(channel="log", sentence="s", delivered=True)
    with pytest.raises(ZeroDivisionError), ledger.transaction() as transaction:  # noqa: PT012  the block is the subject
        transaction.append("notice.sent", "team", payload, actor="a")
        transaction.register_version("fraud", scenes.candidate(), actor="a")
        assert len(transaction.versions("fraud")) == 1
        raise ZeroDivisionError
    assert ledger.facts() == []
    assert ledger.versions("fraud") == []


def test_a_conflict_that_is_caught_leaves_nothing_behind(ledger: Ledger) -> None:
    with ledger.transaction() as transaction:
        with pytest.raises(Conflict, match="no open alert a-9"):
            transaction.append("alert.closed", "a-9", {"alert": "a-9", "model": "m", "reason": "r"}, actor="a")
        transaction.append("notice.sent", "t", {"channel": "l", "sentence": "s", "delivered": True}, actor="a")
    assert [fact.kind for fact in ledger.facts()] == ["notice.sent"]
    assert ledger.verify().ok


def test_every_kind_has_a_subject_word_and_a_past_verb() -> None:
    assert list(KINDS) == sorted(KINDS)
    assert all(kind.count(".") == 1 and record.__doc__ for kind, record in KINDS.items())
