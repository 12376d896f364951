"""State is what the facts imply: versions, routing, rollouts, alerts, approvals, runs."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from everloop.clock import SimulatedClock
from everloop.errors import Conflict, LedgerError, LedgerUnreadable, NotFound
from everloop.ledger import Exposure, Ledger, schema

from . import scenes


def act(ledger: Ledger, action: str, number: int) -> None:
    """One thing that may happen, legal now or not."""
    model, run = "fraud", f"r-{number}"
    simple: dict[str, tuple[str, str, dict[str, Any]]] = {
        "approve": ("spec.approved", "fraud-s1", {"spec": "fraud-s1", "spec_hash": f"h{number % 2}", "by": "alice"}),
        "expose": ("rollout.started", f"fraud/v{number}", {"version": number, "steps": ["1%", "100%"]}),
        "move": ("rollout.moved", f"fraud/v{number}", {"version": number, "step": 1, "sentence": "fine"}),
        "stop": ("rollout.stopped", f"fraud/v{number}", {"version": number, "sentence": "worse"}),
        "promote": ("rollout.promoted", f"fraud/v{number}", {"version": number, "sentence": "better"}),
        "close": ("alert.closed", f"a-{number}", {"alert": f"a-{number}", "reason": "fixed"}),
        "hold": ("schedule.paused", "fraud", {"reason": f"reason {number}"}),
        "let": ("schedule.resumed", "fraud", {}),
        "look": ("investigation.made", f"a-{number}", {"alert": f"a-{number}", "sentence": "found"}),
    }
    if action in simple:
        kind, subject, payload = simple[action]
        ledger.append(kind, subject, payload | {"model": model}, actor="tester")
    elif action == "alert":
        scenes.alert(ledger, f"a-{number}")
    elif action == "register":
        scenes.register(ledger, bundle=f"b{number}", run=run)
    elif action == "route":
        revision = ledger.routing_revision(model)
        exposures = [Exposure(version=number, share=0.1, salt="s")]
        ledger.change_routing(
            model,
            expected_revision=revision + number // 4,
            champion=1,
            previous=None,
            challengers=exposures,
            reason="",
            actor="t",
        )
    elif action == "run":
        ledger.append(
            "run.started", run, {"run": run, "workflow": "train", "model": model}, actor="t", key=(run, "run", 0)
        )
    elif action == "lease":
        ledger.acquire_lease("mover", f"worker-{number}", ttl_s=0)
    else:
        ledger.release_lease("mover", f"worker-{number}")


SIMPLE = ["approve", "expose", "move", "stop", "promote", "close", "look", "hold", "let"]
ACTIONS = st.tuples(
    st.sampled_from([*SIMPLE, "alert", "register", "route", "run", "lease", "release"]),
    st.integers(1, 4),
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(actions=st.lists(ACTIONS, max_size=25))
def test_replaying_the_log_gives_the_state(
    tmp_path_factory: pytest.TempPathFactory, clock: SimulatedClock, actions: list[tuple[str, int]]
) -> None:
    with Ledger.open(tmp_path_factory.mktemp("law") / "ledger.db", clock=clock) as ledger:
        for action, number in actions:
            clock.advance(timedelta(minutes=1))
            before = ledger.dump_state()
            try:
                act(ledger, action, number)
            except (LedgerError, NotFound):
                assert ledger.dump_state() == before
        state = ledger.dump_state()
        assert ledger.rebuild_state() == ledger.head().seq
        assert ledger.dump_state() == state
        assert ledger.verify().ok


def test_a_state_of_another_schema_is_replayed_when_opened(open_ledger: Callable[[], Ledger]) -> None:
    ledger = open_ledger()
    version = scenes.improvement(ledger)
    state = ledger.dump_state()
    with ledger._database.writing() as connection:
        connection.execute(sa.text("UPDATE meta SET value = 0 WHERE name = 'state'"))
        connection.execute(sa.text("DROP TABLE version"))
    again = open_ledger()
    assert again.dump_state() == state
    assert again.version("fraud", 1) == version


def test_versions_are_numbered_and_know_their_role(ledger: Ledger) -> None:
    first, second, third = (scenes.register(ledger, bundle=f"b{number}") for number in (1, 2, 3))
    assert [first.number, second.number, third.number] == [1, 2, 3]
    assert (first.name, first.role, first.metrics["recall"]["low"]) == ("fraud/v1", None, 0.75)
    shadow = [Exposure(version=3, share=0.0, mode="shadow", salt="x")]
    routing, fact = ledger.change_routing(
        "fraud", expected_revision=0, champion=2, previous=1, challengers=shadow, reason="try v3", actor="control"
    )
    assert (routing.revision, routing.seq, routing.challengers) == (1, fact.seq, tuple(shadow))
    assert [version.role for version in ledger.versions("fraud")] == ["previous", "champion", "challenger"]
    assert ledger.versions() == ledger.versions("fraud")
    with pytest.raises(NotFound, match="the newest is v3"):
        ledger.version("fraud", 7)
    with pytest.raises(NotFound, match="it has none yet"):
        ledger.version("churn", 1)


def test_routing_changes_only_from_the_revision_that_was_read(ledger: Ledger) -> None:
    scenes.register(ledger)
    assert ledger.routing("fraud") is None
    assert ledger.routing_revision("fraud") == 0
    change: dict[str, Any] = {"champion": 1, "previous": None, "reason": "first", "actor": "control"}
    ledger.change_routing("fraud", expected_revision=0, **change)
    with pytest.raises(Conflict, match="is at revision 1, not 0"):
        ledger.change_routing("fraud", expected_revision=0, **change)
    ledger.change_routing("fraud", expected_revision=1, **change)
    assert ledger.routing_revision("fraud") == 2
    with pytest.raises(NotFound, match="no version v9"):
        ledger.change_routing("fraud", expected_revision=2, **(change | {"champion": 9}))


def test_the_newest_fact_of_some_kinds_is_found_by_its_seq(ledger: Ledger) -> None:
    kinds = ("key.created", "key.revoked")
    assert ledger.last_seq(kinds) == 0
    made = ledger.append("key.created", "k", {"name": "a", "key": "k", "sha256": "0"}, actor="x")
    scenes.register(ledger)
    assert ledger.last_seq(kinds) == made.seq < ledger.head().seq
    gone = ledger.append("key.revoked", "k", {"name": "a", "key": "k"}, actor="x")
    assert ledger.last_seq(kinds) == gone.seq


def test_a_rollout_goes_step_by_step_to_one_end(ledger: Ledger, clock: SimulatedClock) -> None:
    act(ledger, "expose", 2)
    with pytest.raises(Conflict, match="being rolled out already"):
        act(ledger, "expose", 2)
    clock.advance(timedelta(days=1))
    act(ledger, "move", 2)
    (rollout,) = ledger.rollouts("fraud", running_only=True)
    assert (rollout.step, rollout.steps, rollout.sentence) == (1, ("1%", "100%"), "fine")
    assert rollout.moved_at - rollout.started_at == timedelta(days=1)
    act(ledger, "promote", 2)
    assert ledger.rollouts("fraud", running_only=True) == []
    assert ledger.rollouts("fraud")[0].status == "promoted"
    with pytest.raises(Conflict, match="is not being rolled out"):
        act(ledger, "stop", 2)
    act(ledger, "expose", 2)
    assert [rollout.status for rollout in ledger.rollouts()] == ["promoted", "running"]


def test_an_alert_is_open_until_it_is_closed(ledger: Ledger) -> None:
    opened = scenes.alert(ledger)
    (alert,) = ledger.alerts("fraud", open_only=True)
    assert (alert.alert, alert.seq, alert.evidence_kind, alert.evidence) == (
        "a-1",
        opened.seq,
        "labels",
        {"recall": 0.41},
    )
    act(ledger, "look", 1)
    assert ledger.alert("a-1").investigation == 2
    act(ledger, "close", 1)
    assert ledger.alerts(open_only=True) == []
    assert ledger.alert("a-1").closed_reason == "fixed"
    with pytest.raises(NotFound, match="no alert a-7"):
        ledger.alert("a-7")


def test_the_newest_approval_of_a_spec_counts(ledger: Ledger) -> None:
    assert ledger.approval("fraud", "h1") is None
    act(ledger, "approve", 1)
    approval = ledger.approval("fraud", "h1")
    assert approval is not None
    assert (approval.by, approval.spec, approval.at) == ("alice", "fraud-s1", datetime(2026, 1, 5, tzinfo=UTC))


def test_a_schedule_is_paused_once_and_resumed_once(ledger: Ledger, clock: SimulatedClock) -> None:
    assert ledger.schedule("fraud") is None
    with pytest.raises(Conflict, match="the schedule of fraud is not paused"):
        act(ledger, "let", 1)
    act(ledger, "hold", 1)
    paused = ledger.schedule("fraud")
    assert paused is not None
    assert (paused.status, paused.reason, paused.paused_by) == ("paused", "reason 1", "tester")
    assert (paused.paused_at, paused.resumed_at) == (clock.now(), None)
    with pytest.raises(Conflict, match="is paused already, by tester: reason 1"):
        act(ledger, "hold", 2)
    clock.advance(timedelta(days=1))
    act(ledger, "let", 1)
    resumed = ledger.schedule("fraud")
    assert resumed is not None
    assert (resumed.status, resumed.reason, resumed.resumed_at) == ("active", "reason 1", clock.now())
    act(ledger, "hold", 3)
    again = ledger.schedule("fraud")
    assert again is not None
    assert (again.status, again.reason, again.resumed_at) == ("paused", "reason 3", None)
    assert ledger.schedule("churn") is None


def test_a_run_learns_its_spec_from_the_store_that_it_read(ledger: Ledger) -> None:
    ledger.append("run.started", "r-1", {"run": "r-1", "workflow": "train", "model": "fraud"}, actor="control")
    assert ledger.run("r-1").spec is None
    source = {"store": "ssm:/fraud", "version": "r4", "modifier": "ann"}
    said = {"run": "r-1", "model": "fraud", "spec": "fraud-s3", "spec_hash": "h3", "learner": "xgboost", **source}
    fact = ledger.append("run.configured", "r-1", said, actor="control")
    assert (ledger.run("r-1").spec, ledger.run("r-1").last_seq) == ("fraud-s3", fact.seq)
    state = ledger.dump_state()
    ledger.rebuild_state()
    assert ledger.dump_state() == state


def test_why_goes_from_a_version_back_to_the_alert(ledger: Ledger) -> None:
    version = scenes.improvement(ledger)
    kinds = [fact.kind for fact in ledger.why("fraud", version.number)]
    assert kinds == [
        "version.registered",
        "run.started",
        "spec.approved",
        "spec.written",
        "proposal.made",
        "investigation.made",
        "alert.opened",
    ]


def test_why_follows_the_causes_that_were_given(ledger: Ledger) -> None:
    first = scenes.notice(ledger, "a person asked")
    _, fact = ledger.register_version("fraud", scenes.candidate(), actor="worker", cause=first.seq)
    assert [found.seq for found in ledger.why("fraud", 1)] == [fact.seq, first.seq]


def test_several_processes_may_rebuild_but_one_does(
    open_ledger: Callable[[], Ledger], place: tuple[object, Path]
) -> None:
    ledger = open_ledger()
    scenes.alert(ledger)
    assert ledger.rebuild_state(only_from=-1) == 0
    assert ledger.rebuild_state() == 1


def _state_schema(ledger: Ledger, changed_to: int | None = None) -> int:
    """Which one the state is of, after it was changed."""
    named = schema.meta.c.name == "state"
    with ledger._database.writing() as connection:
        if changed_to is not None:
            connection.execute(schema.meta.update().where(named), {"value": changed_to})
        return int(connection.scalar(sa.select(schema.meta.c.value).where(named)) or 0)


def test_a_state_of_an_older_everloop_is_made_anew(open_ledger: Callable[[], Ledger]) -> None:
    ledger = open_ledger()
    scenes.alert(ledger)
    state = ledger.dump_state()
    with ledger._database.writing() as connection:
        connection.execute(schema.state_metadata.tables["alert"].delete())
    _state_schema(ledger, changed_to=schema.STATE_SCHEMA - 1)
    assert open_ledger().dump_state() == state
    assert _state_schema(ledger) == schema.STATE_SCHEMA


def test_a_state_of_a_newer_everloop_is_left_alone(open_ledger: Callable[[], Ledger]) -> None:
    ledger = open_ledger()
    scenes.alert(ledger)
    newer = _state_schema(ledger, changed_to=schema.STATE_SCHEMA + 1)
    said = rf"state of the ledger .* has schema {newer}, .* up to {schema.STATE_SCHEMA}; upgrade everloop"
    with pytest.raises(LedgerUnreadable, match=said):
        open_ledger()
    # made so by another process after this one had found it to be older
    with pytest.raises(LedgerUnreadable, match=said):
        ledger.rebuild_state(only_from=schema.STATE_SCHEMA - 1)
    assert _state_schema(ledger) == newer
    _state_schema(ledger, changed_to=schema.STATE_SCHEMA)  # the server is other tests' too
