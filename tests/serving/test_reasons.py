"""Reasons: occlusion on the served graph, held to what is known of a linear one; beside answers, never within them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everloop.bundle import BundleParts, Graph
from everloop.data import EVENT_TIME, Baseline, Column, Contract, FeatureTree
from everloop.serving.arrow import ARROW_STREAM
from everloop.serving.explained import asked_reasons
from everloop.serving.problem import Problem
from everloop.serving.reasons import Typical, effects, typical_value
from tests.serving.place import CONTRACT, Endpoint, Place, endpoint, onnx_of, row, wait_until, weighed
from tests.serving.place import graph as logistic

WIDE = Contract(columns=(*CONTRACT.columns, Column(name="online", type="bool", role="feature", nullable=True)))


def linear(weights: list[float]) -> bytes:
    """A graph that is the sum of weights × values; what is missing counts as 0."""
    return onnx_of(weighed("score"), weights)


WEIGHTS = [2.0, -0.5, 0.25, 4.0]
GRAPH = Graph(linear(WEIGHTS))


def typical(values: list[float], places: list[int] | None = None) -> Typical:
    names = tuple(f"f{n}" for n in range(len(values)))
    return Typical(
        places=np.arange(len(values)) if places is None else np.array(places),
        values=np.array(values, np.float32), shown=tuple(values), names=names, columns=(None,) * len(values),
    )  # fmt: skip


# eighths, whose sums and products with the weights a float32 holds to the last digit
exact = st.integers(-400, 400).map(lambda eighths: eighths / 8) | st.just(float("nan"))
four = st.lists(exact, min_size=4, max_size=4)


@settings(max_examples=150, deadline=None)
@given(rows=st.lists(four, min_size=1, max_size=6), middle=four)
def test_of_a_linear_graph_an_effect_is_the_weight_times_the_difference(
    rows: list[list[float]], middle: list[float]
) -> None:
    X, center = np.array(rows, np.float32), np.array(middle, np.float32)
    found = effects(GRAPH.scores, X, typical(middle))
    expected = (np.nan_to_num(X) - np.nan_to_num(center)) * np.array(WEIGHTS)
    assert found.tolist() == expected.tolist()
    whole = GRAPH.scores(X).astype(float) - GRAPH.scores(center[None, :]).astype(float)
    assert found.sum(axis=1).tolist() == whole.tolist(), "they add up to all that is not typical"


def test_no_more_is_scored_than_what_is_not_typical_and_no_more_at_once_than_a_block() -> None:
    sizes: list[int] = []

    def counted(X: np.ndarray) -> np.ndarray:
        sizes.append(len(X))
        return GRAPH.scores(X)

    middle = typical([1.0, 1.0, float("nan"), 1.0])
    effects(counted, np.array([[1, 1, np.nan, 1]], np.float32), middle)
    effects(counted, np.array([[1, 2, np.nan, 3]], np.float32), middle)
    assert sizes == [1, 3], "one call of a row, and of a row with two features that are not typical"
    sizes.clear()
    many = np.random.default_rng(0).normal(size=(10_000, 4)).astype(np.float32)
    found = effects(counted, many, middle)
    assert max(sizes) <= 8_192
    assert sum(sizes) == 10_000 * 5
    assert found[9_999].tolist() == effects(counted, many[9_999:], middle)[0].tolist()
    assert effects(counted, many[:2], typical([1.0], places=[3])).shape == (2, 1)


def column(values: list[Any], dtype: Any) -> Any:
    start = datetime(2025, 1, 1, tzinfo=UTC)
    times = pl.Series([start + timedelta(hours=n) for n in range(len(values))], dtype=pl.Datetime("us", "UTC"))
    frame = pl.DataFrame({EVENT_TIME: times, "x": pl.Series(values, dtype=dtype)})
    return Baseline.build(frame, window=timedelta(hours=1)).column("x")


@pytest.mark.parametrize(
    ("values", "dtype", "expected"),
    [
        ([1.0, 2.0, 3.0, 4.0, 100.0], pl.Float64, 3.0),
        ([5.0] * 4, pl.Float64, 5.0),
        ([1, 1, 0, 1], pl.Int64, 1),
        ([0.0, 0.0, 0.0, 1.0], pl.Float32, 0.0),
        ([True, False, False], pl.Boolean, 0.0),
        ([True, True, False], pl.Boolean, 1.0),
        ([1.0, None, None, None], pl.Float64, None),
        ([None, 2.0, None, 2.0, 2.0], pl.Float64, 2.0),
        (["a", "b", "b", None], pl.String, "b"),
        (["a", None, None], pl.String, None),
    ],
)
def test_the_typical_value_is_the_median_or_the_most_frequent(values: list[Any], dtype: Any, expected: Any) -> None:
    assert typical_value(column(values, dtype)) == expected


def test_the_median_is_right_to_a_bin_of_a_baseline() -> None:
    values = np.random.default_rng(1).lognormal(size=50_001)
    found = typical_value(column(values.tolist(), pl.Float64))
    assert abs((values < found).mean() - 0.5) <= 1 / 1_024


@pytest.mark.parametrize(
    ("query", "found"), [(b"", 0), (b"a=1", 0), (b"explain=5", 5), (b"a=b&explain=1&c", 1), (b"explained=7", 0)]
)
def test_the_query_says_how_many(query: bytes, found: int) -> None:
    assert asked_reasons(query) == found


@pytest.mark.parametrize(
    "query", [b"explain", b"explain=", b"explain=0", b"explain=-1", b"explain=x", b"explain=9999999"]
)
def test_what_is_no_number_of_reasons_is_told(query: bytes) -> None:
    with pytest.raises(Problem, match="explain is how many reasons"):
        asked_reasons(query)


def bundle(place: Place, bias: float) -> str:
    start = datetime(2025, 1, 1, tzinfo=UTC)
    hours = range(96)
    frame = pl.DataFrame(
        {
            EVENT_TIME: pl.Series([start + timedelta(hours=n) for n in hours], dtype=pl.Datetime("us", "UTC")),
            "amount": [40.0] * 96, "visits": pl.Series([2] * 96, dtype=pl.Int64),
            "country": ["BE" if n % 3 else "AT" for n in hours], "online": [n % 4 > 0 for n in hours],
        }
    )  # fmt: skip
    features = FeatureTree.of(WIDE)
    return place.store.write(
        BundleParts(
            graph=logistic([0.02, -0.3, 0.5, -1.0], bias), features=features, contract=WIDE,
            baseline=Baseline.build(frame, window=timedelta(days=1)), threshold=0.5, metrics={}, spec_hash="h",
            model="fraud", learner="logistic", target="fraud", positive="fraud", negative="not_fraud",
        )
    )  # fmt: skip


@pytest.fixture(scope="module")
def explaining(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Place, Endpoint]]:
    place = Place.make(tmp_path_factory.mktemp("explaining"))
    place.bundle = lambda *, bias=-2.0, contract=None: bundle(place, bias)  # type: ignore[method-assign, assignment]
    place.deployed()
    with endpoint(place.project.root) as running:
        yield place, running


def asked(running: Endpoint, rows: Any, reasons: int) -> Any:
    return httpx.post(f"{running.predict}?explain={reasons}", json=rows).json()


def test_an_answer_has_the_features_that_moved_it_most(explaining: tuple[Place, Endpoint]) -> None:
    _, running = explaining
    sent = row(1, payment_id="why_1", amount=140.0, visits=2, country="CH", online=False)
    (one,) = asked(running, sent, 3)["results"]
    told = one["reasons"]
    assert [(reason["feature"], reason["value"], reason["typical"], reason["direction"]) for reason in told] == [
        ("amount", 140.0, 40.0, "raises"), ("online", False, True, "raises"), ("country", "CH", "BE", "raises"),
    ]  # fmt: skip
    for reason in told:
        changed = sent | {reason["feature"]: reason["typical"], "payment_id": f"why_1_{reason['feature']}"}
        without = httpx.post(running.predict, json=changed).json()["results"][0]["score"]
        assert reason["effect"] == pytest.approx(one["score"] - without, abs=1e-6)
    assert "visits" not in {reason["feature"] for reason in asked(running, sent, 4)["results"][0]["reasons"]}


def test_reasons_are_no_part_of_what_is_recorded(explaining: tuple[Place, Endpoint]) -> None:
    _, running = explaining
    sent = {"rows": [row(2, payment_id="plain_1"), row(3, payment_id="plain_2", amount=-1.0), row(4, country="XX")]}
    sent["rows"][2]["payment_id"] = "plain_3"
    first = asked(running, sent, 1)
    assert [len(one["reasons"]) for one in first["results"]] == [1, 1]
    assert [error["index"] for error in first["errors"]] == [1]
    plain = httpx.post(running.predict, json=sent).json()
    assert [
        {**one, "reasons": told["reasons"]} for one, told in zip(plain["results"], first["results"], strict=True)
    ] == (first["results"])
    assert asked(running, sent, 1) == first
    missing = asked(running, row(4, payment_id="plain_4", visits=None, country=None, amount=40.0), 4)["results"][0]
    assert {reason["feature"]: reason["value"] for reason in missing["reasons"]} == {
        "visits": None, "country": None, "online": None,
    }  # fmt: skip


def test_a_table_has_its_reasons_as_json_and_too_many_are_refused(explaining: tuple[Place, Endpoint]) -> None:
    _, running = explaining
    rows = [row(n, payment_id=f"t_{n}") for n in range(300)]
    expected = asked(running, {"rows": rows}, 2)["results"]
    reply = httpx.post(f"{running.predict}?explain=2", json={"rows": rows}, headers={"accept": ARROW_STREAM})
    found = pl.read_ipc_stream(reply.content)["reasons"].to_list()
    assert [json.loads(one) for one in found] == [one["reasons"] for one in expected]
    problem = asked(running, rows[0], 5)
    assert (problem["status"], problem["type"]) == (400, "urn:everloop:problem:bad-explain")
    assert "more reasons than the 4 features of fraud; ask for 1 to 4" in problem["detail"]


def test_the_reasons_are_those_of_the_version_that_gave_the_answer(explaining: tuple[Place, Endpoint]) -> None:
    place, running = explaining
    sent = row(7, payment_id="before", amount=290.0, online=True)
    first = asked(running, sent, 2)["results"][0]
    number = place.deployed(bias=-5.0)
    wait_until(lambda: running.ready()["models"]["fraud"]["champion"] == number)
    assert asked(running, sent, 2)["results"][0] == first
    assert asked(running, sent | {"payment_id": "after"}, 2)["results"][0]["reasons"] != first["reasons"]
