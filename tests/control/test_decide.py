"""What is decided, as a table of what is seen; and what holds whatever is seen."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everloop.control import Arrived, Asked, ModelView, Schedule, decide
from everloop.control import actions as to_do
from everloop.control.decisions import FIRST_POSITIVES, MOST_PROMOTIONS, positives_needed
from everloop.control.positives import fitted_until
from everloop.control.recovery import recovered

from .views import DAY, NOW, alert, model, rollout, routing, run, seen, tried, version, view

READY = {"proposal": "fraud-s2", "approved": "policy"}
ASKED = Asked(seq=40, run="r-asked", by="alice", at=NOW)


def kinds(one: ModelView) -> list[str]:
    return [type(action).__name__ for action in decide(view(one))]


def first(one: ModelView) -> Any:
    [action] = decide(view(one))
    return action


def arrived(*, approved: bool = True, trained: bool = False) -> Arrived:
    return Arrived(spec="fraud-s3", seq=40, approved=approved, trained=trained)


CASES: dict[str, tuple[ModelView, list[str]]] = {
    "all is well": (seen(), []),
    "nothing is deployed": (seen(routing=None, versions=(), been_champion=frozenset()), []),
    "windows are due": (seen(windows_due=True), ["JudgeWindows"]),
    "notify does nothing else": (seen(model=model("notify"), alerts=(alert(),)), []),
    "what something else serves is only watched": (
        seen(versions=(version(1, external=True),), alerts=(alert(),), windows_due=True),
        ["JudgeWindows"],
    ),
    "and its rollout is a person's to begin": (seen(versions=(version(1), version(2, external=True))), []),
    "and nothing of it is trained by a schedule": (
        seen(versions=(version(1, external=True),), schedule=Schedule(due=NOW)),
        [],
    ),
    "but our own is tried against it": (
        seen(versions=(version(1, external=True), version(2), version(3, external=True))),
        ["StartRollout"],
    ),
    "an alert is investigated": (seen(alerts=(alert(),)), ["Investigate"]),
    "then answered": (seen(alerts=(alert(investigated=True),)), ["Propose"]),
    "then approved by policy": (seen(alerts=(alert(proposal="fraud-s2"),)), ["ApproveByPolicy"]),
    "or by a person alone": (seen(policy_approves=False, alerts=(alert(proposal="fraud-s2"),)), []),
    "or left to a person": (seen(model=model("propose"), alerts=(alert(proposal="fraud-s2"),)), []),
    "a person's approval waits for nothing": (
        seen(model=model("propose"), alerts=(alert(proposal="fraud-s2", approved="alice", positives=0),)),
        ["StartTraining"],
    ),
    "the policy's waits for the change to be known": (
        seen(alerts=(alert(**READY, positives=FIRST_POSITIVES - 1),)),
        [],
    ),
    "and then trains": (seen(alerts=(alert(**READY, positives=FIRST_POSITIVES),)), ["StartTraining"]),
    "what was promoted in a store waits for an approval": (seen(arrived=arrived(approved=False)), []),
    "and then trains, once": (seen(arrived=arrived()), ["StartTraining"]),
    "not twice": (seen(arrived=arrived(trained=True)), []),
    "nor beside another run": (seen(arrived=arrived(), running=(run(),)), []),
    "also where nothing is deployed": (
        seen(routing=None, versions=(), been_champion=frozenset(), arrived=arrived()),
        ["StartTraining"],
    ),
    "one run at a time": (seen(alerts=(alert(**READY, positives=900),), running=(run(),)), []),
    "a refused one waits": (seen(alerts=(alert(**READY, positives=99),), tries=(tried(50),)), []),
    "until positives have doubled": (
        seen(alerts=(alert(**READY, positives=100),), tries=(tried(50),)),
        ["StartTraining"],
    ),
    "a check no longer asked": (seen(alerts=(alert(check="drift", proposal="s"),)), ["CloseAlert", "ApproveByPolicy"]),
    "a second alert is investigated too": (
        seen(alerts=(alert(**READY, positives=0), alert("a-two", labels=False))),
        ["Investigate"],
    ),
    "but not proposed for": (
        seen(alerts=(alert(**READY, positives=0), alert("a-two", labels=False, investigated=True))),
        [],
    ),
    "outcomes say more than inputs did": (
        seen(alerts=(alert(**READY, labels=False, positives=0), alert("a-two", investigated=True))),
        ["Propose"],
    ),
    "a new version is tried": (seen(versions=(version(1), version(2))), ["StartRollout"]),
    "not one that was tried": (seen(versions=(version(1), version(2)), rolled_out=frozenset({2})), []),
    "not one that was deployed by hand and left": (
        seen(versions=(version(1), version(2)), been_champion=frozenset({1, 2})),
        [],
    ),
    "not an old one": (
        seen(versions=(version(1), version(2), version(3)), routing=routing(3), been_champion=frozenset({1, 3})),
        [],
    ),
    "a rollout is looked at": (seen(rollout=rollout(), looked_at=NOW - DAY), ["StepRollout"]),
    "but not all the time": (seen(rollout=rollout()), []),
    "no training while its challenger is tried": (
        seen(
            alerts=(alert(**READY, positives=999),),
            rollout=rollout(answers_alert=True),
            rollout_trigger="alert",
        ),
        [],
    ),
    "an answer to an alert takes a scheduled one's place": (
        seen(
            versions=(version(1), version(2, trigger="schedule"), version(3, trigger="alert")),
            rolled_out=frozenset({2}),
            rollout=rollout(),
            rollout_trigger="schedule",
        ),
        ["StopRollout"],
    ),
    "a scheduled one waits for its turn": (
        seen(
            versions=(version(1), version(2, trigger="schedule"), version(3, trigger="schedule")),
            rolled_out=frozenset({2}),
            rollout=rollout(),
            rollout_trigger="schedule",
        ),
        [],
    ),
    "the schedule fires": (seen(schedule=Schedule(due=NOW)), ["FireSchedule"]),
    "and trains": (seen(schedule=Schedule(fired=NOW, fired_seq=9, started=False)), ["StartTraining"]),
    "once": (seen(schedule=Schedule(fired=NOW, fired_seq=9)), []),
    "a paused one does not fire": (seen(schedule=Schedule(due=NOW, paused=True)), []),
    "nor train": (seen(schedule=Schedule(fired=NOW, fired_seq=9, started=False, paused=True)), []),
    "what a person asked for is trained": (seen(schedule=Schedule(asked=ASKED)), ["StartTraining"]),
    "and what comes due meanwhile is written down": (
        seen(schedule=Schedule(due=NOW, asked=ASKED)),
        ["StartTraining", "FireSchedule"],
    ),
    "one after the other": (
        seen(schedule=Schedule(fired=NOW, fired_seq=9, started=False, asked=ASKED)),
        ["StartTraining"],
    ),
    "also in a pause": (seen(schedule=Schedule(due=NOW, paused=True, asked=ASKED)), ["StartTraining"]),
    "once the run that goes on has ended": (seen(running=(run(),), schedule=Schedule(asked=ASKED)), []),
    "another schedule in the file is written down": (seen(schedule=Schedule(known=False, since=NOW)), ["NoteSchedule"]),
    "once there is a champion": (
        seen(routing=routing(None), schedule=Schedule(known=False, since=NOW, due=NOW, asked=ASKED)),
        [],
    ),
    "once more after a promotion": (
        seen(alerts=(alert(**READY, positives=100),), tries=(tried(50, status="finished"),), promotions=1),
        ["StartTraining"],
    ),
    "not where all is as before": (
        seen(
            alerts=(alert(**READY, positives=100),),
            tries=(tried(50, status="finished"),),
            promotions=1,
            recovered=True,
        ),
        [],
    ),
    "nor without end": (
        seen(
            alerts=(alert(**READY, positives=10_000),),
            tries=(tried(50, status="finished"),),
            promotions=MOST_PROMOTIONS,
        ),
        [],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_case(case: str) -> None:
    one, expected = CASES[case]
    assert kinds(one) == expected


def test_what_was_missed_is_skipped_only_where_nothing_watched_or_someone_paused_it() -> None:
    for missed, late, skipped in (
        ("once", "idle", False),
        ("once", "paused", False),
        ("skip", "", False),
        ("skip", "busy", False),
        ("skip", "idle", True),
        ("skip", "paused", True),
    ):
        one = seen(
            model=model(train=f"{{schedule: daily, missed: {missed}}}"),
            schedule=Schedule(due=NOW, after=NOW - DAY, late=late, sentence="why" if late else ""),  # type: ignore[arg-type]
        )
        fired = first(one)
        assert fired.skipped == ("why, and train.missed is skip" if skipped else None)
        assert (fired.due, fired.after) == (NOW, NOW - DAY)


def test_a_run_that_a_person_asked_for_has_the_name_they_were_told_and_them_as_its_cause() -> None:
    asked = first(seen(schedule=Schedule(asked=ASKED)))
    assert (asked.run, asked.cause, asked.trigger, asked.spec) == ("r-asked", 40, "person", "fraud-s1")


def test_a_schedule_gives_way_to_the_answer_of_an_alert() -> None:
    waiting = seen(alerts=(alert(**READY, positives=0),), schedule=Schedule(due=NOW))
    assert first(waiting).skipped == "a-one is being answered by fraud-s2"
    unapproved = seen(model=model("propose"), alerts=(alert(proposal="fraud-s2"),), schedule=Schedule(due=NOW))
    assert first(unapproved).skipped is None


def test_what_answers_an_alert_says_so_and_a_scheduled_one_must_be_better() -> None:
    for trigger, answers in (("alert", True), ("schedule", False), ("person", False)):
        action = first(seen(versions=(version(1), version(2, trigger=trigger))))
        assert (action.version, action.champion, action.answers_alert) == (2, 1, answers)


def test_a_run_that_found_too_little_waits_for_somewhat_more_and_any_other_for_twice_as_much() -> None:
    one = alert(**READY)
    assert positives_needed(one, (tried(100, status="failed", error="Undecided"),)) == 125
    assert positives_needed(one, (tried(100, status="failed", error="FitFailed"),)) == 200
    assert positives_needed(one, (tried(0),)) == FIRST_POSITIVES


@pytest.mark.parametrize(
    ("recalls", "champion", "expected"),
    [((0.8, 0.7), 2, False), ((0.8, 0.8), 2, True), ((0.8, 0.9), 2, True), ((0.8, 0.9), 1, False)],
)
def test_all_is_as_before_once_another_champion_promises_what_the_alerted_one_did(
    recalls: tuple[float, float], champion: int, expected: bool
) -> None:
    versions = tuple(version(number, recall=recall) for number, recall in enumerate(recalls, start=1))
    assert recovered(model(), (alert(),), versions, routing(champion)) is expected
    assert not recovered(model(), (), versions, routing(champion))


def test_nothing_is_as_before_where_the_objectives_bound_is_plainly_missed() -> None:
    versions = version(1), version(2, recall=0.9, precision=0.6)
    assert not recovered(model(), (alert(),), versions, routing(2))
    assert recovered(model(), (alert(),), (version(1), version(2, recall=0.9, precision=0.75)), routing(2))


def test_the_same_request_has_the_same_name_and_the_next_try_another() -> None:
    ready = (alert(**READY, positives=100),)
    assert first(seen(alerts=ready)) == first(seen(alerts=ready))
    assert first(seen(alerts=ready)).name != first(seen(alerts=ready, tries_before=1)).name


@given(
    alerts=st.lists(
        st.builds(
            alert,
            st.sampled_from(["a-one", "a-two", "a-three"]),
            labels=st.booleans(),
            investigated=st.booleans(),
            proposal=st.sampled_from([None, "fraud-s2", "fraud-s3"]),
            approved=st.sampled_from([None, "policy", "alice"]),
            positives=st.one_of(st.none(), st.integers(0, 500)),
        ),
        max_size=3,
        unique_by=lambda one: one.id,
    ),
    policy=st.sampled_from(["notify", "propose", "rollout"]),
    triggers=st.lists(st.sampled_from(["person", "schedule", "alert"]), max_size=3),
    rolling=st.sampled_from([None, "person", "schedule", "alert"]),
    running=st.booleans(),
    promotions=st.integers(0, 3),
    recovered=st.booleans(),
    due=st.booleans(),
)
def test_whatever_is_seen(
    alerts: list[Any],
    policy: str,
    triggers: list[str],
    rolling: str | None,
    running: bool,
    promotions: int,
    recovered: bool,
    due: bool,
) -> None:
    one = seen(
        model=model(policy),
        alerts=tuple(alerts),
        versions=(version(1), *(version(n, trigger=trigger) for n, trigger in enumerate(triggers, start=2))),
        rollout=None if rolling is None else rollout(answers_alert=rolling == "alert"),
        rollout_trigger=rolling or "",
        running=(run(),) if running else (),
        promotions=promotions,
        recovered=recovered,
        schedule=Schedule(due=NOW if due else None),
    )
    decided = decide(view(one))
    counted = Counter(type(action) for action in decided)
    assert decide(view(one)) == decided
    assert len(set(decided)) == len(decided)
    assert counted[to_do.StartTraining] <= (0 if running else 1)
    assert counted[to_do.StartRollout] <= (0 if rolling else 1)
    assert counted[to_do.Propose] == 0 or policy != "notify"
    assert counted[to_do.ApproveByPolicy] == 0 or policy == "rollout"
    trained_for = [action for action in decided if isinstance(action, to_do.StartTraining) and action.alert]
    assert all(one.approval_seq is not None for one in alerts if one.id in {action.alert for action in trained_for})


def test_a_run_is_fitted_on_all_but_the_newest_share_of_its_window() -> None:
    one = model(outcome="{delay: 7d}", train="{window: 60d, holdout: 10%}")
    assert fitted_until(one, NOW, None) == NOW - 13 * DAY
    assert fitted_until(one, NOW, NOW - 27 * DAY) == NOW - 9 * DAY
