"""What a result says, from facts and measures that are written out here."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from everloop.clock import SimulatedClock
from everloop.ledger import (
    AlertOpened,
    Ledger,
    RolloutMoved,
    RolloutPromoted,
    RolloutStarted,
    RolloutStopped,
    VerdictRecord,
    Window,
)
from everloop.replay import ArmResult, DemoResult
from everloop.replay.spans import Measured, measured, spans_of
from everloop.replay.story import History, read_history, shortened
from everloop.replay.world import WorldPlan

DAY = timedelta(days=1)
OPENS = datetime(2025, 3, 3, tzinfo=UTC)
PLAN = WorldPlan(
    seed=0, history_days=56, days=93, rows_per_day=100, delay=7 * DAY, change_at=OPENS + 25 * DAY
)  # fmt: skip


def caught(hits: int, positives: int) -> Measured:
    truth = np.ones(positives, dtype=bool)
    return measured(truth, np.arange(positives) < hits)


def begin(ledger: Ledger, version: int) -> None:
    started = RolloutStarted(model="fraud", version=version, against=1, steps=["shadow", "1%"])
    ledger.append("rollout.started", f"fraud/v{version}", started, actor="control")


@pytest.fixture
def history(tmp_path: Path) -> History:
    """A challenger stopped before the change, an alert, and one promoted after it."""
    clock = SimulatedClock(OPENS)
    with Ledger.open(tmp_path / "ledger.db", clock=clock) as ledger:
        begin(ledger, 2)
        clock.set(OPENS + 4 * DAY)
        verdict = VerdictRecord(outcome="failed", sentence="5 of 50 rows decided differently")
        stopped = RolloutStopped(model="fraud", version=2, sentence=verdict.sentence, step=0, verdict=verdict)
        ledger.append("rollout.stopped", "fraud/v2", stopped, actor="control")
        clock.set(OPENS + 36 * DAY)
        window = Window(start=OPENS + 26 * DAY, end=OPENS + 27 * DAY)
        alert = AlertOpened(
            alert="a-1", model="fraud", check="recall", window=window, sentence="recall fell", evidence_kind="labels"
        )
        ledger.append("alert.opened", "a-1", alert, actor="monitor")
        begin(ledger, 3)
        clock.set(OPENS + 45 * DAY)
        moved = RolloutMoved(model="fraud", version=3, step=1, share=0.01, mode="canary", sentence="1%")
        ledger.append("rollout.moved", "fraud/v3", moved, actor="control")
        clock.set(OPENS + 50 * DAY)
        promoted = RolloutPromoted(model="fraud", version=3, sentence="v3 is better than v1")
        ledger.append("rollout.promoted", "fraud/v3", promoted, actor="control")
        return read_history(ledger)


@pytest.fixture
def result(history: History, tmp_path: Path) -> DemoResult:
    arm = ArmResult(
        name="everloop", spans={"before": caught(80, 100), "drifted": caught(50, 100), "after": caught(77, 100)}
    )
    return DemoResult(
        seed=0,
        drift=True,
        root=tmp_path,
        plan=PLAN,
        spans=spans_of(PLAN, first_exposure_at=history.first_exposure(OPENS)),
        arms=(arm,),
        history=history,
        pattern=None,
        requests=1,
        rows=1,
        failures=0,
        acknowledged=1,
        lost=0,
        duplicates=0,
        digest="0" * 64,
        facts=4,
        chart=tmp_path / "arms.svg",
        seconds=1.0,
    )


def test_what_came_back_is_a_part_of_what_was_lost(result: DemoResult) -> None:
    assert result.recovered == pytest.approx(0.9)


def test_hours_count_from_the_change(result: DemoResult) -> None:
    document = result.to_dict()
    assert document["hours_to_alert"] == 11 * 24
    assert document["hours_to_promotion"] == document["hours_to_last_promotion"] == 25 * 24
    assert document["days_from_last_promotion_to_after"] == 93 - 14 - 50
    assert (document["alerts"], document["promotions"], document["rollbacks"], document["refusals"]) == (1, 1, 1, 0)


def test_drifted_ends_with_the_first_answer_that_a_challenger_gave(result: DemoResult) -> None:
    assert result.spans[1].end == OPENS + 45 * DAY


def test_the_story_tells_the_hidden_change_in_its_place(result: DemoResult) -> None:
    kinds = [event.kind for event in result.story]
    assert kinds == [
        "rollout.started",
        "rollout.stopped",
        "world",
        "alert.opened",
        "rollout.started",
        "rollout.moved",
        "rollout.promoted",
    ]
    assert [event.at for event in result.story] == sorted(event.at for event in result.story)


@pytest.mark.parametrize(("text", "width"), [("a  b\nc", 10), ("x" * 50, 10), ("", 5)])
def test_a_shortened_line_is_one_line_of_its_width(text: str, width: int) -> None:
    line = shortened(text, width)
    assert len(line) <= width
    assert "\n" not in line
