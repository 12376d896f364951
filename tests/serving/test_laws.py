import itertools
import json
import re
import resource
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import msgspec
import psutil
import pytest

from everloop.clock import SimulatedClock
from everloop.data import Column
from everloop.ids import content_id
from everloop.ledger import VersionRegistered
from everloop.rollout import (
    AbortRequested,
    Comparison,
    Evidence,
    Rollout,
    Stage,
    Tick,
    advance,
    assign,
    deploy,
    load_routing,
    rollback,
    start,
)
from everloop.serving import read_counters, read_slots
from tests.serving.place import CONTRACT, Endpoint, Place, endpoint, killed_as_it_starts, logged, row, wait_until


@dataclass
class Load:
    """Requests of 20 rows from several connections until it is stopped; what came back, by id.

    mixed: replies in which several versions answered.
    """

    url: str
    start: int = 0
    clients: int = 4
    answered: dict[str, bytes] = field(default_factory=dict)
    failed: list[object] = field(default_factory=list)
    mixed: list[bytes] = field(default_factory=list)
    requests: int = 0

    def __post_init__(self) -> None:
        self._numbers = itertools.count(self.start)
        self._stop = threading.Event()
        self._lock = threading.Lock()

    def __enter__(self) -> "Load":
        self._pool = ThreadPoolExecutor(self.clients)
        self._running = [self._pool.submit(self._client) for _ in range(self.clients)]
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for one in self._running:
            one.result()
        self._pool.shutdown()

    def _client(self) -> None:
        with httpx.Client(timeout=20) as client:
            while not self._stop.is_set():
                first = next(self._numbers) * 20
                body = {"rows": [row(number) for number in range(first, first + 20)]}
                try:
                    reply = client.post(self.url, json=body)
                except httpx.TransportError as error:
                    self.failed.append(error)
                    self._stop.set()
                    return
                with self._lock:
                    self.requests += 1
                    if reply.status_code != 200 or reply.json()["errors"]:
                        self.failed.append(reply.text)
                        continue
                    versions = set()
                    for one in msgspec.json.decode(reply.content, type=Answered).results:
                        answer = msgspec.json.decode(one)
                        versions.add(answer["version"])
                        self.answered[answer["id"]] = bytes(one)
                    if len(versions) > 1:
                        self.mixed.append(reply.content)


class Answered(msgspec.Struct):
    results: list[msgspec.Raw]


def shadow(place: Place, challenger: int, *, share: float = 0.0, salt: str = "salt") -> Rollout:
    now = datetime.now(UTC)
    mode = "shadow" if share == 0.0 else "canary"
    champion = load_routing(place.ledger, "fraud").champion
    assert champion is not None
    rollout = Rollout(
        id=f"fraud/v{challenger}", model="fraud", challenger=challenger, champion=champion, salt=salt,
        plan=(Stage(mode=mode, share=share, duration=timedelta()),), started_at=now, entered_at=now,
    )  # fmt: skip
    return start(place.ledger, rollout, actor="test")


def again(place: Place, running: Endpoint, *, bias: float = -2.0) -> int:
    """A fresh champion alone, served."""
    number = place.deployed(bias=bias)
    wait_until(lambda: running.serves(load_routing(place.ledger, "fraud").revision))
    return number


def caught_up(place: Place, running: Endpoint) -> None:
    wait_until(lambda: running.serves(load_routing(place.ledger, "fraud").revision))


def end(place: Place) -> None:
    advance(place.ledger, "fraud", AbortRequested(at=datetime.now(UTC), by="alice"), actor="alice")


def test_what_was_acknowledged_is_recorded_once_though_the_process_is_killed(place):
    place.deployed()
    with endpoint(place.project.root) as running, Load(running.predict) as load:
        wait_until(lambda: len(load.answered) >= 1000)
        running.kill()
    assert len(load.answered) >= 1000
    with endpoint(place.project.root) as running:
        ids = sorted(load.answered)[:200]
        reply = httpx.post(running.predict, json={"rows": [row(int(one[4:])) for one in ids]})
        results = msgspec.json.decode(reply.content, type=Answered).results
        assert [bytes(one) for one in results] == [load.answered[one] for one in ids]
        assert running.stop() == 0
    assert set(load.answered) <= set(logged(place)["prediction_id"])


def test_champions_change_without_a_failed_request_and_a_rollback_takes_two_seconds(served):
    place, running = served
    first = again(place, running)
    second = place.version(bias=3.0)
    with Load(running.predict, start=1_000_000) as load:
        wait_until(lambda: load.requests > 20)
        for _ in range(3):
            deploy(place.ledger, "fraud", second, actor="alice", reason="better")
            caught_up(place, running)
            rollback(place.ledger, "fraud", actor="alice", reason="worse")
            revision = load_routing(place.ledger, "fraud").revision
            assert wait_until(lambda wanted=revision: running.serves(wanted)) < 2.0
        done = load.requests
        wait_until(lambda: load.requests > done + 20)
    assert not load.failed
    assert {msgspec.json.decode(answer)["version"] for answer in load.answered.values()} == {first, second}


def test_a_corrupted_bundle_never_answers(served):
    place, running = served
    first = again(place, running)
    second = place.version(bias=3.25)
    spoil(place, second, "graph.onnx")
    served_revision = load_routing(place.ledger, "fraud").revision
    deploy(place.ledger, "fraud", second, actor="alice", reason="better")
    wait_until(lambda: running.ready()["models"]["fraud"]["problem"] is not None)
    ready = running.ready()["models"]["fraud"]
    assert (ready["revision"], ready["wanted"], ready["current"]) == (served_revision, served_revision + 1, False)
    assert "graph.onnx was changed" in ready["problem"]
    assert httpx.get(f"{running.url}/readyz").status_code == 200
    assert httpx.post(running.predict, json=row(1, payment_id="corrupt")).json()["results"][0]["version"] == first
    assert "is not served" in running.log.read_text()
    rollback(place.ledger, "fraud", actor="alice", reason="corrupt")
    caught_up(place, running)
    assert running.ready()["models"]["fraud"]["problem"] is None


def truncated(folder: Path) -> None:
    graph = folder / "graph.onnx"
    graph.write_bytes(graph.read_bytes()[: graph.stat().st_size // 2])


POISONS = {
    "graph.onnx was changed": truncated,
    "baseline.json is missing": lambda folder: (folder / "baseline.json").unlink(),
    "hook.py is not in its manifest": lambda folder: (folder / "hook.py").write_text("raise SystemExit"),
}


@pytest.mark.parametrize("sentence", POISONS)
def test_a_poisoned_bundle_never_answers_and_the_champion_stays(served, sentence):
    place, running = served
    first = again(place, running)
    second = place.version(bias=-2.0 + len(sentence))
    POISONS[sentence](place.store.path(place.ledger.version("fraud", second).bundle))
    refused(place, running, second, sentence, champion=first)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda said: said | {"schema": 99}, "schema 99 and this everloop reads 1"),
        (lambda said: said | {"files": said["files"] | {"graph.onnx": "0" * 64}}, "graph.onnx was changed"),
    ],
    ids=["newer", "wrong sum"],
)
def test_a_manifest_that_says_something_else_under_its_own_id_never_answers(served, change, sentence):
    """Written by whoever can register versions: its id is its manifest's, as it should be."""
    place, running = served
    first = again(place, running)
    whole = place.store.path(place.bundle(bias=5.0))
    forged = json.dumps(change(json.loads((whole / "manifest.json").read_bytes()))).encode()
    copied = whole.with_name(content_id(forged))
    shutil.copytree(whole, copied)
    (copied / "manifest.json").write_bytes(forged)
    payload = VersionRegistered(model="fraud", bundle=copied.name, run="r-1", spec="fraud-s1", spec_hash="h")
    version, _ = place.ledger.register_version("fraud", payload, actor="mallory")
    refused(place, running, version.number, sentence, champion=first)


def refused(place: Place, running: Endpoint, version: int, sentence: str, *, champion: int) -> None:
    """Deploy a version that cannot be loaded: who answered before goes on, and /readyz says why."""
    deploy(place.ledger, "fraud", version, actor="alice", reason="better")
    wait_until(lambda: running.ready()["models"]["fraud"]["problem"] is not None)
    ready = httpx.get(f"{running.url}/readyz")
    assert (ready.status_code, ready.json()["ready"], ready.json()["degraded"]) == (200, True, True)
    assert sentence in ready.json()["models"]["fraud"]["problem"]
    reply = httpx.post(running.predict, json=row(1, payment_id=f"poisoned-{version}"))
    assert reply.json()["results"][0]["version"] == champion
    rollback(place.ledger, "fraud", actor="alice", reason="poisoned")
    caught_up(place, running)
    assert not running.ready()["degraded"]


def spoil(place: Place, version: int, name: str) -> None:
    path = place.store.path(place.ledger.version("fraud", version).bundle) / name
    path.write_bytes(path.read_bytes()[:-1] + b"\x00")


def test_the_first_champion_is_served_without_a_restart_and_a_corrupted_one_is_not(place):
    with endpoint(place.project.root) as running:
        reply = httpx.post(running.predict, json=row(1))
        assert (reply.status_code, reply.json()["type"]) == (503, "urn:everloop:problem:no-champion")
        bad = place.version(bias=9.0)
        spoil(place, bad, "contract.json")
        deploy(place.ledger, "fraud", bad, actor="alice", reason="first")
        wait_until(lambda: httpx.get(f"{running.url}/readyz").status_code == 503)
        assert "contract.json was changed" in httpx.post(running.predict, json=row(1)).json()["detail"]
        place.deployed()
        caught_up(place, running)
        assert httpx.post(running.predict, json=row(1)).status_code == 200


def test_every_live_version_scores_and_only_its_share_is_answered(served):
    place, running = served
    first, second = again(place, running), place.version(bias=-1.5)
    shadow(place, second, share=0.3)
    caught_up(place, running)
    routing = load_routing(place.ledger, "fraud")
    rows = [row(number, payment_id=f"share-{number}") for number in range(500)]
    results = httpx.post(running.predict, json={"rows": rows}).json()["results"]
    end(place)
    assert all(one["version"] == assign(routing, row(n)["card_id"]).version for n, one in enumerate(results))
    assert {one["side"] for one in results} == {"champion", "challenger"}
    seen = logged(place, like="share-")
    assert seen["scores"].list.len().unique().to_list() == [2]
    assert set(seen["propensity"].unique()) == {0.3, 0.7}
    assert seen["entity"].null_count() == 0
    caught_up(place, running)  # a new routing writes the counters at once
    wait_until(lambda: read_counters(place.project, "fraud").keys() >= {first, second})
    counts = read_counters(place.project, "fraud")
    assert (counts[first].rows, counts[second].rows) == (500, 500)
    assert counts[second].answered == sum(one["version"] == second for one in results)
    assert sum(counts[first].latency) == 500


def test_a_failing_challenger_costs_nobody_an_answer(served):
    place, running = served
    first, second = again(place, running), place.version(bias=float("nan"))
    shadow(place, second, share=0.9)
    caught_up(place, running)
    rows = [row(number, payment_id=f"nan-{number}") for number in range(50)]
    results = httpx.post(running.predict, json={"rows": rows}).json()["results"]
    end(place)
    assert {one["version"] for one in results} == {first}
    wait_until(lambda: second in read_counters(place.project, "fraud"))
    assert read_counters(place.project, "fraud")[second].errors == 50
    assert logged(place, like="nan-")["side"].unique().to_list() == ["champion"]


def test_a_challenger_may_ask_for_a_column_that_callers_do_not_send_yet(served):
    place, running = served
    first = again(place, running)
    wider = Column(name="distance", type="float", role="feature")
    contract = msgspec.structs.replace(CONTRACT, columns=(*CONTRACT.columns, wider))
    shadow(place, place.version(contract=contract))
    caught_up(place, running)
    rows = [row(1, payment_id="wide-1"), row(2, payment_id="wide-2", distance=7.5)]
    body = httpx.post(running.predict, json={"rows": rows}).json()
    end(place)
    assert not body["errors"]
    assert [one["version"] for one in body["results"]] == [first, first]
    assert logged(place, like="wide-").sort("prediction_id")["in_distance"].to_list() == [None, 7.5]


def test_a_promotion_by_the_state_machine_is_served(served):
    place, running = served
    again(place, running)
    second = place.version(bias=1.0)
    shadow(place, second)
    better = Evidence(comparison=Comparison(outcome="better", sentence="more recall"))
    advance(place.ledger, "fraud", Tick(at=datetime.now(UTC), evidence=better), actor="control")
    caught_up(place, running)
    reply = httpx.post(running.predict, json=row(1, payment_id="promoted"))
    assert reply.json()["results"][0]["version"] == second


def test_a_full_disk_acknowledges_nothing(served):
    place, running = served
    again(place, running)
    known, full = row(1, payment_id="full-known"), row(1, payment_id="full")
    recorded = httpx.post(running.predict, json=known).content
    told = problems(running, "storage-full")
    before = resource.prlimit(running.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(running.process.pid, resource.RLIMIT_FSIZE, (0, before[1]))
    for address, body in ((running.predict, full), (running.outcomes, {"id": "full", "fraud": True})):
        reply = httpx.post(address, json=body)
        assert (reply.status_code, reply.json()["type"]) == (507, "urn:everloop:problem:storage-full")
        assert "nothing of it was written. Free some space" in reply.json()["detail"]
    # what needs no room goes on, a repeat's recorded answer among it
    assert httpx.post(running.predict, json=known).content == recorded
    for page in ("healthz", "readyz", "metrics", "v1/models", "openapi.json"):
        assert httpx.get(f"{running.url}/{page}").status_code == 200
    assert problems(running, "storage-full") == told + 2
    # nor is there room for a new table of ids, without which no row can be told from a repeat
    place.project.paths.spool.joinpath("slot-0.ids").unlink()
    assert httpx.post(running.predict, json=known).status_code == 507
    resource.prlimit(running.process.pid, resource.RLIMIT_FSIZE, before)
    assert httpx.post(running.predict, json=full | {"amount": 2.0}).status_code == 200
    assert httpx.post(running.predict, json=known).content == recorded
    assert httpx.post(running.predict, json=known | {"amount": 3.0}).status_code == 409
    assert httpx.post(running.outcomes, json={"id": "full", "fraud": True}).status_code == 200
    seen = logged(place, like="full").sort("prediction_id")
    assert seen["prediction_id"].to_list() == ["full", "full-known"]
    assert seen["in_amount"].to_list() == [2.0, 1.0]


def problems(running: Endpoint, kind: str) -> float:
    """How many requests for predictions and outcomes were answered with it, as the metrics say."""
    text = httpx.get(f"{running.url}/metrics").text
    lines = re.findall(
        rf'^everloop_problems_total{{kind="{kind}",model="fraud",route="\w+"}} (\S+)$', text, re.MULTILINE
    )
    return sum(map(float, lines))


def test_a_ledger_that_cannot_be_read_changes_no_answer(served):
    place, running = served
    again(place, running)
    connection = sqlite3.connect(place.project.paths.ledger_db)
    try:
        connection.execute("ALTER TABLE routing RENAME TO elsewhere")
        wait_until(lambda: running.ready()["ledger"] is not None)
        assert httpx.get(f"{running.url}/readyz").status_code == 200
        assert httpx.post(running.predict, json=row(1, payment_id="unread")).status_code == 200
    finally:
        connection.execute("ALTER TABLE elsewhere RENAME TO routing")
        connection.close()
    wait_until(lambda: running.ready()["ledger"] is None)


def test_a_stop_answers_what_was_accepted_and_a_replay_s_clock_dates_it(place, tmp_path):
    place.deployed()
    at = datetime(2031, 5, 6, 7, tzinfo=UTC)
    SimulatedClock(at, path=tmp_path / "clock")
    with endpoint(place.project.root, EVERLOOP_CLOCK=f"shared:{tmp_path / 'clock'}") as running:
        port = int(running.url.rsplit(":", 1)[1])
        sockets = [socket.create_connection(("127.0.0.1", port), timeout=20) for _ in range(16)]
        for number, one in enumerate(sockets):
            rows = [row(place, payment_id=f"stop-{number}-{place}", paid_at=None) for place in range(500)]
            body = json.dumps({"rows": rows}).encode()
            head = f"POST /v1/models/fraud/predict HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
            one.sendall(head.encode() + body)
        half = socket.create_connection(("127.0.0.1", port), timeout=20)
        half.sendall(b"POST /v1/models/fraud/predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        httpx.get(f"{running.url}/healthz")
        assert running.stop() == 0, "whoever sends half a request does not hold the end up"
        for one, status in [*((one, b"200 OK") for one in sockets), (half, b"503 Service Unavailable")]:
            with one, one.makefile("rb") as reply:
                assert reply.readline() == b"HTTP/1.1 " + status + b"\r\n"
    seen = logged(place)
    assert len(seen) == 16 * 500
    assert seen["recorded_at"].unique().to_list() == [at]
    assert seen["event_time"].unique().to_list() == [at]


def test_two_workers_answer_on_one_port_and_one_that_dies_is_replaced(place):
    place.deployed()
    with endpoint(place.project.root, "--workers", "2") as running:
        supervisor = psutil.Process(running.process.pid)
        assert len(read_slots(place.project)) == 2
        first = supervisor.children()[0]
        first.kill()
        answers = {httpx.post(running.predict, json=row(1)).content for _ in range(10)}
        assert len(answers) == 1
        wait_until(lambda: len([one for one in supervisor.children() if one.pid != first.pid]) == 2)
        workers = supervisor.children()
        assert running.stop() == 0
        assert not any(one.is_running() for one in workers)
    assert len(logged(place)) == 1


def test_a_worker_that_is_killed_before_it_answers_is_started_again(place):
    place.deployed()
    with killed_as_it_starts(2) as killed, endpoint(place.project.root, "--workers", "2") as running:
        assert len(killed) == 2
        assert httpx.post(running.predict, json=row(1)).status_code == 200
        assert len(psutil.Process(running.process.pid).children()) == 2


def test_workers_that_are_killed_each_time_end_the_endpoint_with_one_sentence(place):
    command = [sys.executable, "-m", "everloop.serving", "--project", str(place.project.root), "--workers", "2"]
    with killed_as_it_starts(100):
        ended = subprocess.run([*command, "--port", "0"], capture_output=True, text=True)
    assert ended.returncode == 1
    assert ended.stderr.strip().startswith("a worker of the endpoint ended with -9 before it answered")


def test_the_endpoint_loads_no_training_library():
    script = "import sys, everloop.serving.server, everloop.serving.workers; print(*sys.modules)"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    banned = {"altair", "dbos", "lightgbm", "mlflow", "onnx", "optuna", "pandas", "sklearn", "skl2onnx", "xgboost"}
    assert not set(found.stdout.split()) & banned


def test_a_second_endpoint_on_the_port_ends_with_one_sentence(served):
    place, running = served
    port = running.url.rsplit(":", 1)[1]
    command = [sys.executable, "-m", "everloop.serving", "--project", str(place.project.root), "--port", port]
    second = subprocess.run(command, capture_output=True, text=True)
    assert second.returncode == 1
    assert "is in use" in second.stderr
    assert "Traceback" not in second.stderr
