"""Identifiers: what may be one, and that they sort, repeat and spread as they promise."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from everloop.clock import SimulatedClock
from everloop.ids import content_id, is_prediction_id, new_run_id, routing_unit, uuid7

START = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.mark.parametrize("text", ["pay_91", "a", "A-z.0:9_", "x" * 64])
def test_what_a_caller_may_call_a_prediction(text: str) -> None:
    assert is_prediction_id(text)


@pytest.mark.parametrize("text", ["", "x" * 65, "pay 91", "../x", "é", "a\n", "a/b", "a\x00"])
def test_what_a_caller_may_not(text: str) -> None:
    assert not is_prediction_id(text)


def test_ids_are_uuids_of_version_7_and_sort_by_birth() -> None:
    clock, born = SimulatedClock(START), []
    for _ in range(200):
        born.append(uuid7(clock))
        clock.advance(timedelta(milliseconds=1))
    assert born == sorted(born)
    assert len(set(born)) == len(born)
    for text in born:
        read = uuid.UUID(text)
        assert (read.version, read.variant, str(read)) == (7, uuid.RFC_4122, text)
        assert is_prediction_id(text)
    first = uuid.UUID(born[0]).int >> 80
    assert first == int(START.timestamp() * 1000)


def test_a_runs_name_repeats_from_a_seed_and_differs_without() -> None:
    assert new_run_id("demo 1") == new_run_id("demo 1") != new_run_id("demo 2")
    assert len({new_run_id() for _ in range(100)}) == 100
    assert is_prediction_id(new_run_id())


def test_content_is_named_by_its_sha256() -> None:
    assert content_id(b"") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert content_id(b"a") != content_id(b"b")


def test_keys_spread_evenly_and_anew_for_each_salt() -> None:
    keys = [f"card-{number}" for number in range(20_000)]
    one, other = (np.array([routing_unit(salt, key) for key in keys], dtype=np.float64) / 2**64 for salt in "ab")
    for share in (0.01, 0.1, 0.5):
        assert abs((one < share).mean() - share) < 4 * np.sqrt(share * (1 - share) / len(keys))
    assert abs(np.corrcoef(one, other)[0, 1]) < 0.03
    assert routing_unit("a", "bc") != routing_unit("ab", "c")
