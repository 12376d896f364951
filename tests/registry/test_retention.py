"""The retention rule: what it never touches, whatever happened before, and what it takes away."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from everloop.clock import SimulatedClock
from everloop.control import Controller, Resources, decide
from everloop.control.actions import RemoveOld
from everloop.control.reading import Reader
from everloop.errors import ProjectError, Refused
from everloop.registry import prune, removal_sentence, what_may_go
from everloop.rollout import rollback
from everloop.storage import open_storage
from everloop.traffic import Mover, Spool, TrafficLog, idle_spools

from ..cli.terminal import everloop
from ..object_store import ObjectStore, failing, object_store, without_waits
from ..traffic.world import batch, row, said
from .life import DAY, RULES, START, Life, bundle_id


@pytest.fixture
def life(tmp_path: Path) -> Iterator[Life]:
    made = Life(tmp_path / "shop")
    yield made
    made.ledger.close()


ACTS = st.one_of(
    st.tuples(st.just("train"), st.integers(1, 6)),
    st.tuples(st.just("refuse"), st.integers(1, 8)),
    st.tuples(st.just("expose"), st.integers(1, 8)),
    st.tuples(st.just("promote"), st.just(0)),
    st.tuples(st.just("stop"), st.just(0)),
    st.tuples(st.just("rollback"), st.just(0)),
    st.tuples(st.just("begin"), st.just(0)),
    st.tuples(st.just("alert"), st.integers(1, 4)),
    st.tuples(st.just("close"), st.integers(1, 4)),
    st.tuples(st.just("days"), st.integers(1, 30)),
)


def act(life: Life, what: str, n: int) -> None:
    match what:
        case "train":
            life.train(n)
        case "refuse":
            life.refuse(n)
        case "begin":
            life.begin()
        case "expose":
            # as a person or control would, who tries what is there
            if life.bundles.get(n) in life.here():
                life.expose(n)
        case "promote" | "stop":
            life.end(promoted=what == "promote")
        case "rollback":
            before = life.previous
            if before is not None and life.challenger is None:
                life.go_back()
        case "alert":
            life.alert(f"a-{n}")
        case "close":
            life.close(f"a-{n}")
        case "days":
            life.days(n)


def untouchable(life: Life) -> set[int]:
    """What the rule must leave, told from the acts alone."""
    if life.open_run is not None or life.champion is None:
        return set(life.bundles)
    older = {number for number in life.been_champion if number < life.champion}
    named = {life.champion, life.previous, life.challenger, life.newest, max(older, default=None)}
    return {number for number in {*named, *life.alerts.values()} if number is not None}


@given(st.lists(ACTS, max_size=40))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_no_history_loses_what_may_be_needed(acts: list[tuple[str, int]]) -> None:
    """Champion, challenger, where a rollback leads, last good version, newest, open alerts and runs: always there."""
    with tempfile.TemporaryDirectory() as folder:
        life = Life(Path(folder) / "shop")
        lost: set[str] = set()
        try:
            for what, n in acts:
                had_previous = life.previous is not None and life.bundles[life.previous] in life.here()
                try:
                    act(life, what, n)
                except Refused:
                    assert what == "rollback"
                    assert not had_previous
                before = life.here()
                protected = untouchable(life)
                done = prune(life.project, life.ledger, life.clock, actor="control")
                gone = {one.name for one in done.removed if one.what == "bundle"}
                assert life.here() == before - gone
                kept = {life.bundles[number] for number in protected} & before
                assert not gone & kept
                assert {life.run_of[number] for number in protected if life.bundles[number] in before} <= (
                    life.run_folders()
                )
                if life.open_run is not None:
                    assert life.open_run in life.run_folders()
                lost |= gone
            facts = life.ledger.facts(kind="retention.done")
            told = {one["name"] for fact in facts for one in fact.payload["removed"] if one["what"] == "bundle"}
            assert told == lost
            assert life.ledger.verify().ok
        finally:
            life.ledger.close()


def reached(monkeypatch: pytest.MonkeyPatch, store: ObjectStore) -> None:
    """From now on the project's artefacts are reached there."""
    for name, value in store.variables.items():
        monkeypatch.setenv(name, value)
    open_storage.cache_clear()


def grown(life: Life) -> None:
    """Four versions, each promoted ten days after the last: v4 answers, v3 before it."""
    life.train(1)
    for n in (2, 3, 4):
        life.days(10)
        life.train(n)
        life.expose(n)
        life.end(promoted=True)


def test_what_is_old_goes_with_its_run_and_the_fact_says_so(life: Life) -> None:
    grown(life)
    life.days(9)  # v1 was where a rollback led until v3 answered, 19 days ago; v2 until 9 days ago
    assert [one.name for one in what_may_go(life.project, life.ledger, life.clock).removed] == [bundle_id(1), "r-1"]
    life.days(40)
    planned = what_may_go(life.project, life.ledger, life.clock)
    told = {(one.what, one.name, tuple(one.versions)) for one in planned.removed}
    of_two = {("bundle", bundle_id(1), (1,)), ("bundle", bundle_id(2), (2,))}
    assert told == of_two | {("run", "r-1", (1,)), ("run", "r-2", (2,))}
    assert life.here() == {bundle_id(n) for n in (1, 2, 3, 4)}
    assert planned.kept["fraud"] == {4: "it is the champion", 3: "a rollback leads to it"}
    done = prune(life.project, life.ledger, life.clock, actor="control")
    assert done.removed == planned.removed
    assert done.bytes == 300
    assert removal_sentence(done.removed) == "2 bundles, 2 runs, 300 B"
    assert life.here() == {bundle_id(3), bundle_id(4)}
    assert life.run_folders() == {"r-3", "r-4"}
    fact = life.ledger.last("retention.done")
    assert fact is not None
    assert (fact.actor, fact.seq, fact.payload["bytes"]) == ("control", done.fact, 300)
    assert fact.payload["rules"] == {"bundles": "10d", "runs": "5d", "spools": "3d"}
    assert fact.payload["removed"][0]["rule"].endswith("retention.bundles is 10d")
    assert prune(life.project, life.ledger, life.clock, actor="control").removed == ()


def test_nothing_goes_by_default(tmp_path: Path) -> None:
    life = Life(tmp_path / "shop", settings="{}\n")
    grown(life)
    life.days(4000)
    assert prune(life.project, life.ledger, life.clock, actor="control").removed == ()
    assert len(life.here()) == 4
    life.ledger.close()


def test_a_bundle_stays_until_the_outcomes_of_what_it_answered_are_judged(tmp_path: Path) -> None:
    """Two days of delay and two windows of a day: with a rule of one day it is four days all the same."""
    life = Life(tmp_path / "shop", settings="retention: {bundles: 1d}\n")
    grown(life)
    life.train(5)
    life.expose(5)
    life.end(promoted=True)  # from now on no rollback leads to v3
    life.days(3.9)
    assert bundle_id(3) not in {one.name for one in what_may_go(life.project, life.ledger, life.clock).removed}
    life.days(0.2)
    assert bundle_id(3) in {one.name for one in what_may_go(life.project, life.ledger, life.clock).removed}
    life.ledger.close()


def test_what_was_refused_goes_too_and_what_nobody_knows_stays(life: Life) -> None:
    life.train(1)
    life.refuse(7)
    stranger = life.project.paths.bundles / "sha256" / bundle_id(99)
    stranger.mkdir()
    (life.project.paths.runs / "by-hand").mkdir()
    life.days(100)
    prune(life.project, life.ledger, life.clock, actor="control")
    assert life.here() == {bundle_id(1), bundle_id(99)}
    assert life.run_folders() == {"r-1", "by-hand"}


def test_a_bundle_of_two_versions_goes_with_the_last_of_them(life: Life) -> None:
    grown(life)
    life.train(1)  # v5 is what v1 was
    life.days(100)
    prune(life.project, life.ledger, life.clock, actor="control")
    assert life.here() == {bundle_id(n) for n in (1, 3, 4)}
    assert "r-1" in life.run_folders()


def test_a_rollback_to_what_was_removed_is_refused_unless_it_was_put_back(life: Life) -> None:
    grown(life)
    life.days(100)
    prune(life.project, life.ledger, life.clock, actor="control")
    life.go_back()
    assert (life.champion, life.previous) == (3, 2)
    with pytest.raises(Refused, match=r"fraud/v2 cannot answer again: its bundle was removed by the retention rule on"):
        rollback(life.ledger, "fraud", actor="alice", reason="a test")
    assert life.ledger.routing("fraud").champion == 3  # type: ignore[union-attr]
    back = rollback(life.ledger, "fraud", actor="alice", reason="a test", has_bundle=lambda bundle: True)
    assert back.champion == 2


def test_what_a_killed_process_did_not_get_to_remove_goes_the_next_time(life: Life) -> None:
    """The fact is there and the files are too; another process removes them, and says so again."""
    grown(life)
    life.days(100)
    planned = what_may_go(life.project, life.ledger, life.clock)
    payload = {"removed": list(planned.removed), "bytes": planned.bytes}
    life.ledger.append("retention.done", "shop", payload, actor="control")
    half = life.project.paths.runs / ".gone-r-0-abcd"
    half.mkdir()
    again = prune(life.project, life.ledger, life.clock, actor="control")
    assert again.removed == planned.removed
    assert life.here() == {bundle_id(3), bundle_id(4)}
    assert not half.exists()


def test_what_object_storage_did_not_remove_goes_the_next_time_and_holds_up_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that answers every removal with 500, then is well again; and objects of a run that has no folder here."""
    without_waits(monkeypatch)
    with object_store("artefacts") as store, failing(store, share=1.0, verbs=["DELETE", "POST"], lost=0.0) as door:
        life = Life(tmp_path / "shop", settings=f"{RULES}artifacts: s3://artefacts/shop\n")
        grown(life)
        life.days(100)
        for run in ("r-1", "r-2", "r-4"):
            store.put(f"shop/runs/{run}/plan.step.json", b"x" * 30)
        (life.project.paths.runs / "r-1" / "snapshot.parquet").unlink()
        (life.project.paths.runs / "r-1").rmdir()  # it went before its objects did
        reached(monkeypatch, door)
        with pytest.raises(ProjectError, match=r"run r-2: .*; what is left goes the next time") as told:
            prune(life.project, life.ledger, life.clock, actor="control")
        assert "run r-1: " in str(told.value)
        assert "r-2" in life.run_folders()
        reached(monkeypatch, store)
        again = prune(life.project, life.ledger, life.clock, actor="control")
        runs = [(one.name, one.bytes) for one in again.removed if one.what == "run"]
        assert runs == [("r-1", 30), ("r-2", 100)]
        left = store.client.list_objects_v2(Bucket="artefacts", Prefix="shop/runs/")["Contents"]
        assert [one["Key"] for one in left] == ["shop/runs/r-4/plan.step.json"]
        assert life.run_folders() == {"r-3", "r-4"}
        life.ledger.close()
    open_storage.cache_clear()


def test_an_empty_spool_that_nobody_holds_goes_and_no_other(life: Life) -> None:
    folder = life.project.paths.spool
    old = (START - 30 * DAY).timestamp()
    for slot in (0, 1, 2):
        with Spool.open(folder, clock=life.clock, slot=slot) as spool:
            if slot == 1:
                spool.append_outcomes("fraud", [said("p", True, START)])
    with Spool.open(folder, clock=life.clock, slot=0):
        for slot in (0, 1, 2):
            for path in folder.glob(f"slot-{slot}.db*"):
                os.utime(path, (old, old))
        (life.project.root / "everloop.yaml").write_text("retention: {spools: 3d}\n")
        done = prune(life.project, life.ledger, life.clock, actor="control")
    assert [one.name for one in done.removed] == ["slot-2.db"]
    assert sorted(path.name for path in folder.glob("*.db")) == ["slot-0.db", "slot-1.db"]
    with Spool.open(folder, clock=life.clock, slot=2):  # its slot is there for who comes next
        assert (folder / "slot-2.db").exists()


def test_ids_that_are_still_known_keep_their_spool(life: Life) -> None:
    """48 hours an id is answered for; whatever the rule says, its spool stays as long."""
    folder = life.project.paths.spool
    with Spool.open(folder, clock=life.clock, slot=3):
        pass
    then = START.timestamp()
    for path in folder.glob("slot-3.db*"):
        os.utime(path, (then, then))
    assert idle_spools(folder, now=START + timedelta(hours=47)) == []
    assert [one.name for one in idle_spools(folder, now=START + timedelta(hours=49))] == ["slot-3.db"]


def test_a_neighbour_sees_the_new_spool_of_a_slot_whose_old_one_was_removed(tmp_path: Path) -> None:
    clock, folder = SimulatedClock(START), tmp_path / "spool"
    with Spool.open(folder, clock=clock, slot=0) as mine:
        with Spool.open(folder, clock=clock, slot=1):
            assert mine.answers_for("fraud", ["p-1"]) == {}  # it has looked into slot 1
        for path in folder.glob("slot-1.db*"):
            path.unlink()
        with Spool.open(folder, clock=clock, slot=1) as other:
            other.append_predictions(batch([row("p-1")]))
            assert set(mine.answers_for("fraud", ["p-1"])) == {"p-1"}


def test_prune_says_what_would_go_and_goes_only_by_yes(life: Life) -> None:
    grown(life)  # long before now, by the machine's own clock
    life.ledger.close()
    root = life.project.root
    assert everloop("model", "prune", cwd=root).code == 2
    shown = everloop("model", "prune", "--dry-run", cwd=root)
    assert shown.code == 0, shown.err
    assert "fraud/v1" in shown.out
    assert "retention.bundles is 10d" in " ".join(shown.out.split())
    assert "kept: fraud/v4, it is the champion" in shown.err
    assert "--yes removes it" in shown.err
    assert len(life.here()) == 4
    kept = everloop("model", "prune", "--dry-run", "--bundles", "40y", "--json", cwd=root)
    assert {one["what"] for one in kept.json["removed"]} == set()
    done = everloop("model", "prune", "--yes", "--json", cwd=root)
    assert done.code == 0, done.err
    assert {one["what"] for one in done.json["removed"]} == {"bundle", "run"}
    assert len(life.here()) == 2
    listed = " ".join(everloop("model", "list", cwd=root).out.split())
    assert "fraud/v1 bundle (removed" in listed
    card = " ".join(everloop("model", "show", "v1", cwd=root).out.split())
    assert "so it cannot answer any more; train again: 'everloop train fraud --spec fraud-s1'" in card
    assert everloop("rollback", cwd=root).code == 0
    refused = everloop("rollback", cwd=root)
    assert refused.code == 3
    assert "fraud/v2 cannot answer again: its bundle was removed by the retention rule" in refused.err


def test_prune_without_any_rule_says_how_to_give_one(tmp_path: Path) -> None:
    life = Life(tmp_path / "shop", settings="{}\n")
    life.ledger.close()
    asked = everloop("model", "prune", "--dry-run", cwd=life.project.root)
    assert asked.code == 2
    assert "retention: {bundles: 90d, runs: 30d, spools: 7d}" in asked.err
    short = everloop("model", "prune", "--dry-run", "--bundles", "1h", cwd=life.project.root)
    assert short.code == 2
    assert "1d ≤ span" in short.err


def test_control_looks_once_a_day_and_says_what_went(life: Life) -> None:
    grown(life)
    with Resources.opened(life.project, ledger=life.ledger, clock=life.clock, slot="test") as resources:
        controller = Controller(resources)
        assert controller.tick() == ["shop: 1 bundle, 1 run, 150 B removed"]
        assert controller.tick() == []
        life.days(0.9)
        life.refuse(9)
        life.days(0.05)
        assert controller.tick() == []
        assert [fact.actor for fact in life.ledger.facts(kind="retention.done")] == ["control"]
        life.days(100)
        assert controller.tick() == ["shop: 2 bundles, 2 runs, 300 B removed"]
        # another worker that takes over does not look again the same day
        assert not Reader(resources=resources).view().retention_due


def test_where_nothing_is_to_go_no_time_is_spent_on_looking(tmp_path: Path) -> None:
    life = Life(tmp_path / "shop", settings="{}\n")
    with Resources.opened(life.project, ledger=life.ledger, clock=life.clock, slot="test") as resources:
        view = Reader(resources=resources).view()
        assert not view.retention_due
        assert decide(replace(view, retention_due=True, project="shop")) == [RemoveOld(model="shop")]
    life.ledger.close()


def traffic_of(life: Life, *days: int) -> None:
    """A row and an outcome on each of these days since the start, in the log."""
    with Spool.open(life.project.paths.spool, clock=life.clock) as spool:
        for day in days:
            at = START + day * DAY
            spool.append_predictions(batch([row(f"d{day}", at=at)]))
            spool.append_outcomes("fraud", [said(f"d{day}", True, at)])
    with Mover.open(spool=life.project.paths.spool, traffic=life.project.paths.traffic, clock=life.clock) as mover:
        mover.move_once()


def judged(life: Life, day: int, *kinds: str) -> None:
    """Windows that end on this day were judged."""
    window = {"start": START + (day - 1) * DAY, "end": START + day * DAY}
    for kind in kinds or ("traffic", "outcomes"):
        said_of = {"model": "fraud", "window": window, "verdicts": [], "details": {"kind": kind}}
        life.ledger.append("check.done", "fraud", said_of, actor="monitor")


def left(life: Life) -> list[int]:
    log = TrafficLog(life.project.paths.traffic, "fraud")
    days = [(day - START.date()).days for day in log.days()]
    assert sorted(log.outcomes().collect()["prediction_id"]) == sorted(f"d{day}" for day in days)
    return days


@pytest.fixture
def logged(tmp_path: Path) -> Iterator[Life]:
    """A champion, and forty days of which there is traffic every fourth; the rule keeps ten."""
    made = Life(tmp_path / "shop", settings="retention: {traffic: 10d}\n")
    made.train(1)
    traffic_of(made, *range(0, 40, 4))
    made.days(40)
    yield made
    made.ledger.close()


def carried_out(life: Life) -> list[str]:
    return [one.name for one in prune(life.project, life.ledger, life.clock, actor="control").removed]


def test_old_days_of_traffic_go_once_they_are_judged_and_a_fact_says_so(logged: Life) -> None:
    assert carried_out(logged) == []  # no window was ever judged
    planned = what_may_go(logged.project, logged.ledger, logged.clock)
    assert planned.needed == {"fraud": "no window of it was judged yet"}
    judged(logged, 25, "traffic")
    judged(logged, 17, "outcomes")
    assert carried_out(logged) == [f"fraud/{(START + day * DAY).date()}" for day in (0, 4, 8, 12, 16)]
    assert left(logged) == [20, 24, 28, 32, 36]
    judged(logged, 40)
    assert len(carried_out(logged)) == 3  # of 20, 24 and 28: ten days are kept
    assert left(logged) == [32, 36]
    fact = logged.ledger.last("retention.done")
    assert fact is not None
    assert fact.payload["removed"][0]["rule"] == "over since 2026-01-26; retention.traffic is 10d"
    assert fact.payload["rules"] == {"traffic": "10d"}
    assert fact.payload["bytes"] > 0
    assert removal_sentence(what_may_go(logged.project, logged.ledger, logged.clock).removed) == "0 B"
    assert carried_out(logged) == []
    assert logged.ledger.verify().ok


def test_traffic_that_something_may_still_look_at_stays(logged: Life) -> None:
    judged(logged, 40)
    logged.alert("a-1")
    assert carried_out(logged) == []
    logged.close("a-1")
    logged.begin()
    assert carried_out(logged) == []
    assert left(logged) == list(range(0, 40, 4))
    logged.package(1)
    logged.refuse(1)
    assert len(carried_out(logged)) == 8


def test_what_a_rollout_began_on_stays_and_a_month_goes_at_a_time(tmp_path: Path) -> None:
    life = Life(tmp_path / "shop", settings="retention: {traffic: 10d}\n")
    life.train(1)
    traffic_of(life, *range(50))
    life.days(45)
    life.train(2)
    life.expose(2)
    life.days(60)
    judged(life, 100)
    assert len(carried_out(life)) == 31
    assert len(carried_out(life)) == 14  # those before the rollout began
    assert left(life) == [45, 46, 47, 48, 49]
    life.end(promoted=True)
    assert len(carried_out(life)) == 5
    assert TrafficLog(life.project.paths.traffic, "fraud").count() == (0, 0)
    life.ledger.close()


def test_a_process_that_dies_behind_the_fact_leaves_days_that_go_the_next_time(
    logged: Life, monkeypatch: pytest.MonkeyPatch
) -> None:
    import everloop.registry.removal as module

    judged(logged, 40)

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "_carry_out", die)
    with pytest.raises(KeyboardInterrupt):
        carried_out(logged)
    monkeypatch.undo()
    assert left(logged) == list(range(0, 40, 4))
    assert len(carried_out(logged)) == 8
    assert len(logged.ledger.facts(kind="retention.done")) == 2
