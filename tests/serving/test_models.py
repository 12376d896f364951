"""Several models at one address, of different contracts: asked together, changed one by one; and two workers as one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import msgspec
import pytest

from everloop.bundle import BundleStore
from everloop.clock import SystemClock
from everloop.data import Column, Contract, FeatureTree
from everloop.ledger import Ledger, VersionRegistered
from everloop.project import Project
from everloop.rollout import deploy, load_routing
from everloop.serving import read_slots
from everloop.serving.batcher import Ask
from everloop.serving.counters import Counters
from everloop.serving.pipeline import Pipeline
from everloop.serving.watcher import Watcher
from everloop.traffic import Spool, TrafficLog
from tests.serving.place import MODEL_YAML, Endpoint, Place, endpoint, graph, logged, parts_of, row, wait_until
from tests.serving.test_laws import Load
from tests.serving.test_overload import Caller, posted

LOGINS = Contract(
    columns=(
        Column(name="login_id", type="string", role="id"),
        Column(name="at", type="datetime", role="time"),
        Column(name="tries", type="int", role="feature"),
        Column(name="stolen", type="bool", role="target"),
    ),
    positive=True,
)
LOGINS_YAML = MODEL_YAML.replace("paid_at", "at").replace("payment_id", "login_id").replace("fraud", "stolen")


@dataclass(kw_only=True)
class Models(Place):
    """A project of three models: `fraud` and `logins` with champions, `churn` without one."""

    @classmethod
    def make(cls, root: Path) -> Models:
        place = Place.make(root)
        place.ledger.close()
        for name, text in (("logins", LOGINS_YAML), ("churn", MODEL_YAML)):
            (place.project.root / name).mkdir()
            (place.project.root / name / "model.yaml").write_text(text.replace(", entity: card_id", ""))
        project = Project.open(place.project.root)
        ledger = Ledger.open(project, clock=SystemClock())
        models = cls(project=project, ledger=ledger, store=BundleStore(project.paths.bundles))
        models.deployed()
        models.logins(bias=-1.0)
        return models

    def logins(self, *, bias: float) -> int:
        """A new champion of the second model."""
        onnx = graph([0.5] * len(FeatureTree.of(LOGINS).names), bias)
        parts = parts_of(LOGINS, onnx, model="logins", target="stolen", positive="stolen", negative="own")
        said = VersionRegistered(model="logins", bundle=self.store.write(parts), run="r-1", spec="s1", spec_hash="h")
        version, _ = self.ledger.register_version("logins", said, actor="test")
        deploy(self.ledger, "logins", version.number, actor="alice", reason="test")
        return version.number


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Models, Endpoint]]:
    models = Models.make(tmp_path_factory.mktemp("several"))
    with endpoint(models.project.root) as running:
        yield models, running


def login(number: int) -> dict[str, object]:
    return {"login_id": f"login-{number}", "at": "2025-01-01T10:00:00Z", "tries": number % 7}


def answering(url: str) -> object:
    """The version that answers a row of no id."""
    anonymous = {name: value for name, value in login(1).items() if name != "login_id"}
    return httpx.post(url, json=anonymous).json()["results"][0]["version"]


def test_two_models_are_asked_in_turn_on_one_connection_and_a_third_without_a_champion_says_so(
    several: tuple[Models, Endpoint],
) -> None:
    models, running = several
    with Caller(running) as caller:
        asked = []
        for number in range(30):
            asked.append(("fraud", posted(row(number, payment_id=f"turn-{number}"))))
            asked.append(("logins", posted(login(number), path="/v1/models/logins/predict")))
            asked.append(("churn", posted(row(number), path="/v1/models/churn/predict")))
        caller.send(b"".join(request for _, request in asked))  # without waiting for an answer
        for place, (model, _) in enumerate(asked):
            status, headers, body = caller.read()
            if model == "churn":
                assert (status, headers["retry-after"]) == (503, "1")
                assert json.loads(body)["type"] == "urn:everloop:problem:no-champion"
                continue
            assert (status, json.loads(body)["model"]) == (200, model)
            (result,) = json.loads(body)["results"]
            assert result["id"] == (f"turn-{place // 3}" if model == "fraud" else f"login-{place // 3}")
            assert result["decision"] in ("fraud", "not_fraud") if model == "fraud" else ("stolen", "own")
    ready = httpx.get(f"{running.url}/readyz")
    assert (ready.status_code, ready.json()["models"]["churn"]["champion"]) == (200, None)
    assert len(logged(models, like="turn-")) == 30
    assert TrafficLog(models.project.paths.traffic, "logins").count()[0] == 30


def test_one_batch_holds_requests_of_several_models_and_each_is_answered_by_its_own(tmp_path: Path) -> None:
    models = Models.make(tmp_path)
    watcher = Watcher(ledger=models.ledger, load=models.store.load, models=models.project.models)
    watcher.look()
    with Spool.open(models.project.paths.spool, clock=SystemClock()) as spool:
        pipeline = Pipeline(
            live=lambda: watcher.live, spool=spool, clock=SystemClock(), counters=Counters(), max_rows=100
        )
        bodies = [("fraud", row(1)), ("logins", login(1)), ("churn", row(1)), ("logins", row(2)), ("fraud", row(2))]
        asks = [Ask(model=name, kind="predict", body=json.dumps(one).encode()) for name, one in bodies]
        replies = pipeline(asks)
        assert [reply.status for reply in replies] == [200, 200, 503, 422, 200]
        for ask, reply in zip(asks, replies, strict=True):
            alone = pipeline([ask])[0]
            assert alone.body == reply.body
    # a champion of one that changes leaves the other as it is
    before = watcher.live
    changed = models.logins(bias=2.0)
    watcher.look()
    assert watcher.live.models["fraud"] is before.models["fraud"]
    assert watcher.live.models["logins"].routing.champion == changed
    models.ledger.close()


def test_a_champion_of_one_model_changes_while_the_other_is_asked(several: tuple[Models, Endpoint]) -> None:
    models, running = several
    url = f"{running.url}/v1/models/logins/predict"
    with Load(running.predict, start=10_000, clients=2) as load:
        wait_until(lambda: load.requests > 5)
        for bias in (1.0, -1.0, 2.0):
            number = models.logins(bias=bias)
            assert wait_until(lambda wanted=number: answering(url) == wanted) < 2.0  # type: ignore[misc]
    assert not load.failed
    assert {msgspec.json.decode(answer)["version"] for answer in load.answered.values()} == {1}


def test_every_worker_serves_a_new_champion_within_two_seconds_and_mixes_no_request(tmp_path: Path) -> None:
    place = Place.make(tmp_path)
    first = place.deployed()
    second = place.version(bias=3.0)
    with endpoint(place.project.root, "--workers", "2") as running, Load(running.predict) as load:
        wait_until(lambda: load.requests > 20)
        for number in (second, first, second):
            deploy(place.ledger, "fraud", number, actor="alice", reason="better")
            revision = load_routing(place.ledger, "fraud").revision
            took_s = wait_until(
                lambda wanted=revision: {one.routing["fraud"].revision for one in read_slots(place.project)} == {wanted}  # type: ignore[misc]
            )
            assert took_s < 2.0
            assert len(read_slots(place.project)) == 2
            since = load.requests
            for _ in range(10):  # on connections of their own
                reply = httpx.post(running.predict, json=row(1, payment_id=None))
                assert reply.json()["results"][0]["version"] == number
            wait_until(lambda seen=since: load.requests > seen + 5)  # type: ignore[misc]
    assert not load.failed
    assert not load.mixed
    assert {msgspec.json.decode(answer)["version"] for answer in load.answered.values()} == {first, second}
