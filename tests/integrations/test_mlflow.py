"""The mirror against a real MLflow: a SQLite database, and a server over HTTP."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from everloop.clock import to_us
from everloop.errors import IntegrationError
from everloop.integrations.mlflow import Mirror
from everloop.integrations.mlflow.mirror import CURSOR
from everloop.ledger import Ledger, RunFailed
from everloop.project import Spec, write_spec
from tests.integrations.conftest import ACTOR, Place, bundle_of

pytest.importorskip("mlflow", reason="the extra [mlflow] is not installed")


@pytest.fixture
def place(made: Callable[..., Place], migrated: Path) -> Place:
    place = made()
    shutil.copy(migrated, place.project.root / "mlflow.db")
    return place


def _client(place: Place) -> Any:
    from mlflow import MlflowClient

    address = place.project.settings.mlflow
    if address is not None and address.startswith("sqlite"):
        address = f"sqlite:///{place.project.root / 'mlflow.db'}"
    return MlflowClient(tracking_uri=address, registry_uri=address)


def _runs(client: Any, name: str = "everloop/payments/fraud") -> dict[str, Any]:
    found = client.search_runs([client.get_experiment_by_name(name).experiment_id])
    runs = {run.info.run_name: run for run in found}
    assert len(runs) == len(found), "a run is mirrored once"
    return runs


def _aliases(client: Any) -> dict[str, str]:
    """alias → our name of the version."""
    aliases = client.get_registered_model("payments.fraud").aliases
    versions = {one.version: one.tags["everloop.version"] for one in client.search_model_versions("")}
    return {alias: versions[version] for alias, version in aliases.items()}


def _everything(client: Any) -> Any:
    """All that is mirrored, without MLflow's own ids and times of change."""
    runs = {
        name: (run.info.status, run.info.end_time, dict(run.data.tags), dict(run.data.params), dict(run.data.metrics))
        for name, run in _runs(client).items()
    }
    versions = [(one.source, one.version, dict(one.tags)) for one in client.search_model_versions("")]
    history = [len(client.get_metric_history(run.info.run_id, "recall")) for run in _runs(client).values()]
    return runs, sorted(versions, key=str), _aliases(client), history


def test_runs_versions_and_roles_are_mirrored(place: Place) -> None:
    place.spec()
    place.train("r-000001")
    place.route(1)
    place.train("r-000002", refused=True)
    mirror = Mirror(place.project, place.ledger, place.clock)

    assert mirror.sync() == 8
    assert mirror.sync() == 0

    client = _client(place)
    good, bad = (_runs(client)[name] for name in ("r-000001", "r-000002"))
    assert good.info.status == "FINISHED"
    assert good.info.end_time == to_us(place.clock.now()) // 1000
    assert good.data.params == {"spec": "fraud-s1", "learner": "xgboost"}
    assert good.data.metrics["recall"] == 0.8
    assert good.data.metrics["precision"] == 0.82
    assert good.data.metrics["recall.low"] == 0.75
    assert good.data.metrics["seconds/evaluate"] == 2.5
    wanted = {
        "everloop.run": "r-000001",
        "everloop.spec_hash": "h1",
        "everloop.bundle": bundle_of("r-000001"),
        "everloop.trigger": "schedule",
        "everloop.version": "fraud/v1",
        "everloop.status": "finished",
        "everloop.gate.01": "recall >= 0.75: passed: recall 0.800 [0.750, 0.850] is at least 0.75",
    }
    assert {name: good.data.tags.get(name) for name in wanted} == wanted
    assert (bad.info.status, bad.data.tags["everloop.status"]) == ("FAILED", "refused")
    assert "is below 0.75" in bad.data.tags["everloop.gate.01"]
    assert "everloop.version" not in bad.data.tags

    (version,) = client.search_model_versions("name = 'payments.fraud'")
    folder = place.project.paths.bundles / "sha256" / bundle_of("r-000001")
    assert (version.source, version.run_id) == (folder.as_uri(), good.info.run_id)
    assert version.tags["everloop.bundle"] == bundle_of("r-000001")
    assert not Path("mlruns").exists()


def test_aliases_follow_the_routing(place: Place) -> None:
    mirror = Mirror(place.project, place.ledger, place.clock)
    for run in ("r-000001", "r-000002"):
        place.train(run)
    place.route(1)
    place.route(1, challenger=2)
    mirror.sync()
    assert _aliases(_client(place)) == {"champion": "fraud/v1", "challenger": "fraud/v2"}
    place.route(2, previous=1)
    mirror.sync()
    assert _aliases(_client(place)) == {"champion": "fraud/v2", "previous": "fraud/v1"}
    place.route(1)
    mirror.sync()
    assert _aliases(_client(place)) == {"champion": "fraud/v1"}


def test_hyperparameters_come_from_the_spec_that_was_trained(place: Place) -> None:
    model = place.project.model("fraud")
    values = {"max_depth": 6, "layers": [8, 4]}
    spec = Spec.new(name="fraud-s1", objective="recall", learner="lightgbm", seed=3, hyperparameters=values)
    spec = spec.model_copy(update={"calibration": "logistic"})
    write_spec(model.spec_path(1), spec)
    place.train("r-000001", spec_hash=spec.hash)
    place.train("r-000002", spec_hash="of the file before it was changed")
    Mirror(place.project, place.ledger, place.clock).sync()
    runs = _runs(_client(place))
    params = {"spec": "fraud-s1", "learner": "lightgbm", "objective": "recall", "seed": "3"}
    assert runs["r-000001"].data.params == params | {"calibration": "logistic", "max_depth": "6", "layers": "[8, 4]"}
    assert runs["r-000002"].data.params == {"spec": "fraud-s1"}


def test_mirrored_twice_changes_nothing(place: Place) -> None:
    place.train("r-000001")
    place.train("r-000002", refused=True)
    place.route(1)
    Mirror(place.project, place.ledger, place.clock).sync()
    client = _client(place)
    before = _everything(client)
    experiment = client.get_experiment_by_name("everloop/payments")
    assert experiment.tags[CURSOR] == f"{place.ledger.head().seq}:{place.ledger.head().hash}"

    client.set_experiment_tag(experiment.experiment_id, CURSOR, "0:")
    assert Mirror(place.project, place.ledger, place.clock).sync() == 8
    assert _everything(client) == before


_DIES = """
import os, signal, sys
from pathlib import Path
from everloop.clock import SystemClock
from everloop.integrations.mlflow import Mirror
from everloop.ledger import Ledger
from everloop.project import Project
import mlflow
writes = ("log_batch", "create_run", "create_model_version", "set_terminated", "set_experiment_tag")
last = int(sys.argv[2])
count = 0
def deadly(real):
    def call(*args, **options):
        global count
        result = real(*args, **options)
        count += 1
        if count == last:
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    return call
for name in writes:
    setattr(mlflow.MlflowClient, name, deadly(getattr(mlflow.MlflowClient, name)))
project = Project.open(Path(sys.argv[1]), environment={})
Mirror(project, Ledger.open(project, clock=SystemClock()), SystemClock()).sync()
"""


@pytest.mark.parametrize("last", [1, 7])
def test_killed_between_two_writes_it_goes_on(place: Place, migrated: Path, last: int) -> None:
    """1: a run without its params; 7: a version, and the cursor before it."""
    place.train("r-000001")
    place.route(1)
    Mirror(place.project, place.ledger, place.clock).sync()
    wanted = _everything(_client(place))
    _forget(place, migrated)

    died = subprocess.run([sys.executable, "-c", _DIES, str(place.project.root), str(last)], check=False)
    assert died.returncode == -signal.SIGKILL
    Mirror(place.project, place.ledger, place.clock).sync()
    assert _everything(_client(place)) == wanted


def _forget(place: Place, migrated: Path) -> None:
    """MLflow as it was before anything was mirrored; the open database is written over, not replaced."""
    (place.project.root / "mlflow.db").write_bytes(migrated.read_bytes())


def test_another_ledger_of_the_same_name_begins_at_its_own_first_fact(place: Place) -> None:
    place.train("r-000001")
    place.train("r-000002")
    Mirror(place.project, place.ledger, place.clock).sync()
    shutil.rmtree(place.project.state)
    again = Place(project=place.project, ledger=Ledger.open(place.project, clock=place.clock), clock=place.clock)
    again.train("r-000003")
    assert Mirror(again.project, again.ledger, again.clock).sync() == 4
    again.route(1)
    Mirror(again.project, again.ledger, again.clock).sync()
    client = _client(again)
    champion = client.get_model_version_by_alias("payments.fraud", "champion")
    assert (str(champion.version), champion.tags["everloop.run"]) == ("3", "r-000003")
    again.ledger.close()


def test_a_fact_that_mlflow_refuses_is_told_and_passed_over(place: Place) -> None:
    client = _client(place)
    client.register_prompt("payments.fraud", template="a name that a model cannot have any more")
    place.train("r-000001")
    mirror = Mirror(place.project, place.ledger, place.clock)
    with pytest.raises(IntegrationError, match=r"refused 1 of 4 facts.*version.registered fraud/v1.*by a prompt"):
        mirror.sync()
    place.train("r-000002", refused=True)
    assert mirror.sync() == 3
    assert {name: run.info.status for name, run in _runs(client).items()} == {
        "r-000001": "FINISHED",
        "r-000002": "FAILED",
    }


def test_a_run_that_someone_deleted_is_made_again_when_it_goes_on(place: Place) -> None:
    mirror = Mirror(place.project, place.ledger, place.clock)
    place.train("r-000001")
    mirror.sync()
    client = _client(place)
    client.delete_run(_runs(client)["r-000001"].info.run_id)
    place.ledger.append("run.failed", "r-000001", RunFailed(run="r-000001", sentence="the disk is full"), actor=ACTOR)
    mirror.sync()
    run = _runs(client)["r-000001"]
    assert (run.info.status, run.data.params["spec"]) == ("FAILED", "fraud-s1")
    assert run.data.tags["everloop.sentence"] == "the disk is full"


def test_a_deleted_experiment_is_said_once(place: Place) -> None:
    client = _client(place)
    files = (place.project.root / "files").as_uri()
    deleted = client.create_experiment("everloop/payments/fraud", artifact_location=files)
    client.delete_experiment(deleted)
    place.train("r-000001")
    mirror = Mirror(place.project, place.ledger, place.clock)
    with pytest.raises(IntegrationError, match=r"was deleted in MLflow.*experiments restore"):
        mirror.sync()
    place.clock.seconds += 100
    assert mirror.sync() == 0
    client.restore_experiment(deleted)
    assert mirror.sync() == 0, "it waits a while before it asks again"
    place.clock.seconds += 100
    assert mirror.sync() == 4


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("http://127.0.0.1:1", "MLflow at http://127.0.0.1:1 says: .*Nothing is lost"),
        ("mlruns", "mlruns is no address of MLflow; write http"),
        ("oracle9://somewhere", "is no address of MLflow"),
        ("'sqlite://'", "keeps nothing; name a file"),
        ("sqlite:///everloop.yaml", "file is not a database"),
        ("sqlite:////proc/none/mlflow.db", "says: "),
    ],
)
def test_an_address_that_does_not_answer_is_said_once(made: Callable[..., Place], address: str, sentence: str) -> None:
    place = made(address)
    place.train("r-000001")
    mirror = Mirror(place.project, place.ledger, place.clock)
    with pytest.raises(IntegrationError, match=sentence):
        mirror.sync()
    for _ in range(3):
        place.clock.seconds += 100
        assert mirror.sync() == 0
    mirror.close()


def test_without_mlflow_in_the_file_nothing_is_mirrored(made: Callable[..., Place]) -> None:
    place = made("null")
    place.train("r-000001")
    assert not Mirror.wanted(place.project)
    assert Mirror(place.project, place.ledger, place.clock).sync() == 0


@pytest.mark.filterwarnings("ignore")  # the server's libraries deprecate each other
def test_a_server_gets_the_bundle_beside_the_run(made: Callable[..., Place], server: str) -> None:
    """It refuses a path of this machine as a version's source."""
    place = made(server)
    folder = place.project.paths.bundles / "sha256" / bundle_of("r-000001")
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text("{}")
    place.train("r-000001")
    place.route(1)
    assert Mirror(place.project, place.ledger, place.clock).sync() == 5
    client = _client(place)
    version = client.get_model_version_by_alias("payments.fraud", "champion")
    run = _runs(client)["r-000001"]
    assert version.source == f"{run.info.artifact_uri}/bundle"
    assert [item.path for item in client.list_artifacts(run.info.run_id, "bundle")] == ["bundle/manifest.json"]
    assert version.tags["everloop.bundle_path"] == str(folder)


def test_telemetry_is_off_and_no_room_imports_mlflow() -> None:
    seen = (
        "import sys, os, everloop.serving, everloop.control.mirrors, everloop.integrations.mlflow;"
        "assert not any(name.split('.')[0] in ('mlflow', 'alembic') for name in sys.modules);"
        "from everloop.integrations.mlflow.connection import _mlflow; _mlflow();"
        "assert os.environ['MLFLOW_DISABLE_TELEMETRY'] == 'true'"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW")}
    subprocess.run([sys.executable, "-c", seen], check=True, env=environment)
