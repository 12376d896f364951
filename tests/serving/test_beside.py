"""A team whose model is served by something else: whose turn it is, and what that something answered."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import openapi_spec_validator
import polars as pl
import pytest

from everloop.bundle import BundleStore
from everloop.clock import SystemClock
from everloop.data import write_contract
from everloop.errors import BundleError, Conflict
from everloop.ledger import Exposure
from everloop.rollout import deploy
from everloop.traffic import Mover, TrafficLog

from .place import CONTRACT, Endpoint, Place, endpoint, row, wait_until


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Place, Endpoint]]:
    """A project that has a contract and no version at all."""
    place = Place.make(tmp_path_factory.mktemp("bare"))
    write_contract(place.project.model("fraud").contract_path, CONTRACT)
    with endpoint(place.project.root) as running:
        yield place, running


@pytest.fixture(scope="module")
def tried(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Place, Endpoint]]:
    """v7 answers, and v8 is tried on 30 % of the keys; both are served by something else."""
    place = Place.make(tmp_path_factory.mktemp("tried"))
    write_contract(place.project.model("fraud").contract_path, CONTRACT)
    for number in (7, 8):
        place.external(number)
    deploy(place.ledger, "fraud", 7, actor="alice", reason="test")
    place.ledger.change_routing(
        "fraud",
        expected_revision=1,
        champion=7,
        previous=None,
        challengers=[Exposure(version=8, share=0.3, mode="canary", salt="s")],
        reason="test",
        actor="alice",
    )
    with endpoint(place.project.root) as running:
        wait_until(lambda: running.serves(2))
        yield place, running


def told(number: int, **changes: Any) -> dict[str, Any]:
    return row(number) | {"score": 0.25, "decision": False, "version": 7} | changes


def logged(place: Place) -> pl.DataFrame:
    paths = place.project.paths
    with Mover.open(spool=paths.spool, traffic=paths.traffic, clock=SystemClock()) as mover:
        mover.move_once()
    return TrafficLog(place.project.paths.traffic, "fraud").predictions().collect()


def post(url: str, *rows: dict[str, Any], status: int = 200) -> dict[str, Any]:
    reply = httpx.post(url, json={"rows": list(rows)})
    assert reply.status_code == status, reply.text
    return dict(reply.json())


def test_what_others_answered_is_recorded_before_any_version_is_known(bare: tuple[Place, Endpoint]) -> None:
    place, running = bare
    said = post(running.predictions, told(1), told(2, score=0.9, decision="fraud", version="v8", threshold=0.6))
    assert said == {"model": "fraud", "recorded": 2, "errors": []}
    again = post(running.predictions, told(1))
    assert again["recorded"] == 1
    frame = logged(place).filter(pl.col("prediction_id").is_in(["pay_1", "pay_2"]))
    assert frame["prediction_id"].to_list() == ["pay_1", "pay_2"]
    assert frame["answered_version"].to_list() == [7, 8]
    assert frame["decision"].to_list() == [False, True]  # known, though nobody told v7's threshold
    assert frame["threshold"].to_list() == [None, 0.6]
    assert frame["score"].to_list() == pytest.approx([0.25, 0.9])
    assert frame["in_amount"].to_list() == [1.0, 2.0]
    assert frame["side"].to_list() == ["champion", "champion"]


def test_one_id_is_one_answer(bare: tuple[Place, Endpoint]) -> None:
    _, running = bare
    post(running.predictions, told(11))
    [error] = post(running.predictions, told(11, score=0.26), status=409)["errors"]
    assert error["conflict"] is True
    assert httpx.post(running.predictions, json=told(11, score=0.27)).status_code == 409


def test_a_bad_row_says_all_that_is_wrong_and_its_neighbour_is_recorded(bare: tuple[Place, Endpoint]) -> None:
    _, running = bare
    bad = told(21, score="high", version=0, decision="maybe", amount=-4.0)
    said = post(running.predictions, bad, told(22), {"payment_id": "pay_23"}, 7)  # type: ignore[arg-type]
    assert said["recorded"] == 1
    first = {error["column"] for error in said["errors"] if error["index"] == 0}
    assert first == {"score", "version", "decision", "amount"}
    third = {error["column"] for error in said["errors"] if error["index"] == 2}
    assert {"score", "version", "card_id", "amount"} <= third
    assert [error["detail"] for error in said["errors"] if error["index"] == 3] == [
        "a row is a JSON object of names and values"
    ]
    undecided = told(24)
    del undecided["decision"]
    [error] = post(running.predictions, undecided, status=422)["errors"]
    assert error["column"] == "decision"
    assert "fraud or not_fraud" in error["detail"]


def test_the_rows_own_columns_may_stand_apart_and_a_row_without_a_time_has_that_of_its_answer(
    bare: tuple[Place, Endpoint],
) -> None:
    place, running = bare
    own = row(31, paid_at=None)
    del own["payment_id"]
    sent = {"id": "pay_31", "score": 0.5, "decision": True, "version": 7, "row": own}
    post(running.predictions, sent | {"scored_at": "2025-03-01T00:00:00Z"})
    [found] = logged(place).filter(pl.col("prediction_id") == "pay_31").to_dicts()
    assert found["event_time"].isoformat() == "2025-03-01T00:00:00+00:00"
    assert found["in_card_id"] == "c31"


def test_outcomes_are_taken_without_a_champion_and_predict_says_what_to_do(bare: tuple[Place, Endpoint]) -> None:
    _, running = bare
    assert post(running.outcomes, {"id": "pay_1", "fraud": True})["recorded"] == 1
    reply = httpx.post(running.predict, json=row(1))
    assert reply.status_code == 503
    assert "everloop model add" in reply.json()["detail"]
    assert httpx.post(running.decide, json={"card_id": "c1"}).status_code == 503


def test_a_contract_that_is_edited_is_read_again(bare: tuple[Place, Endpoint]) -> None:
    place, running = bare
    path = place.project.model("fraud").contract_path
    before = path.read_text()
    path.write_text(before.replace("AT", "AX"))
    path.write_text("columns: {}\n")
    wait_until(lambda: httpx.post(running.predictions, json=told(41)).status_code == 503)
    assert "no-contract" in httpx.post(running.predictions, json=told(41)).json()["type"]
    path.write_text(before)
    wait_until(lambda: httpx.post(running.predictions, json=told(41)).status_code == 200)


def test_turns_are_sticky_and_as_many_as_the_step_says(tried: tuple[Place, Endpoint]) -> None:
    _, running = tried
    keys = [{"id": f"p{n}", "card_id": f"c{n}"} for n in range(2_000)]
    turns = post(running.decide, *keys)["results"]
    challenged = [turn for turn in turns if turn["side"] == "challenger"]
    assert 480 < len(challenged) < 720
    assert {(turn["version"], turn["propensity"]) for turn in turns} == {(7, 0.7), (8, 0.3)}
    again = post(running.decide, *({"id": f"q{n}", "card_id": f"c{n}"} for n in range(2_000)))["results"]
    assert [turn["version"] for turn in again] == [turn["version"] for turn in turns]
    alone = httpx.post(running.decide, json={"id": "p5", "card_id": "c5"}).json()
    assert alone["results"] == [turns[5]]
    [error] = post(running.decide, {"id": "p5"}, status=422)["errors"]
    assert error["column"] == "card_id"


def test_a_turn_can_be_sent_along_with_what_both_versions_said(tried: tuple[Place, Endpoint]) -> None:
    place, running = tried
    turns = post(running.decide, *({"id": f"pay_{n}", "card_id": f"c{n}"} for n in range(20)))["results"]
    rows = []
    for n, turn in enumerate(turns):
        scores = {7: {"version": 7, "score": 0.2}, 8: {"version": 8, "score": 0.7}}
        other = scores[15 - turn["version"]]
        rows.append(row(n, card_id=f"c{n}") | turn | scores[turn["version"]] | {"scores": [other]})
    assert post(running.predictions, *rows)["recorded"] == 20
    frame = logged(place)
    assert frame["propensity"].to_list() == [0.7 if version == 7 else 0.3 for version in frame["answered_version"]]
    assert set(frame["side"]) == {"champion", "challenger"}
    assert frame["decision"].to_list() == [version == 8 for version in frame["answered_version"]]  # by their thresholds
    assert {tuple(sorted(one["version"] for one in scores)) for scores in frame["scores"].to_list()} == {(7, 8)}
    counts = httpx.get(f"{running.url}/metrics").text
    assert 'everloop_scored_rows_total{model="fraud",role="challenger",version="8"} 20.0' in counts


def test_what_something_else_serves_is_not_predicted_here(tried: tuple[Place, Endpoint]) -> None:
    _, running = tried
    assert running.ready()["ready"] is True
    document = httpx.get(f"{running.url}/openapi.json").json()
    assert "/v1/models/fraud/decide" in document["paths"]
    openapi_spec_validator.validate(document)


def test_an_external_version_keeps_its_number_and_cannot_score(place: Place) -> None:
    assert place.external(7) == 7
    with pytest.raises(Conflict, match="has a version v7 already"):
        place.external(7)
    version = place.ledger.version("fraud", 7)
    assert version.external
    bundle = BundleStore(place.project.paths.bundles).load(version.bundle)
    assert bundle.external
    with pytest.raises(BundleError, match="something else serves"):
        bundle.score_matrix(bundle.features.matrix(pl.DataFrame(schema={"amount": pl.Float64, "visits": pl.Int64,
                                                                      "country": pl.String})))  # fmt: skip
    assert place.version() == 8
    assert place.ledger.verify().ok


def test_what_was_acknowledged_is_there_after_a_kill(place: Place) -> None:
    write_contract(place.project.model("fraud").contract_path, CONTRACT)
    with endpoint(place.project.root) as running:
        assert post(running.predictions, *(told(n) for n in range(300)))["recorded"] == 300
        running.kill()
    assert logged(place).height == 300
    with endpoint(place.project.root) as running:
        assert post(running.predictions, *(told(n) for n in range(300)))["recorded"] == 300
    assert logged(place).height == 300
