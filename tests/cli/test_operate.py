"""Phase 2 to 4 as commands: check, status, why, rollback, doctor, and what they refuse."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from everloop.rollout import deploy, prepare, start

from ..monitoring.world import World
from .terminal import everloop


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A shop whose v1 answered for three quiet days, a while ago."""
    made = World(tmp_path)
    version = made.version()
    deploy(made.ledger, "fraud", version.number, actor="alice", reason="the first version")
    for day in range(3):
        made.day(day, [1])
    yield made
    made.ledger.close()


def test_check_judges_what_is_due_once_and_an_open_alert_is_exit_code_3(world: World) -> None:
    root = world.project.root
    first = everloop("check", "--json", cwd=root)
    assert first.code == 0, first.err
    windows = first.json["windows"]
    assert {one["kind"] for one in windows} == {"traffic", "outcomes"}
    again = everloop("check", "--json", cwd=root)
    assert (again.code, again.json["windows"]) == (0, [])
    for day in range(3, 10):
        world.day(day, [1], frauds=2, new=30)
    fallen = everloop("check", cwd=root)
    assert fallen.code == 3
    assert "ALERT a-" in fallen.out
    assert "(labels)" in fallen.out
    assert max(len(line) for line in fallen.out.splitlines()) <= 80
    assert "next: everloop alert show a-" in fallen.err
    assert max(len(line) for line in everloop("status", cwd=root).out.splitlines()) <= 80


def test_status_tells_who_answers_and_how_well(world: World) -> None:
    root = world.project.root
    everloop("check", cwd=root)
    shown = everloop("status", cwd=root)
    assert shown.code == 0, shown.err
    assert "fraud v1 (fraud-s1) answers" in shown.out
    assert "recall" in shown.out
    assert "No open alert." in shown.out
    record = everloop("status", "--json", cwd=root).json
    assert record["up"] is None
    assert record["pending"] == 0
    assert record["models"][0]["champion"] == 1
    assert record["models"][0]["metrics"]["recall"]["positives"] > 0


def test_why_goes_back_to_what_began_it_all(world: World) -> None:
    root = world.project.root
    told = everloop("why", "v1", cwd=root)
    assert told.code == 0, told.err
    assert "alice: v1 answers: the first version" in told.out
    assert "v1 was registered by run r-1 from fraud-s1. Gates: no gate was asked" in " ".join(told.out.split())
    kinds = [reason["kind"] for reason in everloop("why", "fraud/v1", "--json", cwd=root).json]
    assert kinds == ["routing.changed", "version.registered"]
    unknown = everloop("why", "v9", cwd=root)
    assert unknown.code == 1
    assert "fraud has no version v9; the newest is v1" in unknown.err
    assert everloop("why", "second", cwd=root).code == 2


def test_rollback_returns_to_the_previous_champion_or_says_why_it_cannot(world: World) -> None:
    root = world.project.root
    refused = everloop("rollback", cwd=root)
    assert refused.code == 1
    assert "v1 is the only champion yet" in refused.err
    deploy(world.ledger, "fraud", world.version(bias=-5.0).number, actor="alice", reason="test")
    done = everloop("rollback", "--reason", "too many complaints", cwd=root)
    assert (done.code, done.out) == (0, "fraud v1 answers again; v2 gave way\n")
    assert "v2 gave way to v1: too many complaints" in everloop("why", "v2", cwd=root).out.replace("\n", " ")


@pytest.mark.parametrize("reason", ["[urgent] see [/runbook]", "[true, null]", ":warning: [bold]all[/bold]"])
def test_what_people_wrote_is_shown_as_they_wrote_it(world: World, reason: str) -> None:
    root = world.project.root
    deploy(world.ledger, "fraud", world.version(bias=-5.0).number, actor="alice", reason=reason)
    shown = everloop("audit", "show", str(world.ledger.head().seq), cwd=root)
    assert (shown.code, reason in shown.out) == (0, True), shown.err


def test_a_rollout_shows_where_it_stands_and_what_is_known_of_its_challenger(world: World) -> None:
    root = world.project.root
    refused = everloop("rollout", "show", cwd=root)
    assert refused.code == 1
    assert "no rollout of fraud goes on" in refused.err
    challenger = world.version(bias=-5.0).number
    begun = prepare(world.model, challenger=challenger, champion=1, at=world.clock.now())
    start(world.ledger, begun, actor="alice")
    for day in range(3, 8):
        world.day(day, [1, challenger])
    shown = everloop("rollout", "show", cwd=root)
    assert shown.code == 0, shown.err
    said = " ".join(shown.out.split())
    assert "fraud/v2 against v1, running" in said
    assert "where precision >= 0.80 is asked" in said
    assert max(len(line) for line in shown.out.splitlines()) <= 80
    record = everloop("rollout", "show", "--json", cwd=root).json
    assert record["comparison"]["sentence"].startswith("v2 is ")
    assert (record["mode"], record["share"], record["promote"]) == ("shadow", 0.0, "better")
    assert [one["outcome"] for one in record["guardrails"]] == ["passed"]
    assert "everloop rollout show" in everloop("status", cwd=root).out


def test_doctor_finds_a_bundle_that_was_changed(world: World) -> None:
    root = world.project.root
    found = {one["question"]: one["outcome"] for one in everloop("doctor", "--json", cwd=root).json}
    assert found["ledger"] == found["bundle fraud/v1"] == found["spool"] == "ok"
    bundle = world.bundles.path(world.ledger.version("fraud", 1).bundle)
    graph = bundle / "model.onnx" if (bundle / "model.onnx").exists() else next(bundle.glob("*.onnx"))
    graph.chmod(0o644)
    graph.write_bytes(graph.read_bytes()[:-1] + b"\x00")
    sick = everloop("doctor", cwd=root)
    assert sick.code == 1
    assert "problem" in sick.out


def test_doctor_helps_outside_of_any_project(tmp_path: Path) -> None:
    found = everloop("doctor", "--json", cwd=tmp_path)
    assert found.code == 1
    assert "everloop init" in found.json[-1]["sentence"]


def test_check_of_a_file_names_what_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "past.csv"
    path.write_text("t,s,fraud\n2026-01-01T00:00:00,0.1,0\n")
    short = everloop("check", str(path), cwd=tmp_path)
    assert short.code == 2
    assert "--time, --score, --outcome" in short.err
    odd = everloop("check", str(path), "--time", "t", "--score", "s", "--outcome", "label", cwd=tmp_path)
    assert odd.code == 1
    assert "label" in odd.err
    span = everloop(
        "check", str(path), "--time", "t", "--score", "s", "--outcome", "fraud", "--every", "often", cwd=tmp_path
    )
    assert span.code == 2
