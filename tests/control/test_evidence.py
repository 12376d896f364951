"""What a rollout's evidence counts, and when: by the clock, whatever a caller's clock says."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from everloop.control.evidence import RolloutEvidence
from everloop.data import EVENT_TIME
from everloop.rollout import Evidence, Rollout, prepare

from ..monitoring.world import DAY, DELAY, MODEL_YAML, START, Rows, World, rows_of_day

RULES = "rollout: {steps: [shadow 1d, 10%], stop if: [decision share moves > 5%]}\n"


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, model_yaml=MODEL_YAML + RULES)


def rollout(world: World) -> Rollout:
    champion, challenger = world.version().number, world.version(bias=-5.9).number
    return prepare(world.model, challenger=challenger, champion=champion, at=world.clock.now())


def counted(found: Evidence) -> int:
    return int(found.guardrails[0].evidence["rows"])


def part(rows: Rows, mask: pl.Series) -> Rows:
    return Rows(rows.frame.filter(mask), rows.y[mask.to_numpy()])


def test_nothing_seen_proves_nothing(world: World) -> None:
    evidence = RolloutEvidence(world.project, world.model, world.log, rollout(world))
    assert [one.outcome for one in evidence.look(START).guardrails] == ["undecided"]
    world.day(-1, [1])
    assert [one.outcome for one in evidence.look(world.clock.now()).guardrails] == ["undecided"]


def test_a_row_dated_ahead_counts_when_its_time_comes(world: World) -> None:
    evidence = RolloutEvidence(world.project, world.model, world.log, rollout(world))
    day = rows_of_day(START, seed=1)
    world.clock.set(START + DAY / 2)
    world.serve(day, [1, 2])
    due = int((day.frame[EVENT_TIME] <= START + DAY / 2).sum())
    assert 0 < due < day.frame.height
    assert counted(evidence.look(START + DAY / 2)) == due
    assert counted(evidence.look(START + DAY)) == day.frame.height


def test_a_row_dated_ahead_does_not_say_of_which_year_the_traffic_is(world: World) -> None:
    """Old rows are sent through; one caller's clock is a day ahead of ours."""
    world.clock.set(START + 400 * DAY)
    evidence = RolloutEvidence(world.project, world.model, world.log, rollout(world))
    world.clock.advance(DAY / 24)
    old = rows_of_day(START, seed=1)
    world.serve(old, [1, 2])
    world.serve(rows_of_day(world.clock.now() + DAY / 2, seed=1, rows=20, frauds=0), [1, 2])
    assert counted(evidence.look(world.clock.now())) == old.frame.height


def test_a_row_dated_ahead_closes_no_step_of_the_comparison(world: World) -> None:
    world.clock.set(START + 400 * DAY)
    evidence = RolloutEvidence(world.project, world.model, world.log, rollout(world))
    world.clock.advance(DAY / 24)
    old = rows_of_day(START, seed=1, frauds=60)
    morning = old.frame[EVENT_TIME] < START + DAY / 2
    world.serve(part(old, morning), [1, 2])
    world.serve(rows_of_day(world.clock.now() + DAY / 2, seed=1, rows=20, frauds=0), [1, 2])
    evidence.look(world.clock.now())
    world.serve(part(old, ~morning), [1, 2])
    world.serve(rows_of_day(START + DAY, seed=1, frauds=0), [1, 2])
    found = evidence.look(world.clock.now()).comparison
    assert found is not None
    assert f"on the same {int(old.y.sum()):,} matured positives" in found.sentence


def test_outcomes_mature_by_the_clock(world: World) -> None:
    evidence = RolloutEvidence(world.project, world.model, world.log, rollout(world))
    world.day(0, [1, 2])
    ahead = rows_of_day(START + DAY, seed=1, rows=20, frauds=0)
    world.serve(ahead, [1, 2])
    assert evidence.look(START + DAY).comparison is None
    found = evidence.look(START + DAY + DELAY).comparison
    assert found is not None
    assert "matured positives" in found.sentence


def test_rows_since_the_start_are_counted_once_as_they_come(world: World) -> None:
    champion, challenger = world.version().number, world.version(bias=-5.9).number
    world.day(0, [1, 2])  # before this rollout
    begun = prepare(world.model, challenger=challenger, champion=champion, at=START + DAY)
    evidence = RolloutEvidence(world.project, world.model, world.log, begun)
    total = 0
    for k in (1, 2):
        day = rows_of_day(START + k * DAY, seed=world.seed)
        morning = day.frame[EVENT_TIME] < START + (k + 0.5) * DAY
        for rows, until in ((part(day, morning), k + 0.5), (part(day, ~morning), k + 1)):
            world.serve(rows, [1, 2])
            world.clock.set(START + until * DAY)
            total += rows.frame.height
            assert counted(evidence.look(world.clock.now())) == total
            assert counted(evidence.look(world.clock.now())) == total
    world.clock.advance(DAY / 4)
    assert counted(evidence.look(world.clock.now())) == total
