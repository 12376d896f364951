"""What a run says of a model: every metric its rows can give, each with its interval."""

from __future__ import annotations

from threading import Event
from typing import Any

import numpy as np
import polars as pl
import pytest

from everloop.data import FeatureTree, Split
from everloop.data.node import Node
from everloop.production.judged import REPORTED, HeldOut, JudgedBeside, estimates
from everloop.tasks import Evaluation

Y = np.array([1, 0, 0, 1, 0, 0, 0, 1])
SCORE = np.array([0.9, 0.1, 0.6, 0.2, 0.3, 0.1, 0.2, 0.7], dtype=np.float32)


def test_every_metric_has_its_interval_rows_and_positives() -> None:
    found = estimates(Evaluation(y=Y, score=SCORE, threshold=0.5), seed=0)
    assert tuple(found) == REPORTED["classification"]
    for name, value in found.items():
        assert value["low"] <= value["point"] <= value["high"], name
        assert (value["rows"], value["positives"], value["level"]) == (8, 3, 0.95)


def test_cost_is_told_where_there_are_prices() -> None:
    found = estimates(Evaluation(y=Y, score=SCORE, threshold=0.5, costs={"fn": 100.0, "fp": 1.0}), seed=0)
    assert found["cost"]["point"] == (1 * 100 + 1 * 1) / 8


def test_what_one_class_cannot_give_is_left_out() -> None:
    found = estimates(Evaluation(y=np.zeros(8), score=SCORE, threshold=0.5), seed=0)
    assert "recall" not in found
    assert "accuracy" in found


def held_out() -> HeldOut:
    frame = pl.DataFrame({"x": [1.0, 2.0, None]})
    tree = FeatureTree(names=("x",), nodes=(Node(op="column", name="x"),))
    return HeldOut.made(Split(train=frame.clear(), validation=frame, test=frame), tree)


def test_several_are_judged_on_the_same_rows_beside_what_else_is_done() -> None:
    rows, may_go_on = held_out(), Event()

    def judge(found: HeldOut, graph: bytes) -> Any:
        assert found is rows
        assert may_go_on.wait(30)
        return graph.upper(), {}

    beside = JudgedBeside(rows, {"first": b"one", "second": b"two"}, judge)
    may_go_on.set()
    assert beside.results() == {"first": (b"ONE", {}), "second": (b"TWO", {})}
    beside.close()


def test_what_judging_came_upon_is_raised_where_it_is_asked_for() -> None:
    def judge(_rows: HeldOut, _graph: bytes) -> Any:
        raise ValueError("no such graph")

    beside = JudgedBeside(held_out(), {"first": b"one"}, judge)
    with pytest.raises(ValueError, match="no such graph"):
        beside.results()
    beside.close()
