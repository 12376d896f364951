"""A project that mirrors to MLflow, a clock moved by hand, and facts as a worker writes them."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from everloop.ledger import (
    Estimate,
    Exposure,
    Ledger,
    RunFinished,
    RunRefused,
    RunStarted,
    RunStep,
    SpecWritten,
    VerdictRecord,
    Version,
    VersionRegistered,
)
from everloop.project import Project

ACTOR = "worker"
MODEL = "data: {source: past.parquet, time: paid_at, target: fraud}\nobjective: recall at precision >= 0.80\n"
PASSED = VerdictRecord(
    name="recall >= 0.75",
    outcome="passed",
    sentence="recall 0.800 [0.750, 0.850] is at least 0.75",
    evidence={"metric": "recall", "bound": 0.75, "point": 0.8},
)
FAILED = VerdictRecord(
    name="recall >= 0.75",
    outcome="failed",
    sentence="recall 0.410 [0.300, 0.520] is below 0.75",
    evidence={"metric": "recall", "bound": 0.75, "point": 0.41},
)


@dataclass
class HandClock:
    """Both of its times stand until a test moves them."""

    at: datetime = field(default_factory=lambda: datetime(2026, 1, 5, tzinfo=UTC))
    seconds: float = 0.0

    def now(self) -> datetime:
        return self.at

    def monotonic_s(self) -> float:
        return self.seconds


@dataclass(frozen=True)
class Place:
    """A project `payments` with its ledger."""

    project: Project
    ledger: Ledger
    clock: HandClock

    def train(
        self, run: str, *, spec_hash: str = "h1", refused: bool = False, evidence: str | None = None
    ) -> Version | None:
        """The facts of a training run, to its end."""
        ledger, spec = self.ledger, "fraud-s1"
        started = RunStarted(
            run=run, workflow="train", model="fraud", spec=spec, spec_hash=spec_hash, trigger="schedule"
        )
        ledger.append("run.started", run, started, actor=ACTOR)
        metrics = {"recall": Estimate(point=0.8, low=0.75, high=0.85), "precision": Estimate(point=0.82)}
        outputs: dict[str, Any] = {"threshold": 0.5, "metrics": {"recall": {"point": 0.8, "low": 0.75, "high": 0.85}}}
        step = RunStep(run=run, step="evaluate", position=4, seconds=2.5, outputs=outputs)
        ledger.append("run.step", run, step, actor=ACTOR)
        if refused:
            sentence = f"fraud run {run} refused: {FAILED.sentence}; evidence in .everloop/runs/{run}"
            ended = RunRefused(run=run, sentence=sentence, step="gate", verdicts=[FAILED])
            ledger.append("run.refused", run, ended, actor=ACTOR)
            return None
        registered = VersionRegistered(
            model="fraud", bundle=bundle_of(run), run=run, spec=spec, spec_hash=spec_hash, metrics=metrics,
            verdicts=[PASSED], trigger="schedule", evidence_path=evidence,
        )  # fmt: skip
        version, _ = ledger.register_version("fraud", registered, actor=ACTOR)
        ledger.append("run.finished", run, RunFinished(run=run, sentence=f"registered {version.name}"), actor=ACTOR)
        return version

    def spec(self) -> None:
        """A spec is written; its file is gone by now."""
        payload = SpecWritten(model="fraud", spec="fraud-s1", spec_hash="h1", learner="xgboost")
        self.ledger.append("spec.written", "fraud-s1", payload, actor=ACTOR)

    def route(self, champion: int, previous: int | None = None, challenger: int | None = None) -> None:
        """Who answers from now on."""
        self.ledger.change_routing(
            "fraud",
            expected_revision=self.ledger.routing_revision("fraud"),
            champion=champion,
            previous=previous,
            challengers=[] if challenger is None else [Exposure(version=challenger, share=0.1)],
            reason="because",
            actor=ACTOR,
        )


def bundle_of(run: str) -> str:
    """A bundle's id, as the run gives it."""
    return run.encode().hex().ljust(64, "0")


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Callable[..., Place]]:
    """Makes the project, mirrored to an address; made again, it is the same one opened anew."""
    opened: list[Place] = []

    def make(address: str = "sqlite:///mlflow.db") -> Place:
        root = tmp_path / "payments"
        root.mkdir(exist_ok=True)
        (root / "everloop.yaml").write_text(f"mlflow: {address}\n")
        (root / "fraud").mkdir(exist_ok=True)
        (root / "fraud" / "model.yaml").write_text(MODEL)
        project, clock = Project.open(root, environment={}), HandClock()
        opened.append(Place(project=project, ledger=Ledger.open(project, clock=clock), clock=clock))
        return opened[-1]

    yield make
    for place in opened:
        place.ledger.close()


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty MLflow database: migrating one takes seconds."""
    from everloop.integrations.mlflow.connection import connect

    root = tmp_path_factory.mktemp("empty")
    connect("sqlite:///mlflow.db", root=root, state=root)
    assert sorted(path.name for path in root.iterdir()) == ["mlflow.db", "mlflow.db.lock"]
    return root / "mlflow.db"


@contextmanager
def mlflow_server(port: int = 0) -> Iterator[str]:
    """MLflow's own server at this address, over the database and the folder that the environment names."""
    flask = pytest.importorskip("mlflow.server", reason="MLflow's server needs Flask")
    from mlflow.server import handlers
    from werkzeug.serving import WSGIRequestHandler, make_server

    for kept in ("_tracking_store", "_model_registry_store", "_artifact_repo"):  # by an earlier server of this process
        setattr(handlers, kept, None)

    class Quiet(WSGIRequestHandler):
        def log(self, *_: object) -> None:
            """Nothing."""

    running = make_server("127.0.0.1", port, flask.app, threaded=True, request_handler=Quiet)
    thread = threading.Thread(target=running.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{running.server_port}"
    finally:
        running.shutdown()
        thread.join()
        running.server_close()


@pytest.fixture
def server_settings(tmp_path: Path, migrated: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty database and a folder of artifacts for a server, which keeps artifacts for its clients."""
    shutil.copy(migrated, tmp_path / "server.db")
    for name, value in {
        "_MLFLOW_SERVER_FILE_STORE": f"sqlite:///{tmp_path / 'server.db'}",
        "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
        "_MLFLOW_SERVER_ARTIFACT_DESTINATION": str(tmp_path / "artifacts"),
        "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
    }.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def server(server_settings: None) -> Iterator[str]:
    """The address of a running one."""
    with mlflow_server() as address:
        yield address
