"""Versions that something else serves, asked through the endpoint: real servers, the real endpoint process."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np
import polars as pl
import pytest

from everloop.bundle import BundleStore
from everloop.clock import SystemClock
from everloop.control import Controller, Resources, begin_rollout
from everloop.data import write_contract
from everloop.ledger import Exposure
from everloop.rollout import load_routing
from everloop.traffic import Mover, TrafficLog

from .other_server import OtherServer, other_server
from .place import CONTRACT, Endpoint, Place, endpoint, row, wait_until

TOKEN = "t0ken-of-the-other-server"
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@dataclass
class Town:
    """v1 and v2 are served by something else, v3 by nobody we know of, and v4 by us."""

    place: Place
    running: Endpoint
    first: OtherServer
    second: OtherServer

    def route(self, champion: int, challengers: Sequence[tuple[int, float]] = (), *, wait: bool = True) -> None:
        ledger = self.place.ledger
        before = load_routing(ledger, "fraud")
        state, _ = ledger.change_routing(
            "fraud",
            expected_revision=before.revision,
            champion=champion,
            previous=before.champion,
            challengers=[
                Exposure(version=version, share=share, mode="canary" if share else "shadow", salt="s")
                for version, share in challengers
            ],
            reason="test",
            actor="alice",
        )
        if wait:
            wait_until(lambda: self.running.serves(state.revision))

    def predict(self, *rows: dict[str, Any], **headers: str) -> httpx.Response:
        return httpx.post(self.running.predict, json={"rows": list(rows)}, headers=headers, timeout=20)

    def metric(self, name: str, version: int) -> float:
        text = httpx.get(f"{self.running.url}/metrics").text
        head = f'everloop_{name}_total{{model="fraud",role="challenger",version="{version}"}} '
        return next((float(line.removeprefix(head)) for line in text.splitlines() if line.startswith(head)), 0.0)

    def logged(self, *ids: str) -> pl.DataFrame:
        paths = self.place.project.paths
        with Mover.open(spool=paths.spool, traffic=paths.traffic, clock=SystemClock()) as mover:
            mover.move_once()
        frame = TrafficLog(paths.traffic, "fraud").predictions().collect()
        return frame.filter(pl.col("prediction_id").is_in(ids)).sort("prediction_id")


@pytest.fixture(scope="module")
def running_town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    with other_server(-2.0) as first, other_server(-1.0) as second:
        upstream = (
            f"upstream:\n  v1: {{url: '{first.url}/', timeout: 300ms}}\n"
            f"  v2: {{url: '{second.url}', protocol: mlflow, timeout: 3s, patience: 50ms, token: MODELS_TOKEN}}\n"
        )
        place = Place.make(tmp_path_factory.mktemp("relay"), more=upstream)
        write_contract(place.project.model("fraud").contract_path, CONTRACT)
        for number in (1, 2, 3):
            place.external(number)
        assert place.version() == 4
        with endpoint(place.project.root, MODELS_TOKEN=TOKEN) as running:
            yield Town(place=place, running=running, first=first, second=second)


@pytest.fixture
def town(running_town: Town) -> Iterator[Town]:
    yield running_town
    running_town.first.well()
    running_town.second.well()


def scores_of(frame: pl.DataFrame) -> list[dict[int, float]]:
    return [{one["version"]: one["score"] for one in scores} for scores in frame["scores"].to_list()]


def test_both_are_asked_at_once_and_the_routing_picks_whose_answer_is_given(town: Town) -> None:
    town.route(1, [(2, 0.4)])
    town.first.asked.clear()
    rows = [row(n, payment_id=f"a{n}", card_id=f"c{n}") for n in range(60)]
    said = town.predict(*rows, traceparent=TRACE, tracestate="k=v").json()
    assert said["errors"] == []
    assert {(one["version"], one["side"]) for one in said["results"]} == {(1, "champion"), (2, "challenger")}
    for one, sent in zip(said["results"], rows, strict=True):
        server = {1: town.first, 2: town.second}[one["version"]]
        assert one["score"] == pytest.approx(server.score(sent["amount"]), abs=1e-6)
        assert one["decision"] == ("fraud" if one["score"] >= 0.5 else "not_fraud")
    frame = town.logged(*(one["payment_id"] for one in rows))
    assert frame.height == 60
    for scores, amount in zip(scores_of(frame), frame["in_amount"], strict=True):
        assert scores == pytest.approx({1: town.first.score(amount), 2: town.second.score(amount)}, abs=1e-6)
    assert set(frame["propensity"]) == {0.6, 0.4}
    [(path, headers, _)] = town.first.asked
    assert path == "/v2/models/fraud/infer"
    assert "authorization" not in headers
    assert town.second.asked[-1][1]["authorization"] == f"Bearer {TOKEN}"
    assert TOKEN not in town.running.log.read_text()
    assert (headers["traceparent"], headers["tracestate"]) == (TRACE, "k=v")
    turns = httpx.post(town.running.decide, json={"rows": [{"id": "x", "card_id": f"c{n}"} for n in range(60)]}).json()
    assert [one["version"] for one in turns["results"]] == [one["version"] for one in said["results"]]


def test_the_same_row_gets_the_recorded_answer_and_a_bad_one_harms_nobody(town: Town) -> None:
    town.route(1)
    first = town.predict(row(1, payment_id="b1")).json()
    town.first.bias, before = 5.0, town.first.bias
    try:
        again = town.predict(
            row(1, payment_id="b1"), row(2, payment_id="b2", amount=-1.0), row(3, payment_id="b3")
        ).json()
    finally:
        town.first.bias = before
    assert again["results"][0] == first["results"][0]
    assert [one["id"] for one in again["results"]] == ["b1", "b3"]
    assert [(error["id"], error["column"]) for error in again["errors"]] == [("b2", "amount")]
    assert town.predict(row(9, payment_id="b1")).json()["errors"][0]["conflict"] is True
    bad = httpx.post(town.running.predict, content=b"{", headers={"content-type": "application/json"})
    assert bad.status_code == 400


def test_a_shadow_that_hangs_delays_nobody_for_long_and_fails_nobody(town: Town) -> None:
    town.route(1, [(2, 0.0)])
    errors = town.metric("unscored_rows", 2)
    town.second.free.clear()
    said = town.predict(row(1, payment_id="d1"))  # answered while the shadow's server still keeps its caller waiting
    assert said.json()["results"][0]["version"] == 1
    assert not town.second.free.is_set()
    [scores] = town.logged("d1")["scores"].to_list()
    assert [(one["version"], one["decision"]) for one in scores] == [(1, False), (2, False)]
    assert scores[1]["score"] is None or np.isnan(scores[1]["score"])
    assert town.metric("unscored_rows", 2) == errors + 1


def test_a_challenger_that_fails_leaves_the_champions_answer(town: Town) -> None:
    town.route(1, [(2, 1.0)])
    assert town.predict(row(1, payment_id="e0")).json()["results"][0]["side"] == "challenger"
    town.second.status = 500
    said = town.predict(row(1, payment_id="e1")).json()["results"][0]
    assert (said["version"], said["side"]) == (1, "champion")


def test_a_champion_that_fails_is_told_with_a_sentence(town: Town) -> None:
    town.route(1)
    town.first.status, town.first.said = 400, {"error": "unexpected input"}
    reply = town.predict(row(1, payment_id="f1"))
    assert (reply.status_code, reply.json()["type"]) == (502, "urn:everloop:problem:upstream-failed")
    assert "the server of v1 answered 400: unexpected input" in reply.json()["detail"]
    town.first.status, town.first.said = 200, {"outputs": [{"name": "p", "data": [1, 2, 3]}]}
    assert "3 numbers for 2 rows" in town.predict(row(1, payment_id="f1"), row(2, payment_id="f2")).json()["detail"]
    town.first.said = b'{"outputs": [{"name": "p", "data": [NaN]}]}'
    [error] = town.predict(row(1, payment_id="f3")).json()["errors"]
    assert error["detail"] == "the server of v1 gave no score for this row"
    town.first.well()
    town.first.free.clear()
    reply = town.predict(row(1, payment_id="f4"))
    assert (reply.status_code, reply.json()["type"]) == (504, "urn:everloop:problem:upstream-late")
    assert "did not answer within 300ms" in reply.json()["detail"]
    town.first.well()
    known = town.predict(row(1, payment_id="f5")).json()["results"]
    town.first.status = 500
    assert town.predict(row(1, payment_id="f5")).json()["results"] == known  # what was answered once stays answered


def test_a_server_that_keeps_failing_is_left_alone_and_tried_again(town: Town) -> None:
    town.route(1)
    town.first.status = 503
    wait_until(lambda: town.predict(row(1)).json()["type"].endswith("upstream-unavailable"))
    asked = len(town.first.asked)
    reply = town.predict(row(1))
    assert (reply.status_code, reply.headers["retry-after"]) == (503, "1")
    assert "left alone for a moment" in reply.json()["detail"]
    assert len(town.first.asked) <= asked + 1
    town.first.well()
    wait_until(lambda: town.predict(row(1, payment_id="g1")).status_code == 200)


def test_a_connection_that_the_server_closed_is_not_an_error(town: Town) -> None:
    town.route(1)
    town.first.closes = True
    for n in range(5):
        assert town.predict(row(n, payment_id=f"h{n}")).status_code == 200


def test_a_rollback_while_the_servers_are_asked_holds_for_the_request_too(town: Town) -> None:
    town.route(2)
    town.second.free.clear()
    asked, got = len(town.second.asked), list[dict[str, Any]]()
    caller = threading.Thread(target=lambda: got.append(town.predict(row(1, payment_id="i1")).json()))
    caller.start()
    wait_until(lambda: len(town.second.asked) > asked)
    town.route(1)
    town.second.free.set()
    caller.join(20)
    assert got[0]["results"][0]["version"] == 1


def test_our_own_challenger_is_met_on_what_something_else_serves(town: Town) -> None:
    town.route(1, [(4, 0.5)])
    rows = [row(n, payment_id=f"j{n}", card_id=f"c{n}") for n in range(12)]
    said = town.predict(*rows).json()["results"]
    assert {one["version"] for one in said} == {1, 4}
    posted = [row(n, payment_id=f"k{n}") | {"score": 0.125, "version": 1, "threshold": 0.5} for n in range(12)]
    assert httpx.post(town.running.predictions, json={"rows": posted}).json()["recorded"] == 12
    frame = town.logged(*(f"{of}{n}" for of in "jk" for n in range(12)))
    bundle = BundleStore(town.place.project.paths.bundles).load(town.place.ledger.version("fraud", 4).bundle)
    inputs = frame.select(pl.col(f"in_{name}").alias(name) for name in ("amount", "visits", "country"))
    ours = bundle.score_frame(inputs).score.tolist()
    assert [scores[4] for scores in scores_of(frame)] == ours  # the same bytes, wherever the row came from
    theirs = [scores[1] for scores in scores_of(frame)]
    assert theirs[12:] == [0.125] * 12


def test_a_version_whose_server_nobody_named_is_not_predicted_here(town: Town) -> None:
    town.route(3)
    reply = town.predict(row(1, payment_id="l1"))
    assert (reply.status_code, reply.json()["type"]) == (501, "urn:everloop:problem:not-served-here")
    assert "/v1/models/fraud/predictions" in reply.json()["detail"]


def test_a_challenger_whose_server_fails_is_taken_back_by_the_guardrail(town: Town) -> None:
    town.route(1)
    project, ledger, clock = town.place.project, town.place.ledger, SystemClock()
    begin_rollout(project, ledger, clock, model="fraud", number=2, actor="alice")
    wait_until(lambda: town.running.serves(load_routing(ledger, "fraud").revision))
    town.second.status = 500
    now = clock.now().isoformat()
    assert town.predict(*(row(n, payment_id=f"m{n}", paid_at=now) for n in range(30))).status_code == 200
    town.logged()
    Controller(Resources.of(project, ledger=ledger, clock=clock)).tick()
    rollout = next(one for one in ledger.rollouts("fraud") if one.version == 2)
    assert rollout.status == "stopped"
    assert "errors" in rollout.sentence
    assert 2 not in load_routing(ledger, "fraud").live
    # what waits next is ours and passed its gates; v3, which something else serves, waits for a person
    assert [one.version for one in ledger.rollouts("fraud", running_only=True)] == [4]


def test_a_token_that_is_not_there_is_one_sentence(town: Town) -> None:
    command = [sys.executable, "-m", "everloop.serving", "--project", str(town.place.project.root), "--port", "0"]
    for given, said in ((None, "is not set"), ("two words", "holds more than the letters of a token")):
        kept = {name: value for name, value in os.environ.items() if name != "MODELS_TOKEN"}
        kept |= {} if given is None else {"MODELS_TOKEN": given}
        ended = subprocess.run(command, capture_output=True, text=True, env=kept, check=False)
        assert ended.returncode == 1
        assert f"upstream.v2 of fraud is sent the token in MODELS_TOKEN, which {said}" in ended.stderr
        assert "Traceback" not in ended.stderr
        assert "two words" not in ended.stderr
