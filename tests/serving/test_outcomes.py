"""When an outcome was known, as it is told; and whose it is, where it comes without a prediction's id."""

from datetime import UTC, datetime, timedelta

import httpx
import jsonschema
import msgspec
import pytest

from everloop.clock import SimulatedClock, SystemClock, to_us
from everloop.data import Column, decode_rows
from everloop.serving.openapi import Described, openapi
from everloop.serving.outcomes import read_outcomes
from everloop.traffic import Mover, TrafficLog
from tests.serving.place import CONTRACT, row

NOW = datetime(2026, 3, 4, 10, tzinfo=UTC)


@pytest.mark.parametrize(("ahead_s", "known_s"), [(None, 0), (-3600, -3600), (0, 0), (1, 0), (300, 0), (301, None)])
def test_a_clock_a_little_ahead_loses_no_outcome_and_makes_none_known_later_than_it_is_told(ahead_s, known_s):
    row = {"payment_id": "pay_1", "fraud": True}
    if ahead_s is not None:
        row["observed_at"] = (NOW + timedelta(seconds=ahead_s)).isoformat()
    told, wrong = read_outcomes(row, CONTRACT, SimulatedClock(NOW))
    if known_s is None:
        assert (told, "lies in the future" in wrong[0].detail) == ([], True)
    else:
        assert [one.observed_at_us for one in told] == [to_us(NOW + timedelta(seconds=known_s))]


COUNTED = msgspec.structs.replace(
    CONTRACT,
    columns=(
        *(one for one in CONTRACT.columns if one.role != "time"),
        Column(name="hour", type="float", role="time"),
        Column(name="action", type="string", role="outcome"),
    ),
    time_unit="h",
    time_origin="2026-01-01T00:00:00Z",
)


@pytest.mark.parametrize(
    ("contract", "time", "values"),
    [
        (CONTRACT, "paid_at", ["2026-03-04T09:00:00.123456Z", "2026-03-04T10:00:00+01:00", "2026-03-04T09:00:00"]),
        (COUNTED, "hour", [1500, 1500.25, 12.3456789]),
    ],
)
def test_entity_and_time_are_read_as_a_predictions_are(contract, time, values):
    for card, value in zip(["c7", 7, ""], values, strict=True):
        whose = {"card_id": card, time: value}
        told, wrong = read_outcomes(whose | {"fraud": True}, contract, SimulatedClock(NOW))
        frame, problems = decode_rows(contract, [row(1) | whose], now=NOW)
        assert (wrong, problems) == ([], [])
        expected = (None, frame["card_id"][0], to_us(frame["event_time"][0]))
        assert [(one.prediction_id, one.entity, one.event_time_us) for one in told] == [expected]


WRONG = [
    ({}, "payment_id: is missing; give the id of the prediction, or card_id and paid_at"),
    ({"card_id": "c7"}, "paid_at: is missing; an outcome without an id has card_id and paid_at"),
    ({"paid_at": "2026-03-04T09:00:00Z", "card_id": None}, "card_id: is missing; an outcome without"),
    ({"card_id": 1.5, "paid_at": "2026-03-04T09:00:00Z"}, "card_id: 1.5 is not a text"),
    ({"card_id": "c7", "paid_at": "soon"}, "paid_at: 'soon' is not an ISO-8601 time"),
    ({"card_id": "c7", "paid_at": 7}, "paid_at: 7 is not an ISO-8601 time"),
    ({"card_id": "c7", "paid_at": "2026-03-09T09:00:00Z"}, "lies in the future"),
    ({"card_id": "c7", "paid_at": "1969-03-09T09:00:00Z"}, "lies before 1970"),
    ({"card_id": "c7", "paid_at": "2026-03-04T09:00:00Z", "x": 1}, "x: an outcome has card_id, paid_at, fraud, source"),
    ({"id": "p", "card_id": "c7", "paid_at": "2026-03-04T09:00:00Z"}, "card_id, paid_at: an outcome has id, fraud,"),
]


@pytest.mark.parametrize(("whose", "said"), WRONG)
def test_what_is_wrong_is_one_sentence_and_breaks_the_description(whose, said):
    told, wrong = read_outcomes(whose | {"fraud": True}, CONTRACT, SimulatedClock(NOW))
    assert (told, len(wrong)) == ([], 1)
    assert said in wrong[0].detail
    if "1970" not in said and "future" not in said and "soon" not in said:  # as texts they keep the schema
        assert not outcome_schema(CONTRACT).is_valid(whose | {"fraud": True})


def outcome_schema(contract):
    document = openapi([Described(name="fraud", contract=contract, version=1, decides=True)])
    named = {"$ref": "#/components/schemas/fraud.outcome", "components": document["components"]}
    return jsonschema.Draft202012Validator(named)


def test_the_description_has_both_ways_to_tell_and_no_mixture():
    schema, whose = outcome_schema(CONTRACT), {"card_id": "c7", "paid_at": "2026-03-04T09:00:00Z"}
    for ids in ({}, {"id": None}, {"id": None, "payment_id": None}):
        assert schema.is_valid(whose | ids | {"fraud": None})
        assert read_outcomes(whose | ids | {"fraud": None}, CONTRACT, SimulatedClock(NOW))[1] == []
    assert schema.is_valid({"id": "p", "fraud": True})
    assert not schema.is_valid({"id": "p", "fraud": True} | whose)
    assert not schema.is_valid(whose)
    assert outcome_schema(COUNTED).is_valid({"card_id": 7, "hour": 1.5, "action": "declined"})


@pytest.mark.parametrize(
    ("roles", "why"),
    [
        ({"entity"}, "the contract has no entity column"),
        ({"time"}, "the contract has no time column"),
        ({"entity", "time"}, "the contract has no entity column and no time column"),
    ],
)
def test_a_contract_without_entity_or_time_asks_for_the_id(roles, why):
    contract = msgspec.structs.replace(CONTRACT, columns=[one for one in CONTRACT.columns if one.role not in roles])
    given = {"card_id": "c7", "paid_at": "2026-03-04T09:00:00Z"}
    left = {one.name: given[one.name] for one in contract.columns if one.name in given}
    told, wrong = read_outcomes(left | {"fraud": True}, contract, SimulatedClock(NOW))
    said = f"payment_id: is missing; give the id of the prediction, for {why}"
    assert (told, [one.detail for one in wrong]) == ([], [said])
    assert not outcome_schema(contract).is_valid(left | {"fraud": True})


def test_a_time_that_is_called_as_an_outcomes_own_is_not_told_by():
    columns = [msgspec.structs.replace(one, name="observed_at") if one.role == "time" else one
               for one in CONTRACT.columns]  # fmt: skip
    contract = msgspec.structs.replace(CONTRACT, columns=columns)
    row_told = {"card_id": "c7", "observed_at": "2026-03-04T09:00:00Z", "fraud": True}
    _, (wrong,) = read_outcomes(row_told, contract, SimulatedClock(NOW))
    assert wrong.detail.endswith("for the column observed_at has a name that an outcome uses itself")


def test_outcomes_over_http_reach_the_predictions_of_card_and_moment_before_and_after(served):
    place, running = served
    first, second = row(7001), row(7002, paid_at="2025-01-01T10:00:01.5Z", card_id="c-late")
    whose = [{"card_id": one["card_id"], "paid_at": one["paid_at"]} for one in (first, second)]
    told = [
        whose[0] | {"fraud": False, "observed_at": "2025-02-01T00:00:00Z"},
        whose[1] | {"fraud": 1, "source": "x"},
        {"id": "pay_7001", "fraud": True, "observed_at": "2025-03-01T00:00:00Z"},
        {"card_id": "c7", "fraud": True},
    ]
    assert httpx.post(running.predict, json=first).status_code == 200
    reply = httpx.post(running.outcomes, json={"rows": told}).json()
    assert (reply["recorded"], [(one["index"], one["column"]) for one in reply["errors"]]) == (3, [(3, "paid_at")])
    alone = httpx.post(running.outcomes, json={"card_id": "c7", "paid_at": "soon", "fraud": True})
    assert (alone.status_code, alone.json()["type"]) == (422, "urn:everloop:problem:bad-row")
    assert httpx.post(running.predict, json=second).status_code == 200
    with Mover.open(spool=place.project.paths.spool, traffic=place.project.paths.traffic, clock=SystemClock()) as mover:
        mover.move_once()
    log = TrafficLog(place.project.paths.traffic, "fraud")
    known = {as_of: {one[0]: one[1] for one in log.known(as_of, name="fraud").collect().rows()}
             for as_of in (datetime(2025, 2, 2, tzinfo=UTC), SystemClock().now())}  # fmt: skip
    before, now = known.values()
    assert (before["pay_7001"], "pay_7002" in before) == (0.0, False)
    assert (now["pay_7001"], now["pay_7002"]) == (1.0, 1.0)
