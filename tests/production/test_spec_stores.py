"""A model whose configuration lives in a store: what its runs train, what they write down, and what they refuse."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from everloop.clock import SimulatedClock
from everloop.errors import ConfigurationError, IntegrationError, NotFound, Refused
from everloop.experiment import approve
from everloop.ledger import Ledger
from everloop.production import (
    Configuration,
    FileSpecs,
    MemorySpecs,
    PipelineResources,
    approved_spec,
    arrive,
    as_spec,
    open_store,
    put_spec,
    read_notebook_file,
    start_training,
    training_workflow,
    trains_the_same,
)
from everloop.production.pipeline import PIPELINE
from everloop.project import Model, Project, Source, Spec, write_spec
from everloop.workflows import Engine, RunResult, Step, Workflow

from ..experiment.made import opened
from .shop import NOW, add_spec, died_at, shop, train

ADDRESS = "memory:fraud"


@pytest.fixture
def made(tmp_path: Path) -> tuple[Project, Model]:
    """A model that is configured in memory, with a spec of its own that nobody approved."""
    found, model = shop(tmp_path / "shop", rows=5_000, gates="gates: [accuracy >= 0.5]\n")
    path = model.folder / "model.yaml"
    path.write_text(path.read_text() + f"specs: {ADDRESS}\n")
    return opened(found.root)


@pytest.fixture
def ledger(made: tuple[Project, Model]) -> Iterator[Ledger]:
    assert made[0].state.is_dir()
    with Ledger.open(made[0], clock=CLOCK) as opened_ledger:
        yield opened_ledger


CLOCK = SimulatedClock(NOW)
Made = tuple[Project, Model]


def a_store() -> MemorySpecs:
    return MemorySpecs(clock=CLOCK, address=ADDRESS)


def hand(version: str = "h7", modifier: str = "ann", learner: str | None = "xgboost", **params: Any) -> Configuration:
    """What somebody set by hand."""
    return Configuration(
        store=ADDRESS, version=version, modifier=modifier, learner=learner, hyperparameters=params, at=NOW
    )


@contextmanager
def engine_of(
    made: Made, ledger: Ledger, store: Any, *, attempts: int = 3, only: bool = True
) -> Iterator[tuple[Engine, PipelineResources]]:
    """An engine whose pipeline ends after its first step, unless all of it is wanted."""
    resources = replace(PipelineResources.of(made[0]), stores=lambda *_: store)
    first, *rest = training_workflow().steps
    steps = [Step(name=first.name, run=first.run, attempts=attempts), *([] if only else rest)]
    workflow = Workflow(name=PIPELINE, steps=steps)
    with Engine.open(made[0].paths, ledger=ledger, clock=CLOCK, workflows=[workflow], resources=resources) as engine:
        yield engine, resources


def run(
    made: Made, ledger: Ledger, store: Any, *, run_id: str, attempts: int = 3, only: bool = True, **options: Any
) -> RunResult:
    with engine_of(made, ledger, store, attempts=attempts, only=only) as (engine, resources):
        start_training(engine, resources, ledger, model=made[1], as_of=NOW, actor="ann", run_id=run_id, **options)
        return engine.wait(run_id)


def test_a_run_reads_the_store_when_it_runs_and_waits_for_an_approval(made: Made, ledger: Ledger) -> None:
    store, model = a_store(), made[1]
    spec = add_spec(model, 1, hyperparameters={"n_estimators": 50, "num_leaves": 7})
    store.put(spec, actor="ann")
    refused = run(made, ledger, store, run_id="r-one")
    assert refused.status == "refused"
    assert refused.sentence == (
        "fraud-s1, which arrived from memory:fraud, version 1, by ann, is not approved; review it and run "
        "'everloop approve fraud-s1 --by NAME'"
    )
    approve(*made, "fraud-s1", by="alice", ledger=ledger)
    result = run(made, ledger, store, run_id="r-two")
    assert result.status == "finished", result.sentence
    assert (result.state["spec"], result.state["spec_hash"]) == ("fraud-s1", model.spec("fraud-s1").hash)
    assert result.state["source"] == {"store": ADDRESS, "version": "1", "modifier": "ann"}
    assert [one.name for one in model.specs()] == ["fraud-s1"], "the same content is no new number"
    assert ledger.run("r-two").spec == "fraud-s1"


def test_a_run_writes_down_exactly_what_it_trains_and_where_that_came_from(made: Made, ledger: Ledger) -> None:
    from everloop.production import Part

    class Hand(MemorySpecs):
        def get(self, version: str | None = None) -> Configuration:
            parts = {"hyperparameters/max_depth": Part(version="3", modifier="bob")}
            return replace(hand(max_depth="7", eta="0.15", num_round=20), parts=parts)

    store = Hand(clock=CLOCK, address=ADDRESS)
    arrival = arrive(made[1], store.get(), ledger=ledger, clock=CLOCK)
    assert (arrival.spec.name, arrival.new) == ("fraud-s2", True)
    assert arrival.spec.source == Source(store=ADDRESS, version="h7", modifier="ann")
    assert arrival.spec.reason == "arrived from memory:fraud, version h7, by ann"
    approve(*made, "fraud-s2", by="alice", ledger=ledger)
    result = run(made, ledger, store, run_id="r-one", only=False)
    assert result.status == "finished", result.sentence
    (fact,) = ledger.facts(kind="run.configured")
    said = fact.payload
    assert (said["run"], said["store"], said["version"], said["modifier"]) == ("r-one", ADDRESS, "h7", "ann")
    wanted = {"max_depth": 7, "learning_rate": 0.15, "n_estimators": 20}
    assert {name: said["hyperparameters"][name] for name in wanted} == wanted
    assert said["parts"] == {"hyperparameters/max_depth": {"version": "3", "modifier": "bob"}}
    assert ledger.fact(said["approval"]).payload["by"] == "alice"
    kept = json.loads((made[0].paths.runs / "r-one" / "configuration.json").read_text())
    assert kept["hyperparameters"] == said["hyperparameters"]
    assert {name: result.state["fit"]["params"][name] for name in wanted} == wanted
    version = ledger.version("fraud", 1)
    assert (version.spec, version.spec_hash) == ("fraud-s2", arrival.spec.hash)
    assert {"run.started", "spec.approved", "spec.written"} <= {one.kind for one in ledger.why("fraud", 1)}


def test_files_are_written_down_too(tmp_path: Path) -> None:
    found, _ = shop(tmp_path / "shop", rows=5_000, gates="gates: [accuracy >= 0.5]\n")
    assert train(found, run_id="r-one").status == "finished"
    with Ledger.open(found, clock=CLOCK) as ledger:
        (fact,) = ledger.facts(kind="run.configured")
    assert (fact.payload["store"], fact.payload["version"]) == ("files", "fraud-s1")
    assert fact.payload["hyperparameters"] == {"n_estimators": 100, "num_leaves": 15}


class Down(MemorySpecs):
    """Does not answer for so many times."""

    def __init__(self, times: int) -> None:
        super().__init__(clock=CLOCK, address=ADDRESS)
        self.times = times
        self.asked = 0

    def get(self, version: str | None = None) -> Configuration:
        self.asked += 1
        if self.asked <= self.times:
            raise IntegrationError(f"{ADDRESS} does not answer")
        return super().get(version)


def test_a_store_that_is_down_is_waited_for_and_then_fails_the_run_in_a_sentence(made: Made, ledger: Ledger) -> None:
    model = made[1]
    approve(*made, "fraud-s1", by="alice", ledger=ledger)
    back = Down(2)
    back.put(model.spec(1), actor="ann")
    assert run(made, ledger, back, run_id="r-one").status == "finished"
    assert back.asked == 3
    gone = Down(99)
    result = run(made, ledger, gone, run_id="r-two")
    assert (result.status, result.sentence, result.error) == (
        "failed",
        f"{ADDRESS} does not answer",
        "IntegrationError",
    )
    assert gone.asked == 3
    assert [fact.payload["run"] for fact in ledger.facts(kind="run.configured")] == ["r-one"], "never a default"


def test_what_the_store_says_wrongly_is_refused_by_name_and_not_tried_again(made: Made, ledger: Ledger) -> None:
    class Typo(MemorySpecs):
        asked = 0

        def get(self, version: str | None = None) -> Configuration:
            self.asked += 1
            return hand(max_dept=7, eta="much")

    store = Typo(clock=CLOCK, address=ADDRESS)
    result = run(made, ledger, store, run_id="r-one")
    assert result.status == "refused"
    assert "memory:fraud, version h7: hyperparameters.max_dept: xgboost has no such hyperparameter; did you mean" in (
        result.sentence
    )
    assert "hyperparameters.eta: 'much' is not a number" in result.sentence
    assert store.asked == 1
    assert [one.name for one in made[1].specs()] == ["fraud-s1"]
    empty = run(made, ledger, a_store(), run_id="r-two")
    assert empty.status == "refused"
    assert empty.sentence == "memory:fraud holds no configuration; 'everloop spec put NAME' writes one there"


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        (
            hand(learner=None, max_depth=7),
            "it does not say what was fitted; say it there, or as specs.learner in fraud/model.yaml",
        ),
        (hand(learner="catboost"), "learner: 'catboost' is no learner of a classification; there are constant"),
        (replace(hand(), said={"features": ["v0", "amont"]}), "features: there is no feature 'amont'; did you mean"),
        (replace(hand(), said={"objective": "recal"}), "version h7: objective: 'recal' is not"),
        (replace(hand(), said={"seed": "seven"}), "version h7: seed: "),
        (replace(hand(), said={"calibration": "magic"}), "version h7: calibration: "),
    ],
)
def test_what_is_no_whole_configuration_is_one_sentence(
    made: Made, ledger: Ledger, found: Configuration, sentence: str
) -> None:
    with pytest.raises(ConfigurationError, match=sentence):
        arrive(made[1], found, ledger=ledger, clock=CLOCK)
    assert ledger.facts() == []


def test_what_it_does_not_say_is_the_models_own(made: Made, ledger: Ledger) -> None:
    model = made[1]
    spec, _ = as_spec(model, hand(max_depth=4), ledger=ledger, clock=CLOCK)
    assert spec.objective == str(model.objective)
    assert spec.features == ("v0", "v1", "v2", "v3", "amount", "amount_log", "night")
    assert (spec.seed, spec.calibration, spec.parent) == (0, model.calibration, None)
    said = {"objective": "f1", "features": ["v1", "v0"], "seed": 9, "calibration": "none", "reason": "tuned by hand"}
    spec, _ = as_spec(model, replace(hand(max_depth=4), said=said), ledger=ledger, clock=CLOCK)
    assert (spec.objective, spec.features, spec.seed, spec.calibration) == ("f1", ("v1", "v0"), 9, "none")
    assert spec.reason == "tuned by hand (memory:fraud, version h7, by ann)"


@pytest.mark.parametrize(
    ("arn", "actor"),
    [
        ("arn:aws:iam::123456789012:user/ann", "ssm:ann"),
        ("arn:aws:sts::123456789012:assumed-role/Training/bob", "ssm:Training/bob"),
        ("arn:aws:iam::123456789012:root", "ssm:root"),
        ("", "ssm:unknown"),
    ],
)
def test_trust_approves_in_the_name_of_the_aws_user_and_nothing_that_came_another_way(
    made: Made, ledger: Ledger, arn: str, actor: str
) -> None:
    found, model = made
    path = model.folder / "model.yaml"
    text = path.read_text().replace(f"specs: {ADDRESS}", "specs: ssm:/fraud\napproval: {trust: [ssm]}")
    path.write_text(text)
    model = opened(found.root)[1]
    arrival = arrive(model, replace(hand(modifier=arn, max_depth=4), store="ssm:/fraud"), ledger=ledger, clock=CLOCK)
    assert arrival.approval is not None
    assert arrival.approval.by == actor
    assert [fact.actor for fact in ledger.facts()] == [actor, actor]
    assert arrival.spec.source == Source(store="ssm:/fraud", version="h7", modifier=arn)
    brought = replace(hand(modifier="ann", max_depth=5), store="experiments/v2.yaml")
    assert arrive(model, brought, ledger=ledger, clock=CLOCK).approval is None
    assert [fact.actor for fact in ledger.facts()] == [actor, actor, "ann"]


def test_xgboosts_own_names_are_understood_and_its_objective_may_be_said(made: Made, ledger: Ledger) -> None:
    spec, _ = as_spec(
        made[1],
        hand(learner="XGBClassifier", objective="binary:logistic", num_round="150", eta="0.2", max_depth="5"),
        ledger=ledger,
        clock=CLOCK,
    )
    assert spec.learner == "xgboost"
    wanted = {"n_estimators": 150, "learning_rate": 0.2, "max_depth": 5}
    assert {name: spec.hyperparameters[name] for name in wanted} == wanted
    with pytest.raises(ConfigurationError, match=r"hyperparameters\.objective: 'rank:ndcg' cannot be chosen"):
        as_spec(made[1], hand(objective="rank:ndcg"), ledger=ledger, clock=CLOCK)


def test_a_partial_spec_is_found_again_and_an_approved_one_first(made: Made, ledger: Ledger) -> None:
    """A spec that names two settings, put whole, comes back as itself: what is not said has its default."""
    model, store = made[1], a_store()
    add_spec(model, 2)  # the same content as fraud-s1
    approve(*made, "fraud-s1", by="alice", ledger=ledger)
    found = store.put(model.spec(1), actor="ann")
    arrival = arrive(model, found, ledger=ledger, clock=CLOCK)
    assert (arrival.spec.name, arrival.new) == ("fraud-s1", False)
    assert arrival.approval is not None
    whole, _ = as_spec(model, found, ledger=ledger, clock=CLOCK)
    assert whole.content != model.spec(1).content
    assert trains_the_same(model, whole, model.spec(1))


def test_a_newer_file_that_is_approved_changes_nothing_where_a_store_says_otherwise(made: Made, ledger: Ledger) -> None:
    """One store for a model: files beside it are never merged in, nor taken in its place."""
    model, store = made[1], a_store()
    store.put(model.spec(1), actor="ann")
    add_spec(model, 2, learner="xgboost", hyperparameters={"max_depth": 3})
    for name in ("fraud-s1", "fraud-s2"):
        approve(*made, name, by="alice", ledger=ledger)
    result = run(made, ledger, store, run_id="r-one")
    assert result.state["spec"] == "fraud-s1"
    (fact,) = ledger.facts(kind="run.configured")
    assert (fact.payload["learner"], fact.payload["hyperparameters"]) == ("lightgbm", model.spec(1).hyperparameters)


def test_a_named_spec_is_trained_where_the_store_says_the_same(made: Made, ledger: Ledger) -> None:
    model, store = made[1], a_store()
    store.put(model.spec(1), actor="ann")
    add_spec(model, 2, hyperparameters={"n_estimators": 30})
    for name in ("fraud-s1", "fraud-s2"):
        approve(*made, name, by="alice", ledger=ledger)
    assert run(made, ledger, store, run_id="r-one", spec="fraud-s1").status == "finished"
    refused = run(made, ledger, store, run_id="r-two", spec="fraud-s2")
    assert refused.sentence == (
        "fraud is configured in memory:fraud, which does not say what fraud-s2 says; 'everloop spec put fraud-s2' "
        "writes it there, and without --spec a run takes what is there"
    )
    with pytest.raises(NotFound), engine_of(made, ledger, store) as (engine, resources):
        start_training(engine, resources, ledger, model=model, as_of=NOW, actor="ann", spec="fraud-s9")


def test_an_approved_answer_to_an_alert_goes_into_the_store_before_it_is_trained(made: Made, ledger: Ledger) -> None:
    model, store = made[1], a_store()
    store.put(model.spec(1), actor="ann")
    add_spec(model, 2, hyperparameters={"n_estimators": 30})
    approve(*made, "fraud-s2", by="policy:on_alert", ledger=ledger)
    result = run(made, ledger, store, run_id="r-one", spec="fraud-s2", trigger="alert", alert="a-one")
    assert result.status == "finished", result.sentence
    assert (result.state["spec"], result.state["source"]["version"]) == ("fraud-s2", "2")
    (fact,) = ledger.facts(kind="spec.put")
    assert (fact.actor, fact.payload["spec"], fact.payload["store"]) == ("policy:on_alert", "fraud-s2", ADDRESS)
    assert store.get().modifier == "policy:on_alert"


def test_a_put_that_changes_nothing_is_one_fact(made: Made, ledger: Ledger) -> None:
    model, store = made[1], a_store()
    for _ in range(2):
        put_spec(store, model, model.spec(1), ledger=ledger, actor="ann")
    assert len(ledger.facts(kind="spec.put")) == 1


def test_a_second_attempt_after_the_fact_goes_on_with_what_was_settled(made: Made, ledger: Ledger) -> None:
    """As after a crash: the store says something else by now, and the run what it said."""
    model, store = made[1], a_store()
    store.put(model.spec(1), actor="ann")
    approve(*made, "fraud-s1", by="alice", ledger=ledger)
    first = run(made, ledger, store, run_id="r-one")
    store.put(add_spec(model, 2, hyperparameters={"n_estimators": 30}), actor="bob")

    from everloop.production.configure import configure

    class Again:
        run_id, step, workdir = "r-one", "configure", made[0].paths.runs / "r-one"
        resources = None

    Again.ledger = ledger  # type: ignore[attr-defined]
    again = configure(Again(), {"model": "fraud"})  # type: ignore[arg-type]
    assert {name: first.state[name] for name in again} == again


@pytest.mark.slow
def test_a_run_killed_after_it_was_configured_trains_what_it_was_configured_with(tmp_path: Path) -> None:
    found, _ = shop(tmp_path / "shop", rows=5_000, gates="gates: [accuracy >= 0.5]\n")
    code, said = died_at(found.root, "r-one", "written:configure")
    assert code == -signal.SIGKILL, said
    assert train(found, run_id="r-one").status == "finished"
    with Ledger.open(found, clock=CLOCK) as ledger:
        assert len(ledger.facts(kind="run.configured")) == 1
        assert ledger.verify().ok


def test_one_store_a_model_and_an_unknown_one_is_named(made: Made) -> None:
    with pytest.raises(NotFound, match="memory:fraud is of no store that is installed; there are files, mlflow"):
        open_store(*made)


def test_an_edited_file_is_refused_while_a_run_begins(tmp_path: Path) -> None:
    found, model = shop(tmp_path / "shop", rows=2_000)
    with Ledger.open(found, clock=CLOCK) as ledger:
        assert found.state.is_dir()
        approve(found, model, "fraud-s1", by="alice", ledger=ledger)
        edited = model.spec(1).model_copy(update={"seed": 5})
        write_spec(model.spec_path(1), edited)
        with pytest.raises(Refused, match="fraud-s1 was changed after its approval"):
            approved_spec(model, ledger, name="fraud-s1")


NOTEBOOKS_FILE = """\
model:
  algorithm: xgboost
  version: 2.0
  hyperparameters:
    max_depth: 7
    eta: 0.15
    num_round: 150
  performance:
    accuracy: 0.961
    precision: 0.92
    recall: 0.88
  tested_date: 2024-01-31
  approved_by: data-science-team
"""


def test_a_file_that_a_notebook_wrote_becomes_a_spec(tmp_path: Path) -> None:
    found, model = shop(tmp_path / "shop", rows=2_000)
    path = tmp_path / "fraud-detection-v2.yaml"
    path.write_text(NOTEBOOKS_FILE)
    brought, notes = read_notebook_file(path, shown="experiments/fraud-detection-v2.yaml", by="ann")
    assert found.state.is_dir()
    with Ledger.open(found, clock=CLOCK) as ledger:
        arrival = arrive(model, brought, ledger=ledger, clock=CLOCK)
    assert arrival.spec.name == "fraud-s2"
    wanted = {"max_depth": 7, "learning_rate": 0.15, "n_estimators": 150}
    assert {name: arrival.spec.hyperparameters[name] for name in wanted} == wanted
    assert arrival.spec.source == Source(store="experiments/fraud-detection-v2.yaml", version="2.0", modifier="ann")
    assert (arrival.spec.expected, arrival.approval) == ({}, None)
    assert arrival.spec.reason.startswith("tested 2024-01-31 (")
    assert [note.split(" was left out")[0] for note in notes] == ["performance", "approved_by"]
    assert FileSpecs(model=model).get().version == "fraud-s2"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("model: {algorithm: xgboost, hyperparamters: {}}", r"model\.hyperparamters: unknown key; did you mean"),
        ("model: {algorithm: xgboost, hyperparameters: [1]}", r"hyperparameters: is a mapping of names to values"),
        ("algorithm: xgboost", r"a file is a spec, or says model: \{algorithm"),
        ("model: [", "x.yaml:"),
    ],
)
def test_a_file_that_says_something_else_is_refused_with_its_line(tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(ConfigurationError, match=sentence):
        read_notebook_file(tmp_path / "x.yaml", shown="x.yaml", by="ann")
    with pytest.raises(NotFound, match=r"there is no file y\.yaml"):
        read_notebook_file(tmp_path / "y.yaml", shown="y.yaml", by="ann")


def test_a_spec_from_elsewhere_is_put_under_the_next_number(tmp_path: Path) -> None:
    _, model = shop(tmp_path / "shop", rows=2_000)
    other = Spec.new(name="card-s9", objective="f1", learner="xgboost", hyperparameters={"max_depth": 3})
    assert FileSpecs(model=model).put(other, actor="ann").version == "fraud-s2"
    assert model.spec(2).hyperparameters == {"max_depth": 3}
