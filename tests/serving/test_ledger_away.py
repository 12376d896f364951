"""A ledger that hangs, or is gone without a word, stops no answer; when it is back, what happened meanwhile counts."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from everloop.clock import SystemClock
from everloop.ledger import Ledger
from everloop.project import Project
from everloop.rollout import deploy, load_routing
from everloop.serving import read_slots
from everloop.serving.patience import Patience
from everloop.serving.slots import is_living
from tests.database_server import DatabaseServer, database_server
from tests.serving.link import Link, link
from tests.serving.place import Endpoint, Place, endpoint, row, wait_until

AGE = re.compile(r"^everloop_ledger_look_age_seconds (\S+)$", re.MULTILINE)


@pytest.fixture(scope="module")
def server() -> Iterator[DatabaseServer]:
    with database_server() as running:
        yield running


@contextmanager
def far_ledger(root: Path, server: DatabaseServer) -> Iterator[tuple[Place, Link]]:
    """A project whose ledger lies behind a link; the place itself reaches it past that."""
    import psycopg

    with psycopg.connect(server.address, autocommit=True) as connection:
        connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    with link(server) as wire, Ledger.open(server.address, clock=SystemClock()) as ledger:
        place = Place.make(root)
        place.ledger.close()
        settings = f"ledger: {wire.address}\nendpoint: {{keys: required}}\n"
        (place.project.root / "everloop.yaml").write_text(settings)
        yield Place(project=Project.open(place.project.root), ledger=ledger, store=place.store), wire


def asked(running: Endpoint, path: str, key: str, **more: object) -> httpx.Response:
    """On a connection of its own, which any living worker may take."""
    headers = {"authorization": f"Bearer {key}"}
    return httpx.request("POST" if more else "GET", running.url + path, headers=headers, timeout=20, **more)  # type: ignore[arg-type]


def predicted(running: Endpoint, key: str, number: int) -> httpx.Response:
    return asked(running, "/v1/models/fraud/predict", key, json=row(number, payment_id=f"away-{number}"))


def champion(running: Endpoint, key: str) -> object:
    return asked(running, "/readyz", key).json()["models"]["fraud"]["champion"]


def served_by_all(place: Place, revision: int, *, workers: int = 1) -> bool:
    living = [one for one in read_slots(place.project) if is_living(one)]
    return len(living) == workers and all(one.routing["fraud"].revision == revision for one in living)


def age_s(running: Endpoint, key: str) -> float:
    found = AGE.search(asked(running, "/metrics", key).text)
    assert found is not None
    return float(found[1])


def test_a_ledger_that_hangs_stops_no_answer_and_all_is_caught_up_when_it_is_back(
    tmp_path: Path, server: DatabaseServer
) -> None:
    with far_ledger(tmp_path, server) as (place, wire):
        first = place.deployed()
        key, revoked = place.key("predict", "operate"), place.key("predict")
        with endpoint(place.project.root, "--workers", "2") as running:
            ready = asked(running, "/readyz", key).json()
            assert (ready["ready"], ready["degraded"], ready["ledger"]) == (True, False, None)
            assert ready["ledger_look_age_s"] < 2.0
            # Given a ledger that takes every question and answers none, while the world goes on
            wire.go_dead()
            second = place.deployed(bias=3.0)
            place.revoke(revoked)
            psutil.Process(running.process.pid).children()[0].kill()
            # Then who lives goes on with what was known, and says so
            wait_until(lambda: asked(running, "/readyz", key).json()["degraded"])
            ready = asked(running, "/readyz", key)
            assert (ready.status_code, ready.json()["ready"]) == (200, True)
            assert "has not answered for" in ready.json()["ledger"]
            before_s = age_s(running, key)
            assert before_s > 2.0
            for number in range(20):
                assert predicted(running, key, number).json()["results"][0]["version"] == first
            assert predicted(running, revoked, 20).status_code == 200
            wait_until(lambda: age_s(running, key) > before_s + 0.5)
            # When it answers again, then all of it counts soon
            wire.come_back()
            wait_until(lambda: predicted(running, key, 100).status_code == 200)
            assert wait_until(lambda: champion(running, key) == second) < 2.0
            assert wait_until(lambda: predicted(running, revoked, 101).status_code == 401) < 2.0
            wait_until(lambda: not asked(running, "/readyz", key).json()["degraded"])
            assert age_s(running, key) < 2.0
            revision = load_routing(place.ledger, "fraud").revision
            wait_until(lambda: served_by_all(place, revision, workers=2), within_s=40)
            # And nobody who asked is waited for when it hangs as the endpoint stops
            wire.go_dead()
            began_s = time.monotonic()
            assert running.stop() == 0
            assert time.monotonic() - began_s < 12.0


def test_a_connection_that_never_answers_again_is_given_up(tmp_path: Path, server: DatabaseServer) -> None:
    with far_ledger(tmp_path, server) as (place, wire):
        place.deployed()
        key = place.key("predict", "operate")
        with endpoint(place.project.root) as running:
            wire.go_dead()
            wait_until(lambda: asked(running, "/readyz", key).json()["degraded"])
            # a server that took over knows nothing of the connections of before
            wire.come_back(forgetting=True)
            second = place.version(bias=3.0)
            deploy(place.ledger, "fraud", second, actor="alice", reason="better")
            wait_until(lambda: champion(running, key) == second)
            assert predicted(running, key, 1).json()["results"][0]["version"] == second
            wait_until(lambda: not asked(running, "/readyz", key).json()["degraded"])


def test_a_question_is_given_up_when_its_time_is_over_and_again_if_that_does_not_help() -> None:
    now_s, given_up = [100.0], []
    patience = Patience(lambda: given_up.append(now_s[0]), give_up_s=5.0, now_s=lambda: now_s[0])
    patience.check()
    with patience.asking():
        for second in range(12):
            now_s[0] = 100.0 + second
            assert patience.waited_s == second
            patience.check()
    now_s[0] = 200.0
    patience.check()
    assert (given_up, patience.waited_s) == ([105.0, 110.0], 0.0)
