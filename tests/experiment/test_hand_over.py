"""The winner becomes a file that people review, and someone answers for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from everloop.actors import Actor
from everloop.clock import SystemClock
from everloop.errors import NotFound, Refused
from everloop.experiment import Leaderboard, approve, search, write_winner
from everloop.experiment.judging import reported
from everloop.ledger import Ledger, SpecWritten
from everloop.project import Model, Objective, Project, read_spec, spec_text, write_spec
from tests.experiment.made import opened, payments, project

CLOCK = SystemClock()


@pytest.fixture(scope="module")
def boards(tmp_path_factory: pytest.TempPathFactory) -> tuple[Leaderboard, Leaderboard]:
    """Two searches on the same data, by two seeds."""
    made = project(tmp_path_factory.mktemp("boards") / "p", payments(), learners="lightgbm, logistic")
    one, two = (search(*made, clock=CLOCK, trials=2 + seed, seed=seed, jobs=1) for seed in (0, 1))
    return one, two


@pytest.fixture
def made(tmp_path: Path) -> tuple[Project, Model]:
    return project(tmp_path / "p", payments(), learners="lightgbm, logistic")


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.open(tmp_path / "ledger.db", clock=CLOCK) as opened_ledger:
        yield opened_ledger


def proven(name: str) -> Actor:
    return Actor(name=name, proof="key", evidence={"proof": "key", "key": "k"})


Boards = tuple[Leaderboard, Leaderboard]
Made = tuple[Project, Model]


def test_the_spec_says_what_won_and_what_it_promises(boards: Boards, made: Made, ledger: Ledger) -> None:
    board, (_, model) = boards[0], made
    spec = write_winner(model, board, ledger=ledger, clock=CLOCK)
    read = read_spec(model.spec_path(1))
    winner = board.winner
    assert winner is not None
    assert read == spec
    assert read.hash == spec.hash
    assert (read.learner, dict(read.hyperparameters)) == (winner.trial.learner, dict(winner.trial.hyperparameters))
    assert read.threshold == winner.trial.threshold
    assert read.features == board.data.features
    assert read.expected["recall"]["point"] == winner.metrics["recall"].point
    assert read.expected[board.objective]["low"] <= read.expected[board.objective]["point"]
    assert read.data["rows"] == 3_000
    assert read.yardsticks.keys() == {"constant", "logistic"}
    fact = ledger.last("spec.written", "fraud-s1")
    assert fact is not None
    assert fact.payload["spec_hash"] == spec.hash
    assert fact.payload["trigger"] == "search"


def test_a_repeated_search_finds_its_spec_again_and_another_one_gets_the_next_number(
    boards: Boards, made: Made, ledger: Ledger
) -> None:
    _, model = made
    first = write_winner(model, boards[0], ledger=ledger, clock=CLOCK)
    before = model.spec_path(1).read_bytes()
    assert write_winner(model, boards[0], ledger=ledger, clock=CLOCK).name == first.name == "fraud-s1"
    assert len(ledger.facts()) == 1
    assert write_winner(model, boards[1], ledger=ledger, clock=CLOCK).name == "fraud-s2"
    assert model.spec_path(1).read_bytes() == before
    assert [fact.subject for fact in ledger.facts()] == ["fraud-s1", "fraud-s2"]


def test_a_kill_between_the_file_and_its_fact_is_made_good(boards: Boards, made: Made, tmp_path: Path) -> None:
    _, model = made
    with Ledger.open(tmp_path / "lost.db", clock=CLOCK) as lost:
        spec = write_winner(model, boards[0], ledger=lost, clock=CLOCK)
    with Ledger.open(tmp_path / "kept.db", clock=CLOCK) as kept:  # it never heard of the file
        assert write_winner(model, boards[0], ledger=kept, clock=CLOCK) == spec
        fact = kept.last("spec.written")
        assert fact is not None
        assert fact.payload["spec_hash"] == spec.hash
    assert [one.name for one in model.specs()] == ["fraud-s1"]


def test_an_approval_is_a_fact_and_the_file_holds_its_copy(boards: Boards, made: Made, ledger: Ledger) -> None:
    where, model = made
    spec = write_winner(model, boards[0], ledger=ledger, clock=CLOCK)
    approved = approve(where, model, "s1", by="alice", ledger=ledger)
    given = ledger.approval("fraud", spec.hash)
    assert given is not None
    assert given.by == "alice"
    assert approved.hash == spec.hash
    assert read_spec(model.spec_path(1)).approval == approved.approval
    assert [fact.cause for fact in ledger.facts(kind="spec.approved")] == [1]

    again = approve(where, model, "fraud-s1", by="bob", ledger=ledger)
    assert again.approval == approved.approval
    assert len(ledger.facts(kind="spec.approved")) == 1


def test_a_changed_spec_asks_for_another_approval(boards: Boards, made: Made, ledger: Ledger) -> None:
    where, model = made
    write_winner(model, boards[0], ledger=ledger, clock=CLOCK)
    approved = approve(where, model, "fraud-s1", by="alice", ledger=ledger)
    edited = approved.model_copy(update={"threshold": 0.9})
    write_spec(model.spec_path(1), edited)
    assert ledger.approval("fraud", edited.hash) is None

    approve(where, model, "fraud-s1", by="bob", ledger=ledger)
    facts = ledger.facts(kind="spec.approved")
    assert [(fact.actor, fact.payload["details"]["edited"]) for fact in facts] == [("alice", False), ("bob", True)]


def test_an_unknown_spec_names_what_there_is(boards: Boards, made: Made, ledger: Ledger) -> None:
    where, model = made
    with pytest.raises(NotFound, match="everloop search"):
        approve(where, model, "fraud-s1", by="alice", ledger=ledger)
    write_winner(model, boards[0], ledger=ledger, clock=CLOCK)
    with pytest.raises(NotFound, match="fraud-s1"):
        approve(where, model, "fraud-s7", by="alice", ledger=ledger)


def test_only_those_who_may_approve(boards: Boards, made: Made, ledger: Ledger) -> None:
    (made[0].root / "everloop.yaml").write_text("roles: {approver: [alice]}\n")
    where, model = opened(made[0].root)
    write_winner(model, boards[0], ledger=ledger, clock=CLOCK)
    for by, told in (("alice", "nothing shows who you are"), (proven("mallory"), "In everloop.yaml they are alice")):
        with pytest.raises(Refused, match=told):
            approve(where, model, "fraud-s1", by=by, ledger=ledger)
    assert read_spec(model.spec_path(1)).approval is None
    approve(where, model, "fraud-s1", by=proven("alice"), ledger=ledger)
    (fact,) = ledger.facts(kind="spec.approved")
    assert (fact.actor, fact.payload["details"]["proof"], fact.payload["details"]["key"]) == ("alice", "key", "k")


def test_who_wrote_a_spec_cannot_approve_it(boards: Boards, made: Made, ledger: Ledger) -> None:
    path = made[1].folder / "model.yaml"
    path.write_text(path.read_text() + "approval: {by: approver, not_author: true}\n")
    where, model = opened(made[0].root)
    write_winner(model, boards[0], ledger=ledger, clock=CLOCK, actor="alice")
    with pytest.raises(Refused, match=r"everloop\.yaml names none: add roles: \{approver"):
        approve(where, model, "fraud-s1", by="bob", ledger=ledger)
    (made[0].root / "everloop.yaml").write_text("roles: {approver: [alice, bob]}\n")
    where, model = opened(made[0].root)
    with pytest.raises(Refused, match="alice wrote fraud-s1"):
        approve(where, model, "fraud-s1", by=proven("alice"), ledger=ledger)
    with pytest.raises(Refused, match=r"policy:on_alert is none; everloop\.yaml may name it"):
        approve(where, model, "fraud-s1", by=Actor.policy("policy:on_alert"), ledger=ledger)
    assert ledger.facts(kind="spec.approved") == []
    approve(where, model, "fraud-s1", by=proven("bob"), ledger=ledger)

    # without roles the login name counts besides the word that was given
    (made[0].root / "everloop.yaml").write_text("{}\n")
    path.write_text(path.read_text().replace("by: approver, ", ""))
    where, model = opened(made[0].root)
    edited = read_spec(model.spec_path(1)).model_copy(update={"name": "fraud-s2", "seed": 7})
    write_spec(model.spec_path(2), edited)
    ledger.append("spec.written", "fraud-s2", SpecWritten.of(edited, trigger="search"), actor="alice")
    with pytest.raises(Refused, match="alice wrote fraud-s2"):
        approve(where, model, "fraud-s2", by="carol", ledger=ledger, login="alice")
    approve(where, model, "fraud-s2", by="carol", ledger=ledger, login="carol")
    # that the roles were there, and then were not, is in the chain before the approvals are
    assert [(fact.kind, fact.actor) for fact in ledger.facts(kind=("roles.changed", "spec.approved"))] == [
        ("roles.changed", "bob"),
        ("spec.approved", "bob"),
        ("roles.changed", "carol"),
        ("spec.approved", "carol"),
    ]


def test_every_metric_is_promised_with_its_interval_on_the_test_rows(
    boards: Boards, made: Made, ledger: Ledger
) -> None:
    board, (_, model) = boards[0], made
    spec = write_winner(model, board, ledger=ledger, clock=CLOCK)
    names = {board.objective, *reported(Objective.parse(board.objective), task="classification")}
    assert spec.expected.keys() == names
    for estimate in spec.expected.values():
        assert estimate["low"] <= estimate["point"] <= estimate["high"]
        assert estimate["level"] == 0.95
    assert {name: values.keys() for name, values in spec.yardsticks.items()} == {
        name: names - {board.objective} for name in ("constant", "logistic")
    }


def test_a_search_that_is_run_again_writes_no_second_spec(made: Made, ledger: Ledger) -> None:
    where, model = made
    first = write_winner(model, search(where, model, clock=CLOCK, trials=2, jobs=1), ledger=ledger, clock=CLOCK)
    text = model.spec_path(1).read_bytes()
    again = write_winner(model, search(where, model, clock=CLOCK, trials=2, jobs=1), ledger=ledger, clock=CLOCK)
    assert again == first
    assert [spec.name for spec in model.specs()] == ["fraud-s1"]
    assert model.spec_path(1).read_bytes() == text == spec_text(first).encode()
