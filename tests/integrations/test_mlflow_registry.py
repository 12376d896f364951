"""A model that is configured in MLflow's registry: what a notebook registers and promotes there by hand."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import httpx
import pytest

from everloop.errors import ConfigurationError, IntegrationError, NotFound, UsageError
from everloop.integrations.mlflow import Mirror, MlflowSpecs, Watch
from everloop.ledger import Ledger, RunConfigured, RunStarted, SpecPut
from everloop.production import SpecStore, arrive, open_store, put_spec
from everloop.project import Project, Spec
from everloop.testing import SpecStoreSuite
from tests.experiment.made import opened, payments, project
from tests.integrations.conftest import HandClock, Place, bundle_of, mlflow_server

pytest.importorskip("mlflow", reason="the extra [mlflow] is not installed")

NAMES = (f"FraudDetection{at}" for at in itertools.count())


@dataclass(frozen=True)
class Notebook:
    """What a person does in MLflow, with MLflow's own client."""

    client: Any

    def register(self, name: str, *, user: str = "ann", tags: dict[str, str] | None = None, **params: Any) -> str:
        """Log a run, register it, and give the version's number."""
        from mlflow.entities import RunTag

        run = self.client.create_run("0", tags={"mlflow.user": user, **(tags or {})}, run_name="by hand")
        for param, value in params.items():
            self.client.log_param(run.info.run_id, param, value)
        self.client.log_batch(run.info.run_id, tags=[RunTag("note", "tuned")])
        self.client.log_metric(run.info.run_id, "accuracy", 0.961)
        if not self.client.search_registered_models(f"name = '{name}'"):
            self.client.create_registered_model(name)
        made = self.client.create_model_version(name, source=f"{run.info.artifact_uri}/m", run_id=run.info.run_id)
        return str(made.version)

    def promote(self, name: str, version: str, alias: str = "champion") -> None:
        self.client.set_registered_model_alias(name, alias, version)


@dataclass(frozen=True)
class Shop:
    """A project with data whose model is configured in MLflow."""

    project: Project
    ledger: Ledger
    clock: HandClock
    notebook: Notebook

    def configure(self, specs: str, approval: str = "") -> Any:
        path = self.project.root / "fraud" / "model.yaml"
        kept = [line for line in path.read_text().splitlines() if not line.startswith(("specs:", "approval:"))]
        path.write_text("\n".join([*kept, f"specs: {specs}", approval]) + "\n")
        return opened(self.project.root)[1]


@pytest.fixture
def shop(tmp_path: Path, migrated: Path) -> Any:
    from mlflow import MlflowClient

    found, _ = project(tmp_path / "shop", payments(300))
    (found.root / "everloop.yaml").write_text("mlflow: sqlite:///mlflow.db\n")
    shutil.copy(migrated, found.root / "mlflow.db")
    address = f"sqlite:///{found.root / 'mlflow.db'}"
    clock = HandClock()
    found, _ = opened(found.root)
    with Ledger.open(found, clock=clock) as ledger:
        notebook = Notebook(MlflowClient(tracking_uri=address, registry_uri=address))
        yield Shop(project=found, ledger=ledger, clock=clock, notebook=notebook)


class TestMlflowSpecs(SpecStoreSuite):
    """Against a database."""

    puts = 4

    @pytest.fixture(autouse=True)
    def _place(self, shop: Shop) -> None:
        self.shop = shop

    def store(self) -> SpecStore:
        model = self.shop.configure(f"models:/{next(NAMES)}@champion")
        return MlflowSpecs(self.shop.project, model)

    def again(self, store: SpecStore) -> SpecStore:
        return MlflowSpecs(self.shop.project, self.shop.configure(store.address))


@pytest.mark.filterwarnings("ignore")  # the server's libraries deprecate each other
class TestMlflowSpecsOverHttp(SpecStoreSuite):
    """Against MLflow's server, by a stage, as it was said before there were aliases."""

    labels = False
    puts = 2

    @pytest.fixture(autouse=True)
    def _place(self, made: Callable[..., Place], server: str) -> None:
        self.place = made(server)

    def store(self) -> SpecStore:
        return self._store(f"models:/{next(NAMES)}/Production")

    def again(self, store: SpecStore) -> SpecStore:
        return self._store(store.address)

    def _store(self, address: str) -> SpecStore:
        path = self.place.project.root / "fraud" / "model.yaml"
        text = path.read_text().partition("specs:")[0]
        path.write_text(f"{text}specs: {address}\n")
        found = Project.open(self.place.project.root, environment={})
        return MlflowSpecs(found, found.model())


def test_what_a_notebook_promotes_becomes_a_spec_with_its_source(shop: Shop) -> None:
    shop.notebook.register("FraudDetection", learner="xgboost", max_depth=5)
    version = shop.notebook.register("FraudDetection", learner="xgboost", max_depth=7, eta=0.15, num_round=150)
    shop.notebook.promote("FraudDetection", version)
    model = shop.configure("models:/FraudDetection@champion")
    found = MlflowSpecs(shop.project, model).get()
    assert (found.version, found.modifier, found.labels, found.spec) == ("2", "ann", ("champion",), None)
    arrival = arrive(model, found, ledger=shop.ledger, clock=shop.clock)
    spec = arrival.spec
    assert (spec.name, spec.learner, arrival.new, arrival.approval) == ("fraud-s1", "xgboost", True, None)
    wanted = {"max_depth": 7, "learning_rate": 0.15, "n_estimators": 150}
    assert {name: spec.hyperparameters[name] for name in wanted} == wanted
    assert spec.source is not None
    assert spec.source.model_dump() == {"store": "models:/FraudDetection@champion", "version": "2", "modifier": "ann"}
    assert opened(shop.project.root)[1].spec("fraud-s1") == spec
    (written,) = shop.ledger.facts(kind="spec.written")
    assert (written.actor, written.payload["trigger"]) == ("mlflow:ann", "store")
    again = arrive(model, found, ledger=shop.ledger, clock=shop.clock)
    assert (again.spec, again.new) == (spec, False)
    assert len(shop.ledger.facts()) == 1


def test_the_old_stage_and_a_pinned_number_hold_too(shop: Shop) -> None:
    name = "FraudDetection"
    for depth in (5, 6):
        shop.notebook.register(name, learner="xgboost", max_depth=depth)
    shop.notebook.client.transition_model_version_stage(name, "2", stage="Production")
    found = MlflowSpecs(shop.project, shop.configure(f"models:/{name}/Production")).get()
    assert (found.version, found.labels, found.hyperparameters["max_depth"]) == ("2", ("Production",), "6")
    pinned = MlflowSpecs(shop.project, shop.configure(f"models:/{name}/1"))
    assert pinned.get().hyperparameters["max_depth"] == "5"
    with pytest.raises(UsageError, match="is one version for ever; name an alias"):
        pinned.put(Spec.new(name="fraud-s1", objective="f1", learner="xgboost"), actor="alice")


def test_a_learner_that_nothing_says_is_the_model_s_or_refused(shop: Shop) -> None:
    shop.notebook.promote("FraudDetection", shop.notebook.register("FraudDetection", max_depth=7))
    model = shop.configure("models:/FraudDetection@champion")
    found = MlflowSpecs(shop.project, model).get()
    with pytest.raises(ConfigurationError, match=r"FraudDetection@champion, version 1 does not say what was fitted"):
        arrive(model, found, ledger=shop.ledger, clock=shop.clock)
    model = shop.configure("{store: models:/FraudDetection@champion, learner: xgboost}")
    assert arrive(model, found, ledger=shop.ledger, clock=shop.clock).spec.learner == "xgboost"


def test_what_is_not_there_is_said_with_what_there_is(shop: Shop) -> None:
    store = MlflowSpecs(shop.project, shop.configure("models:/FraudDetection@champion"))
    with pytest.raises(NotFound, match="is not there: MLflow has no registered model FraudDetection"):
        store.get()
    shop.notebook.promote("FraudDetection", shop.notebook.register("FraudDetection", max_depth=7), "candidate")
    with pytest.raises(NotFound, match="is not there: the newest version is 1, and there is candidate"):
        store.get()
    (shop.project.root / "everloop.yaml").write_text("{}\n")
    with pytest.raises(UsageError, match=r"everloop\.yaml does not say where MLflow is"):
        MlflowSpecs(*opened(shop.project.root)).get()


def test_trust_approves_in_the_name_of_who_registered(shop: Shop) -> None:
    shop.notebook.promote("FraudDetection", shop.notebook.register("FraudDetection", learner="xgboost", max_depth=7))
    model = shop.configure("models:/FraudDetection@champion", "approval: {trust: [mlflow]}")
    arrival = arrive(model, MlflowSpecs(shop.project, model).get(), ledger=shop.ledger, clock=shop.clock)
    assert arrival.approval is not None
    assert arrival.approval.by == "mlflow:ann"
    (fact,) = shop.ledger.facts(kind="spec.approved")
    assert (fact.actor, fact.payload["spec_hash"]) == ("mlflow:ann", arrival.spec.hash)
    assert arrival.spec.approval is not None
    assert (arrival.spec.approval.by, arrival.spec.approval.hash) == ("mlflow:ann", arrival.spec.hash)
    model = shop.configure("models:/FraudDetection@champion", "approval: {trust: [ssm]}")
    shop.notebook.promote("FraudDetection", shop.notebook.register("FraudDetection", learner="xgboost", max_depth=8))
    arrival = arrive(model, MlflowSpecs(shop.project, model).get(), ledger=shop.ledger, clock=shop.clock)
    assert arrival.approval is None


def arrivals(shop: Shop) -> list[tuple[str, str, str]]:
    facts = shop.ledger.facts(kind="spec.arrived")
    return [(fact.actor, fact.payload["spec"], fact.payload["version"]) for fact in facts]


def test_a_promotion_by_hand_arrives_once_and_moved_back_again(shop: Shop) -> None:
    name = "FraudDetection"
    shop.configure(f"models:/{name}@champion")
    found, _ = opened(shop.project.root)
    watch = Watch(found, shop.ledger, shop.clock)
    assert Watch.wanted(found)
    assert watch.sync() == 0, "nothing is registered yet"
    first = shop.notebook.register(name, learner="xgboost", max_depth=5)
    shop.clock.seconds += 100
    assert watch.sync() == 0, "registered, and not promoted"
    shop.notebook.promote(name, first)
    assert watch.sync() == 0, "it looks every few seconds"
    shop.clock.seconds += 100
    assert watch.sync() == 1
    shop.clock.seconds += 100
    assert (watch.sync(), Watch(found, shop.ledger, shop.clock).sync()) == (0, 0)
    second = shop.notebook.register(name, user="bob", learner="lightgbm", num_leaves=15)
    for version in (second, first):
        shop.notebook.promote(name, version)
        shop.clock.seconds += 100
        assert watch.sync() == 1
    assert arrivals(shop) == [
        ("mlflow:ann", "fraud-s1", "1"),
        ("mlflow:bob", "fraud-s2", "2"),
        ("mlflow:ann", "fraud-s1", "1"),
    ]
    assert shop.ledger.verify().ok


def test_two_workers_that_look_at_once_write_one_arrival(shop: Shop) -> None:
    shop.notebook.promote("FraudDetection", shop.notebook.register("FraudDetection", learner="xgboost", max_depth=5))
    shop.configure("models:/FraudDetection@champion")
    found, _ = opened(shop.project.root)
    # the second one has read what was known before the first one wrote
    last = shop.ledger.last
    shop.ledger.last = lambda kind, subject=None: None if kind == ("spec.arrived", "spec.put") else last(kind, subject)  # type: ignore[method-assign]
    assert [Watch(found, shop.ledger, shop.clock).sync() for _ in range(2)] == [1, 1]
    assert len(arrivals(shop)) == 1


def test_what_everloop_put_or_mirrored_itself_starts_nothing(shop: Shop, made: Callable[..., Place]) -> None:
    model = shop.configure("models:/FraudDetection@champion")
    found, _ = opened(shop.project.root)
    store = MlflowSpecs(found, model)
    spec = Spec.new(
        name="fraud-s1", objective="recall at precision >= 0.80", learner="xgboost", hyperparameters={"max_depth": 5}
    )
    for _ in range(2):
        put_spec(store, model, spec, ledger=shop.ledger, actor="alice")
    watch = Watch(found, shop.ledger, shop.clock)
    assert watch.sync() == 0
    (fact,) = shop.ledger.facts(kind="spec.put")
    assert (fact.actor, fact.payload["version"], fact.payload["store"]) == ("alice", "1", store.address)
    assert isinstance(SpecPut(**{name: fact.payload[name] for name in SpecPut.__struct_fields__}), SpecPut)

    place = Place(project=found, ledger=shop.ledger, clock=shop.clock)
    place.train("r-000001")
    place.route(1)
    Mirror(found, shop.ledger, shop.clock).sync()
    model = shop.configure(f"models:/{found.name}.fraud@champion")
    found, _ = opened(shop.project.root)
    own = MlflowSpecs(found, model).get()
    assert own.spec == "fraud-s1"
    assert Watch(found, shop.ledger, shop.clock).sync() == 0
    assert arrivals(shop) == []


def test_store_and_watch_are_found_by_entry_point(shop: Shop) -> None:
    (watch,) = entry_points(group="everloop.integrations", name="mlflow-registry")
    assert watch.load() is Watch
    shop.configure("files")
    assert not Watch.wanted(opened(shop.project.root)[0])
    shop.configure("models:/FraudDetection@champion")
    store = open_store(*opened(shop.project.root))
    assert isinstance(store, MlflowSpecs)
    assert store.address == "models:/FraudDetection@champion"


def test_a_registry_that_is_down_is_said_once_and_looked_at_again(shop: Shop) -> None:
    shop.configure("models:/FraudDetection@champion")
    (shop.project.root / "everloop.yaml").write_text("mlflow: http://127.0.0.1:1\n")
    found, model = opened(shop.project.root)
    with pytest.raises(IntegrationError, match=r"MLflow at http://127\.0\.0\.1:1 says: "):
        MlflowSpecs(found, model).get()
    watch = Watch(found, shop.ledger, shop.clock)
    with pytest.raises(IntegrationError, match="MLflow at"):
        watch.sync()
    for _ in range(3):
        shop.clock.seconds += 100
        assert watch.sync() == 0
    watch.close()


@pytest.mark.filterwarnings("ignore")  # the server's libraries deprecate each other
def test_what_was_not_mirrored_in_an_outage_is_sent_again_and_the_page_shows_it(
    made: Callable[..., Place], server_settings: None
) -> None:
    """Stopped in the middle, started again at the same address; then what the page itself asks for holds it all."""
    with mlflow_server() as address:
        place = made(address)
        place.train("r-000001")
        mirror = Mirror(place.project, place.ledger, place.clock)
        assert mirror.sync() == 4
    place.route(1)
    place.train("r-000002", refused=True)
    with pytest.raises(IntegrationError, match=r"Nothing is lost: the mirror goes on where it was"):
        mirror.sync()
    place.clock.seconds += 100
    assert mirror.sync() == 0
    with mlflow_server(int(address.rpartition(":")[2])) as again:
        assert again == address
        place.clock.seconds += 100
        assert mirror.sync() == 4
        page = httpx.Client(base_url=f"{address}/ajax-api/2.0/mlflow")
        model = page.get("/registered-models/get", params={"name": "payments.fraud"}).json()["registered_model"]
        assert [(one["alias"], one["version"]) for one in model["aliases"]] == [("champion", "1")]
        asked = {"filter": "name='payments.fraud'"}
        (version,) = page.get("/model-versions/search", params=asked).json()["model_versions"]
        tags = {tag["key"]: tag["value"] for tag in version["tags"]}
        assert tags["everloop.version"] == "fraud/v1"
        assert "| recall >= 0.75 | passed | recall 0.800 [0.750, 0.850] is at least 0.75 |" in version["description"]
        assert "| recall | 0.8 [0.75, 0.85] |" in version["description"]
        run = page.get("/runs/get", params={"run_id": version["run_id"]}).json()["run"]
        metrics = {metric["key"]: metric["value"] for metric in run["data"]["metrics"]}
        assert (metrics["recall"], metrics["recall.low"]) == (0.8, 0.75)
        files = page.get("/artifacts/list", params={"run_id": version["run_id"]}).json()["files"]
        assert "verdicts.json" in [file["path"] for file in files]
        shown = httpx.get(
            f"{address}/get-artifact", params={"path": "verdicts.json", "run_uuid": version["run_id"]}
        ).json()
        assert shown["columns"] == ["gate", "verdict", "sentence"]
        assert shown["data"][0][:2] == ["recall >= 0.75", "passed"]


def test_what_a_run_took_from_a_store_is_mirrored(made: Callable[..., Place], migrated: Path) -> None:
    from mlflow import MlflowClient

    place = made()
    shutil.copy(migrated, place.project.root / "mlflow.db")
    begun = RunStarted(run="r-1", workflow="train", model="fraud", trigger="schedule")
    place.ledger.append("run.started", "r-1", begun, actor="control")
    settled = RunConfigured(
        run="r-1",
        model="fraud",
        spec="fraud-s3",
        spec_hash="h3",
        store="ssm:/fraud-detection",
        version="r4",
        modifier="arn:aws:iam::1:user/ann",
        learner="xgboost",
        hyperparameters={"max_depth": 7},
    )
    place.ledger.append("run.configured", "r-1", settled, actor="control")
    assert Mirror(place.project, place.ledger, place.clock).sync() == 2
    address = f"sqlite:///{place.project.root / 'mlflow.db'}"
    client = MlflowClient(tracking_uri=address, registry_uri=address)
    (run,) = client.search_runs([client.get_experiment_by_name("everloop/payments/fraud").experiment_id])
    assert run.data.params == {"spec": "fraud-s3", "learner": "xgboost", "max_depth": "7"}
    wanted = {"everloop.store": "ssm:/fraud-detection", "everloop.store_version": "r4", "everloop.spec_hash": "h3"}
    assert {name: run.data.tags.get(name) for name in wanted} == wanted


def test_the_evidence_that_a_run_left_is_sent_along(made: Callable[..., Place], migrated: Path) -> None:
    from mlflow import MlflowClient

    place = made()
    shutil.copy(migrated, place.project.root / "mlflow.db")
    folder = place.project.root / ".everloop" / "runs" / "r-000001"
    folder.mkdir(parents=True)
    for name in ("gates.json", "report.md"):
        (folder / name).write_text("{}")
    place.train("r-000001", evidence=".everloop/runs/r-000001")
    for _ in range(2):
        Mirror(place.project, place.ledger, place.clock).sync()
    address = f"sqlite:///{place.project.root / 'mlflow.db'}"
    client = MlflowClient(tracking_uri=address, registry_uri=address)
    (run,) = client.search_runs([client.get_experiment_by_name("everloop/payments/fraud").experiment_id])
    assert run.data.tags["everloop.bundle"] == bundle_of("r-000001")
    assert sorted(item.path for item in client.list_artifacts(run.info.run_id, "evidence")) == [
        "evidence/gates.json",
        "evidence/report.md",
    ]
    assert "verdicts.json" in run.data.tags["mlflow.loggedArtifacts"]
