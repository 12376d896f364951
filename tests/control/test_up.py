"""`everloop up` as real processes: they answer, die, come back, and end in order."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from everloop.rollout import deploy
from everloop.traffic import TrafficLog

from ..processes import command_of
from ..serving.place import Place, killed_as_it_starts, row, wait_until
from ..serving.test_tls import Files

PROGRAM = [sys.executable, "-c", "from everloop.cli import main; main()"]


@dataclass
class Up:
    """A project that is up."""

    process: subprocess.Popen[str]
    url: str
    root: Path

    def predict(self, *numbers: int) -> list[dict[str, Any]]:
        rows = {"rows": [row(number) for number in numbers]}
        answer = httpx.post(f"{self.url}/v1/models/fraud/predict", json=rows, timeout=20)
        assert answer.status_code == 200, answer.text
        return list(answer.json()["results"])

    def children(self) -> dict[str, psutil.Process]:
        found = {}
        for child in psutil.Process(self.process.pid).children():
            with suppress(psutil.NoSuchProcess):  # it was there a moment ago
                if child.status() != psutil.STATUS_ZOMBIE:
                    found[_name(child)] = child
        return found

    def stop(self, number: signal.Signals = signal.SIGINT) -> int:
        self.process.send_signal(number)
        return self.process.wait(timeout=40)


def _name(process: psutil.Process) -> str:
    words = command_of(process)
    module = words[2] if len(words) > 2 else ""
    return {"everloop.serving": "endpoint", "everloop.control.mover_process": "mover"}.get(module, "worker")


@contextmanager
def up(root: Path, *options: str) -> Iterator[Up]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("EVERLOOP_")}
    with (root / "up.log").open("a") as talk:
        process = subprocess.Popen(
            [*PROGRAM, "up", "--port", "0", "--json", *options],
            cwd=root,
            stdout=subprocess.PIPE,
            stderr=talk,
            text=True,
            env=kept,
        )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert line, (root / "up.log").read_text()
        yield Up(process=process, url=json.loads(line)["url"], root=root)
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(timeout=60)
        process.stdout.close()


def everloop(root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*PROGRAM, *words], cwd=root, capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place.make(tmp_path)
    made.deployed()
    deploy(made.ledger, "fraud", made.version(bias=2.0), actor="alice", reason="test")
    yield made
    made.ledger.close()


def moved(place: Place) -> int:
    return TrafficLog(place.project.paths.traffic, "fraud").count()[0]


def test_up_asks_for_keys_where_other_machines_reach_it_and_shows_a_certificate(place: Place, tmp_path: Path) -> None:
    root, files = place.project.root, Files.write(tmp_path / "tls")
    options = ["--host", "0.0.0.0", "--workers", "2", "--tls-cert", "../tls/cert.pem", "--tls-key", "../tls/key.pem"]
    refused = everloop(root, "up", "--port", "0", *options)
    assert (refused.returncode, refused.stdout) == (3, "")
    assert "other machines reach 0.0.0.0, and no key lets anyone in" in refused.stderr
    key = place.key("predict")
    trusted = ssl.create_default_context(cafile=str(files.certificate))
    with up(root, *options) as running, httpx.Client(verify=trusted) as client:
        assert running.url.startswith("https://0.0.0.0:")
        url = running.url.replace("0.0.0.0", "127.0.0.1")
        assert client.post(f"{url}/v1/models/fraud/predict", json=row(1)).status_code == 401
        shown = {"authorization": f"Bearer {key}"}
        assert client.post(f"{url}/v1/models/fraud/predict", json=row(1), headers=shown).status_code == 200
        assert client.get(f"{url}/readyz").json() == {"ready": True}


def test_it_answers_rolls_back_within_two_seconds_and_stops_cleanly(place: Place) -> None:
    root = place.project.root
    with up(root) as running:
        assert running.predict(1)[0]["version"] == 2
        second = everloop(root, "up", "--port", "0")
        assert (second.returncode, second.stdout) == (1, "")
        assert "already up, as process" in second.stderr
        said = json.loads(everloop(root, "status", "--json").stdout)
        assert said["up"] == running.process.pid
        assert said["models"][0]["champion"] == 2
        back = everloop(root, "rollback", "--json", "--reason", "a test")
        assert json.loads(back.stdout)["champion"] == 1, back.stderr
        numbers = iter(range(10, 10_000))
        assert wait_until(lambda: running.predict(next(numbers))[0]["version"] == 1, within_s=4) <= 2.0
        asked = next(numbers) - 10
        left = list(running.children().values())
        assert len(left) == 3
        for name in ("mover", "worker"):  # whatever a project's code prints must not fill a pipe that nobody reads
            written = [Path(f"/proc/{running.children()[name].pid}/fd/{number}").readlink() for number in (1, 2)]
            assert written == [root / "up.log"] * 2
        assert running.stop() == 0
    assert not any(process.is_running() for process in left)
    assert moved(place) == 1 + asked
    log = (root / "up.log").read_text()
    assert "Traceback" not in log, log
    assert place.ledger.lease("control") is None


def test_what_was_recorded_reaches_the_log_though_the_mover_was_killed_just_before_the_end(place: Place) -> None:
    with up(place.project.root) as running:
        running.predict(0)
        wait_until(lambda: moved(place) == 1)
        for asked in (1, 2):  # the mover is not there yet as the second comes
            victim = running.children()["mover"]
            running.predict(asked)
            victim.kill()
            wait_until(lambda: running.children().get("mover", victim).pid != victim.pid)  # noqa: B023
        assert running.stop(signal.SIGTERM) == 0
    assert moved(place) == 3
    with up(place.project.root) as running:
        running.children()["mover"].kill()
        running.predict(3)
        assert running.stop(signal.SIGTERM) == 0
    assert moved(place) == 4


def test_what_is_killed_comes_back_and_nothing_acknowledged_is_lost(place: Place) -> None:
    root = place.project.root
    with up(root) as running:
        asked = 0
        for name in ("endpoint", "mover", "worker"):
            wait_until(lambda: len(running.children()) == 3)
            victim = running.children()[name]
            running.predict(asked)
            victim.kill()
            # the port stays open: what is asked now is answered by the next process
            assert running.predict(asked + 1)[0]["version"] == 2
            asked += 2
            wait_until(lambda: running.children().get(name, victim).pid != victim.pid)  # noqa: B023
        wait_until(lambda: len(running.children()) == 3)
        wait_until(lambda: (lease := place.ledger.lease("control")) is not None and lease.alive)
        assert running.stop(signal.SIGTERM) == 0
    assert moved(place) == asked
    told = (root / "up.log").read_text()
    assert [f"the {name} was killed (SIGKILL); it is started again" in told for name in ("endpoint", "mover")] == [
        True,
        True,
    ]
    assert "Traceback" not in told, told


def test_an_endpoint_that_is_killed_before_it_answers_is_started_again(place: Place) -> None:
    with killed_as_it_starts(1) as killed, up(place.project.root) as running:
        assert len(killed) == 1
        assert running.predict(1)[0]["version"] == 2
    assert "the endpoint was killed (SIGKILL); it is started again" in (place.project.root / "up.log").read_text()


def test_no_process_outlives_a_killed_supervisor_and_the_project_can_be_up_again(place: Place) -> None:
    root = place.project.root
    with up(root) as running:
        running.predict(1)
        left = list(running.children().values())
        port = running.url.rpartition(":")[2]
        running.process.kill()
        running.process.wait()
        with up(root, "--port", port) as again:
            assert again.url == running.url
            assert again.predict(2)[0]["version"] == 2
            wait_until(lambda: not any(process.is_running() for process in left))
            assert again.stop() == 0
    assert moved(place) == 2


def test_a_port_in_use_is_one_sentence_and_leaves_nothing_running(place: Place) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        refused = everloop(place.project.root, "up", "--port", port)
    assert refused.returncode == 1
    assert refused.stdout == ""
    assert refused.stderr.count("\n") == 1
    assert f"port {port} of 127.0.0.1 is in use" in refused.stderr
    assert not place.project.paths.lock.read_text()


def test_a_ledger_taken_away_is_said_once_by_each_and_nothing_goes_into_it(place: Place) -> None:
    root, ledger = place.project.root, place.project.paths.ledger_db
    kept = ledger.with_name("kept.db")
    log = root / "up.log"
    with up(root) as running:
        wait_until(lambda: place.ledger.lease("control") is not None)
        place.ledger.close()
        ledger.rename(kept)
        wait_until(lambda: log.read_text().count("was removed while it was in use") >= 2)
        assert running.predict(1)[0]["version"] == 2, "what is served is served on"
        ready = httpx.get(f"{running.url}/readyz").json()
        assert (ready["ready"], "was removed" in ready["ledger"]) == (True, True)
        status = everloop(root, "status")
        assert (status.returncode, status.stderr.count("\n")) == (1, 1)
        assert "is gone or empty, and held" in status.stderr
        kept.rename(ledger)
        wait_until(lambda: "the ledger can be read again" in log.read_text())
        wait_until(lambda: "the worker goes on" in log.read_text())
        assert running.stop() == 0
    assert log.read_text().count("was removed while it was in use") == 2, log.read_text()
    assert place.ledger.verify().ok
