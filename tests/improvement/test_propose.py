"""A proposal: the next spec with its parent, its diff and its reason; one per attempt, whatever was killed when."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from everloop.errors import NotFound
from everloop.improvement import Investigation, propose
from everloop.improvement.variation import best_variation, variants
from everloop.ledger import AlertState, Ledger, Transaction
from everloop.project import Spec

from .conftest import Case
from .place import CHANGE, Place


class Killed(BaseException):
    """The process ended here."""


class Dying(Ledger):
    """Dies when it is asked to write."""

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        raise Killed
        yield  # type: ignore[unreachable]


@pytest.fixture(scope="module")
def asked(case: Case) -> tuple[AlertState, Investigation]:
    return case.alert, case.made


def test_the_next_spec_has_parent_diff_reason_and_chain(place: Place, asked: tuple[AlertState, Investigation]) -> None:
    alert, made = asked
    proposal = place.propose(alert, made)

    spec = place.model.spec(proposal.spec.name)
    assert spec == proposal.spec
    assert (spec.parent, spec.learner, spec.approval) == ("fraud-s1", "lightgbm", None)
    assert spec.number == 2
    for part in (alert.alert, str(made.rule), f"{CHANGE:%Y-%m-%d}", "A retrain on what is known by now catches"):
        assert part in spec.reason
    parent = place.model.spec("fraud-s1")
    assert spec.features == parent.features
    assert spec.hyperparameters == parent.hyperparameters
    assert spec.diff["data.end"]["to"] > spec.diff["data.end"]["from"]
    assert spec.expected["recall"]["point"] == made.findings["repair"]["retrained"]["point"]
    assert spec.data["rows"] == place.known().frame.height
    chain = [fact.kind for fact in place.ledger.chain_of(proposal.fact.seq)]
    assert chain == ["proposal.made", "spec.written", "investigation.made", "alert.opened"]
    written = place.ledger.last("spec.written", spec.name)
    assert written is not None
    assert (written.cause, written.payload["trigger"], written.payload["alert"]) == (made.seq, "alert", alert.alert)
    assert written.payload["spec_hash"] == spec.hash == proposal.fact.payload["spec_hash"]
    assert place.ledger.alert(alert.alert).proposal == spec.name


def test_repeated_it_is_the_same_and_a_second_attempt_another(
    place: Place, asked: tuple[AlertState, Investigation]
) -> None:
    alert, made = asked
    first, again = place.propose(alert, made), place.propose(alert, made)
    assert first == again
    second = place.propose(alert, made, attempt=2)
    assert second.spec.number == first.spec.number + 1
    assert "time 2" in second.spec.reason
    assert place.propose(alert, made, attempt=2) == second


def test_killed_between_file_and_fact_it_finds_its_own_spec(place: Place, case: Case) -> None:
    alert, made = place.alert("a-killed"), case.made
    dying = Dying.open(place.project, clock=place.clock)
    with pytest.raises(Killed):
        propose(place.model, alert, made, ledger=dying, clock=place.clock)
    dying.close()
    left = place.model.specs()[-1]
    assert left.data["alert"] == "a-killed"
    assert place.ledger.last("spec.written", left.name) is None

    proposal = place.propose(alert, made)

    assert proposal.spec == left
    assert place.model.specs()[-1] == left
    assert place.ledger.keyed("alert:a-killed", "propose", 1) == proposal.fact


def test_variants_are_the_parents_but_for_one_change() -> None:
    spec = Spec.new(
        name="fraud-s1",
        objective="average_precision",
        learner="xgboost",
        hyperparameters={"num_round": 100, "eta": 0.2},
    )
    assert variants(spec) == [
        {"num_round": 100, "eta": 0.2, "max_depth": 8},
        {"num_round": 150, "eta": 0.2},
    ]
    assert variants(spec.model_copy(update={"learner": "logistic", "hyperparameters": {}})) == []


def test_variants_of_a_blend_make_every_member_larger_at_once() -> None:
    said = {"1.learner": "xgboost", "1.num_round": 100, "2.learner": "logistic", "3.learner": "lightgbm"}
    spec = Spec.new(name="fraud-s1", objective="average_precision", learner="blend", hyperparameters=said)
    grown = [{name: value for name, value in one.items() if said.get(name) != value} for one in variants(spec)]
    assert {"1.max_depth": 8} in grown
    assert {"3.num_leaves": 62} in grown
    assert {"1.num_round": 150, "3.n_estimators": 150} in grown
    assert len(grown) == 3


def test_hyperparameters_change_only_where_clearly_better(place: Place) -> None:
    spec = place.model.spec("fraud-s1")
    known = place.known()
    kept = best_variation(known.frame.head(2_000), place.tree, spec, since=None, clock=place.clock)
    assert kept.changed == ()
    tiny = spec.model_copy(update={"hyperparameters": {"n_estimators": 2, "num_leaves": 4}})
    grown = best_variation(known.frame.tail(30_000), place.tree, tiny, since=CHANGE, clock=place.clock)
    assert len(grown.changed) == 1
    assert "average precision" in grown.sentence


def test_without_a_champion_there_is_nothing_to_follow(place: Place, asked: tuple[AlertState, Investigation]) -> None:
    alert, made = asked
    other = place.model.model_copy(update={"name": "other"})
    orphan = replace(made, findings={})
    with pytest.raises(NotFound, match="no champion"):
        propose(other, replace(alert, alert="a-orphan"), orphan, ledger=place.ledger, clock=place.clock)
