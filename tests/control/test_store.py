"""What somebody promotes in MLflow by hand starts a production run: arrival, approval, run, version, once each."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from everloop.clock import SimulatedClock
from everloop.control import Controller, Resources, status, why
from everloop.experiment import approve
from everloop.integrations.mlflow import Watch
from everloop.ledger import Ledger
from everloop.project import Project

from ..experiment.made import opened
from ..production.shop import NOW, shop

pytest.importorskip("mlflow", reason="the extra [mlflow] is not installed")

SPECS = "gates: [accuracy >= 0.5]\nspecs: {store: models:/FraudDetection@champion, learner: xgboost}\n"


@dataclass
class Office:
    """A worker's controller and its watch over MLflow, begun anew each turn."""

    resources: Resources
    clock: SimulatedClock
    client: Any

    def turn(self) -> list[str]:
        self.clock.advance(timedelta(minutes=1))
        Watch(self.resources.project, self.resources.ledger, self.clock).sync()
        return Controller(self.resources, wait=True).tick()

    def promote(self, **params: Any) -> None:
        """As a notebook does: log, register, promote."""
        run = self.client.create_run("0", tags={"mlflow.user": "ann"})
        for name, value in params.items():
            self.client.log_param(run.info.run_id, name, value)
        if not self.client.search_registered_models("name = 'FraudDetection'"):
            self.client.create_registered_model("FraudDetection")
        source = f"{run.info.artifact_uri}/model"
        version = self.client.create_model_version("FraudDetection", source=source, run_id=run.info.run_id)
        self.client.set_registered_model_alias("FraudDetection", "champion", version.version)


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from everloop.integrations.mlflow.connection import connect

    root = tmp_path_factory.mktemp("empty")
    connect("sqlite:///mlflow.db", root=root, state=root)
    return root / "mlflow.db"


def project_of(root: Path, database: Path, *, trust: str = "") -> Project:
    found, _ = shop(root, rows=5_000, gates=SPECS + trust)
    (found.root / "everloop.yaml").write_text("mlflow: sqlite:///mlflow.db\n")
    shutil.copy(database, found.root / "mlflow.db")
    return opened(root)[0]


@pytest.fixture
def office(tmp_path: Path, database: Path, request: pytest.FixtureRequest) -> Iterator[Office]:
    from mlflow import MlflowClient

    found = project_of(tmp_path / "shop", database, trust=getattr(request, "param", ""))
    clock = SimulatedClock(NOW)
    assert found.state.is_dir()
    address = f"sqlite:///{found.root / 'mlflow.db'}"
    with (
        Ledger.open(found, clock=clock) as ledger,
        Resources.opened(found, ledger=ledger, clock=clock, slot="test") as resources,
    ):
        client = MlflowClient(tracking_uri=address, registry_uri=address)
        yield Office(resources=resources, clock=clock, client=client)


def test_a_promotion_waits_for_an_approval_and_then_runs_once(office: Office) -> None:
    ledger, found = office.resources.ledger, office.resources.project
    assert office.turn() == []
    office.promote(max_depth=4, eta=0.3, num_round=20)
    assert office.turn() == []
    assert ledger.runs("fraud") == []
    said = status(found, ledger, office.clock).models[0]
    assert said.waiting_for == (
        "fraud-s2 arrived from models:/FraudDetection@champion: review it, then everloop approve fraud-s2 --by NAME"
    )
    approve(found, found.model(), "fraud-s2", by="alice", ledger=ledger)
    (sentence,) = office.turn()
    assert sentence.startswith("r-")
    assert "is to train models:/FraudDetection@champion by store; finished" in sentence
    assert office.turn() == []
    (run,) = ledger.runs("fraud")
    assert (run.trigger, run.spec, run.status) == ("store", "fraud-s2", "finished")
    version = ledger.version("fraud", 1)
    assert (version.trigger, version.spec) == ("store", "fraud-s2")
    (configured,) = ledger.facts(kind="run.configured")
    assert (configured.payload["version"], configured.payload["modifier"]) == ("1", "ann")
    told = [reason.sentence for reason in why(found, ledger, version="v1")]
    assert "fraud-s2 arrived from models:/FraudDetection@champion, version 1 by ann" in told
    taken = f"run {run.run} took fraud-s2 from models:/FraudDetection@champion, version 1, written by ann"
    assert taken in told
    assert any("trained what models:/FraudDetection@champion held" in sentence for sentence in told)
    assert status(found, ledger, office.clock).models[0].waiting_for is None
    assert ledger.verify().ok


@pytest.mark.parametrize("office", ["approval: {trust: [mlflow]}\n"], indirect=True)
def test_where_the_registry_is_trusted_a_promotion_runs_at_once(office: Office) -> None:
    ledger = office.resources.ledger
    office.promote(max_depth=4, num_round=20)
    (sentence,) = office.turn()
    assert "finished" in sentence
    (fact,) = ledger.facts(kind="spec.approved")
    assert fact.actor == "mlflow:ann"
    office.promote(learner="lightgbm", num_leaves=7)
    said = office.turn()
    assert any("is to train models:/FraudDetection@champion by store" in one for one in said)
    assert len(ledger.runs("fraud")) == 2
    assert [fact.payload["learner"] for fact in ledger.facts(kind="run.configured")] == ["xgboost", "lightgbm"]


def test_a_schedule_takes_what_the_store_says_by_then(office: Office) -> None:
    """Not the champion's spec: that is what held when the champion was trained."""
    from everloop.control import actions

    ledger, found = office.resources.ledger, office.resources.project
    office.promote(max_depth=3, num_round=10)
    office.turn()
    approve(found, found.model(), "fraud-s2", by="alice", ledger=ledger)
    controller = Controller(office.resources, wait=True)
    action = actions.StartTraining(model="fraud", spec="fraud-s1", trigger="schedule", name="fraud/schedule/now")
    assert "finished" in controller._start_training(action)
    assert ledger.runs("fraud")[-1].spec == "fraud-s2"
