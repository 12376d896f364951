from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from everloop.rollout import (
    AbortRequested,
    Comparison,
    ComparisonJudged,
    Evidence,
    GuardrailsJudged,
    PauseRequested,
    Promote,
    PromoteRequested,
    ResumeRequested,
    Rollout,
    SetExposure,
    Stage,
    Started,
    Stop,
    Tick,
    step,
)
from everloop.stats import Verdict

START = datetime(2025, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
OUTCOMES = ("better", "not_worse", "worse", "undecided")
PASSED, FAILED, UNDECIDED = Verdict.passed("fine"), Verdict.failed("errors: 5 %"), Verdict.undecided("too few")


def rollout(**changes) -> Rollout:
    plan = (
        Stage(mode="shadow", share=0.0, duration=DAY),
        Stage(mode="canary", share=0.01, duration=DAY),
        Stage(mode="canary", share=0.5, duration=2 * DAY),
    )
    base = Rollout(
        id="fraud/v2", model="fraud", challenger=2, champion=1, plan=plan, salt="s", started_at=START, entered_at=START
    )
    return msgspec.structs.replace(base, **changes)


def evidence(*guardrails: Verdict, comparison: str | None = None) -> Evidence:
    found = None if comparison is None else Comparison(outcome=comparison, sentence=f"it is {comparison}")
    return Evidence(guardrails=guardrails or (PASSED,), comparison=found)


def walk(one: Rollout, *events):
    actions = []
    for event in events:
        one, more = step(one, event)
        actions += more
    return one, actions


def test_a_good_challenger_walks_its_steps_and_is_promoted():
    ticks = [Tick(at=START + n * DAY, evidence=evidence(comparison="better")) for n in range(1, 6)]
    one, actions = walk(rollout(), Started(at=START), *ticks)
    assert [type(action) for action in actions] == [SetExposure, SetExposure, SetExposure, Promote]
    assert [action.share for action in actions[:3]] == [0.0, 0.01, 0.5]
    assert (one.status, one.share, one.reason) == ("promoted", 1.0, "it is better")


def test_a_step_lasts_its_duration_however_often_it_is_looked_at():
    begun, _ = step(rollout(), Started(at=START))
    early = [Tick(at=START + n * DAY / 1000, evidence=evidence(comparison="better")) for n in range(1000)]
    assert walk(begun, *early) == (begun, [])


def test_promotion_waits_for_the_comparison_and_then_gives_up():
    last = rollout(index=2)
    for found in (None, "undecided", "not_worse"):
        waiting = Tick(at=START + 20 * DAY, evidence=evidence(comparison=found))
        assert step(last, waiting) == (last, [])
        ended, actions = step(last, Tick(at=START + 32 * DAY, evidence=evidence(comparison=found)))
        assert ended.status == "stopped"
        assert "undecided for too long" in actions[0].reason


def test_not_worse_is_enough_only_where_the_rollout_allows_it():
    tick = Tick(at=START + 5 * DAY, evidence=evidence(comparison="not_worse"))
    for promote, expected in (("better", "running"), ("not_worse", "promoted")):
        ended, _ = step(rollout(index=2, promote=promote), tick)
        assert ended.status == expected


@pytest.mark.parametrize(
    "event",
    [
        Tick(at=START, evidence=evidence(PASSED, FAILED)),
        Tick(at=START, evidence=evidence(comparison="worse")),
        GuardrailsJudged(at=START, verdicts=(FAILED,)),
        ComparisonJudged(at=START, comparison=Comparison(outcome="worse", sentence="recall fell")),
        AbortRequested(at=START, by="alice"),
    ],
)
@pytest.mark.parametrize("status", ["running", "paused"])
def test_what_fails_stops_at_once(event, status):
    ended, actions = step(rollout(index=1, status=status, paused_at=START), event)
    assert (ended.status, ended.share) == ("stopped", 0.0)
    assert [type(action) for action in actions] == [Stop]


def test_undecided_guardrails_hold_a_step():
    held = rollout(index=1)
    assert step(held, Tick(at=START + 9 * DAY, evidence=evidence(PASSED, UNDECIDED))) == (held, [])


def test_a_pause_does_not_count_towards_the_step():
    one, actions = walk(
        rollout(index=1), PauseRequested(at=START, by="alice"), Tick(at=START + 9 * DAY, evidence=evidence()),
        ResumeRequested(at=START + 9 * DAY, by="alice"), Tick(at=START + 9 * DAY, evidence=evidence()),
    )  # fmt: skip
    assert (one.index, actions) == (1, [])
    moved, _ = step(one, Tick(at=START + 10 * DAY, evidence=evidence()))
    assert moved.index == 2


def test_a_person_may_promote_on_their_name():
    ended, actions = step(rollout(), PromoteRequested(at=START, by="alice", reason="audit"))
    assert ended.status == "promoted"
    assert actions == [Promote(version=2, reason="promoted by alice: audit", by="alice")]


def test_a_record_survives_json():
    one = rollout(status="paused", paused_at=START)
    assert msgspec.json.decode(msgspec.json.encode(one), type=Rollout) == one


def test_a_plan_must_grow_and_leave_all_to_promotion():
    with pytest.raises(ValueError, match="grow"):
        rollout(plan=(Stage(mode="canary", share=0.5, duration=DAY), Stage(mode="canary", share=0.1, duration=DAY)))
    with pytest.raises(ValueError, match="at least one"):
        rollout(plan=())


class RolloutLaws(RuleBasedStateMachine):
    """Any history of looks, people and time keeps the laws."""

    @initialize(promote=st.sampled_from(("better", "not_worse")))
    def begin(self, promote):
        self.now = START
        self.exposed = 0.0
        self.ended = False
        self.by_person = False
        self.last_comparison = None
        self.rollout = rollout(promote=promote)
        self._apply(Started(at=self.now))

    def _apply(self, event):
        was_open, index = self.rollout.open, self.rollout.index
        entered = self.rollout.entered_at
        self.rollout, actions = step(self.rollout, event)
        assert was_open or not actions, "an ended rollout acts no more"
        for action in actions:
            if isinstance(action, SetExposure):
                assert not self.ended
                assert action.share <= self.rollout.plan[self.rollout.index].share
                self.exposed = action.share
            elif isinstance(action, Promote):
                self.exposed, self.ended = 1.0, True
                self._promotion_is_earned(event)
            else:
                self.exposed, self.ended = 0.0, True
        if self.rollout.index > index:
            assert self.rollout.index == index + 1
            assert self.now - entered >= self.rollout.plan[index].duration

    def _promotion_is_earned(self, event):
        if isinstance(event, PromoteRequested):
            assert event.by
            return
        allowed = {"better", self.rollout.promote}
        assert event.evidence.comparison.outcome in allowed
        assert all(verdict.outcome == "passed" for verdict in event.evidence.guardrails)

    @rule(hours=st.integers(0, 100))
    def time_goes_by(self, hours):
        self.now += timedelta(hours=hours)

    @rule(
        guardrail=st.sampled_from((PASSED, PASSED, PASSED, UNDECIDED, FAILED)),
        comparison=st.sampled_from((None, *OUTCOMES)),
        looks=st.integers(1, 5),
    )
    def tick(self, guardrail, comparison, looks):
        seen = evidence(guardrail, comparison=comparison)
        self._apply(Tick(at=self.now, evidence=seen))
        after = self.rollout
        for _ in range(looks):
            self._apply(Tick(at=self.now, evidence=seen))
        assert self.rollout == after, "looking again changes nothing"

    @rule()
    def pause(self):
        self._apply(PauseRequested(at=self.now, by="alice"))

    @rule()
    def resume(self):
        self._apply(ResumeRequested(at=self.now, by="alice"))

    @rule(outcome=st.sampled_from(OUTCOMES))
    def compare(self, outcome):
        self._apply(ComparisonJudged(at=self.now, comparison=Comparison(outcome=outcome, sentence="seen")))
        assert outcome != "worse" or not self.rollout.open

    @rule(promote=st.booleans())
    def person(self, promote):
        request = PromoteRequested if promote else AbortRequested
        self._apply(request(at=self.now, by="bob"))

    @invariant()
    def exposure_is_the_stage_of_the_record(self):
        if hasattr(self, "rollout"):
            assert self.exposed == self.rollout.share


TestRolloutLaws = RolloutLaws.TestCase
TestRolloutLaws.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
