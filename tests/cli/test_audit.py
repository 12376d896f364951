"""`everloop audit` as people type it: filters, heads noted elsewhere, and who answered which share when."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from everloop.clock import SimulatedClock
from everloop.ledger import Exposure, Ledger, RunStarted, SpecApproved, VersionRegistered
from everloop.project import Project

from ..traffic.world import START, World, batch, hours, row
from .terminal import Ended, everloop

MODEL = "data: {source: none.parquet, time: t, target: y}\nobjective: f1\n"


@dataclass
class Place:
    """A project of two models: two versions of fraud took turns, and people answered for specs."""

    root: Path
    ledger: Ledger
    world: World

    def audit(self, *words: str) -> Ended:
        ended = everloop("audit", *words, cwd=self.root, EVERLOOP_CLOCK=f"shared:{self.root.parent / 'clock'}")
        assert max((len(line) for line in ended.out.splitlines()), default=0) <= 80 or "--json" in words
        return ended

    def rows(self, prefix: str, count: int, *, challenger: int = 0, revision: int = 1) -> None:
        """Rows answered now; the last `challenger` of them by v2."""
        made = [row(f"{prefix}{number}", at=self.world.clock.now()) for number in range(count)]
        answered = np.array([0] * (count - challenger) + [1] * challenger)
        with self.world.spool() as spool:
            spool.append_predictions(batch(made, answered=answered, routing_revision=revision))
        self.world.move()

    def route(self, champion: int, *tried: Exposure, reason: str) -> None:
        now = self.ledger.routing("fraud")
        revision = 0 if now is None else now.revision
        self.ledger.change_routing(
            "fraud", expected_revision=revision, champion=champion, previous=None, challengers=tried, reason=reason,
            actor="control",
        )  # fmt: skip


def life(place: Place) -> None:
    """v1 from 01:00, v2 at 10 % from 02:00, champion from 03:00 to 04:00."""
    clock, ledger = place.world.clock, place.ledger
    for number in (1, 2):
        payload = VersionRegistered(model="fraud", bundle=f"b{number}", run="r-1", spec="fraud-s1", spec_hash="h")
        ledger.register_version("fraud", payload, actor="worker")
    clock.advance(hours(1))
    place.route(1, reason="the first version")
    clock.advance(hours(0.5))
    place.rows("a", 10)
    clock.advance(hours(0.5))
    place.route(1, Exposure(version=2, share=0.1), reason="rollout of v2, 10 %")
    place.rows("late", 1)  # an endpoint that has not looked yet
    place.rows("b", 19, challenger=3, revision=2)
    clock.advance(hours(1))
    for model, spec, by in (("fraud", "fraud-s1", "alice"), ("eta", "eta-s1", "bob"), ("eta", "eta-s2", "alice")):
        ledger.append("spec.approved", spec, SpecApproved(model=model, spec=spec, spec_hash=spec, by=by), actor=by)
    ledger.append("run.started", "r-9", RunStarted(run="r-9", workflow="train", model="eta"), actor="bob")
    ledger.append("run.step", "r-9", {"run": "r-9", "step": "fit", "position": 1, "seconds": 1.0}, actor="bob")
    place.route(2, reason="better")
    clock.advance(hours(1))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    yield from laid_out(tmp_path_factory.mktemp("audit"))


def laid_out(folder: Path) -> Iterator[Place]:
    root = folder / "payments"
    for name in ("fraud", "eta"):
        (root / name).mkdir(parents=True)
        (root / name / "model.yaml").write_text(MODEL)
    (root / "everloop.yaml").write_text("{}\n")
    project = Project.open(root, environment={})
    clock = SimulatedClock(START, path=root.parent / "clock")
    with Ledger.open(project, clock=clock) as ledger:
        made = Place(root=root, ledger=ledger, world=World(project.state, clock=clock))
        life(made)
        yield made


def listed(place: Place, *words: str) -> list[tuple[str, str]]:
    ended = place.audit("list", *words, "--json")
    assert ended.code == 0, ended.err
    return [(fact["kind"], fact["subject"]) for fact in ended.json]


def test_facts_are_found_by_model_actor_kind_and_time(place: Place) -> None:
    assert listed(place, "--actor", "alice") == [("spec.approved", "fraud-s1"), ("spec.approved", "eta-s2")]
    eta = [("spec.approved", "eta-s1"), ("spec.approved", "eta-s2"), ("run.started", "r-9"), ("run.step", "r-9")]
    assert listed(place, "--model", "eta") == eta
    assert listed(place, "--model", "eta", "--last", "2") == eta[-2:]
    assert listed(place, "--model", "eta", "--actor", "alice", "--kind", "spec.approved") == [eta[1]]
    assert listed(place, "--kind", "run") == eta[2:]
    assert listed(place, "--kind", "run.step", "--kind", "routing") == [
        ("routing.changed", "fraud"),
        ("routing.changed", "fraud"),
        ("run.step", "r-9"),
        ("routing.changed", "fraud"),
    ]
    two = (START + hours(2)).isoformat()
    assert len(listed(place, "--kind", "routing", "--since", two)) == 2
    assert len(listed(place, "--kind", "routing", "--until", two)) == 1
    assert len(listed(place, "--since", "1h", "--until", START.isoformat())) == 0
    assert len(listed(place, "--since", "61min")) == 6
    assert "no such fact" in place.audit("list", "--actor", "nobody").err
    table = place.audit("list", "--model", "eta")
    assert "spec.approved" in table.out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("list", "--kind", "spec.aproved"), "did you mean 'spec.approved'"),
        (("list", "--model", "frud"), "did you mean 'fraud'"),
        (("list", "--since", "yesterday"), "is no time"),
        (("list", "--last", "0"), "greater than or equal to 1"),
        (("verify", "--since", "7"), "is not a head"),
        (("served", "fraud", "--at", "2100-01-01"), "is yet to come"),
        (("served", "fraud", "--from", "2026-03-01", "--to", "2100-01-01"), "is yet to come"),
        (("served", "fraud", "--from", "1h", "--to", "2h"), "has no length"),
        (("served", "fraud", "--at", "1h", "--from", "1h"), "not both"),
        (("served", "fraud", "--to", "1h"), "a span begins somewhere"),
        (("served", "frud"), "did you mean 'fraud'"),
    ],
)
def test_a_mistake_is_said(place: Place, words: tuple[str, ...], told: str) -> None:
    ended = place.audit(*words)
    assert ended.code in (1, 2)
    assert told in " ".join(ended.err.replace("│", " ").split())
    assert ended.out == ""


def served(place: Place, *words: str) -> Any:
    ended = place.audit("served", "fraud", *words, "--json")
    assert ended.code == 0, ended.err
    return ended.json


def shares(record: Any) -> dict[int, tuple[str | None, float | None, int]]:
    return {one["version"]: (one["role"], one["keys"], one["rows"]) for one in record["versions"]}


def test_who_answered_at_an_instant_as_promised_and_as_it_was(place: Place) -> None:
    before = served(place, "--at", START.isoformat())
    assert (before["versions"], before["rows"], before["revision"]) == ([], 0, 0)
    alone = served(place, "--at", (START + hours(1.2)).isoformat())
    assert shares(alone) == {1: ("champion", 1.0, 10)}
    tried = served(place, "--at", (START + hours(2.5)).isoformat())
    assert shares(tried) == {1: ("champion", 0.9, 17), 2: ("challenger", 0.1, 3)}
    assert [one["fraction"] for one in tried["versions"]] == [0.85, 0.15]
    assert (tried["rows"], tried["earlier_routing"], tried["by"]) == (20, 1, "control")
    now = served(place)
    assert shares(now) == {2: ("champion", 1.0, 0)}
    assert now["to"] is None
    assert now["at"] == (START + hours(4)).isoformat()


def test_who_answered_over_a_span(place: Place) -> None:
    begin, end = START + hours(0.5), START + hours(3.5)
    found = served(place, "--from", begin.isoformat(), "--to", end.isoformat())
    assert [one["revision"] for one in found] == [0, 1, 2, 3]
    assert [(one["from"], one["to"]) for one in found] == [
        (one.isoformat(), two.isoformat())
        for one, two in ((begin, START + hours(1)), (START + hours(1), START + hours(2)),
                         (START + hours(2), START + hours(3)), (START + hours(3), end))
    ]  # fmt: skip
    assert [one["rows"] for one in found] == [0, 10, 20, 0]
    part = served(place, "--from", (START + hours(1.5)).isoformat(), "--to", (START + hours(1.75)).isoformat())
    assert shares(part[0]) == {1: ("champion", 1.0, 10)}
    after = served(place, "--from", (START + hours(1.6)).isoformat(), "--to", (START + hours(1.75)).isoformat())
    assert shares(after[0]) == {1: ("champion", 1.0, 0)}


def test_the_screen_says_the_same(place: Place) -> None:
    shown = place.audit("served", "fraud", "--from", START.isoformat())
    told = " ".join(shown.out.split())
    assert "fraud: 2026-03-01 00:00 to 2026-03-01 01:00 UTC: nobody answered" in told
    assert "v1 champion 90 % 17 85 %" in told
    assert "v2 challenger in canary 10 % 3 15 %" in told
    assert "1 of these rows were still answered by the routing before" in shown.err
    assert "eta" in place.audit("served", "eta").out
    assert "nobody answered" in place.audit("served", "eta").out


def test_a_head_is_noted_and_the_chain_held_against_it(place: Place, tmp_path: Path) -> None:
    noted = place.audit("head").out.strip()
    assert noted == str(place.ledger.head())
    assert place.audit("head", "--json").json["head"] == noted
    held = place.audit("verify", "--since", noted)
    assert held.code == 0
    assert f"fact {noted.partition(':')[0]} as it was noted" in held.out
    assert place.audit("verify", "--since", noted, "--json").json["since"] == noted

    # a copy whose last fact was cut off, the head file with it
    copy = tmp_path / "copy"
    (copy / "fraud").mkdir(parents=True)
    (copy / "fraud" / "model.yaml").write_text(MODEL)
    (copy / "everloop.yaml").write_text("{}\n")
    (copy / ".everloop").mkdir()
    with (
        closing(sqlite3.connect(place.root / ".everloop" / "ledger.db")) as source,
        closing(sqlite3.connect(copy / ".everloop" / "ledger.db")) as target,
    ):
        source.backup(target)
        target.execute("DROP TRIGGER fact_is_never_removed")
        (last,) = target.execute("SELECT max(seq) FROM fact").fetchone()
        target.execute("DELETE FROM fact WHERE seq = ?", (last,))
        target.execute("UPDATE meta SET value = 0 WHERE name = 'state'")
        seq, digest = target.execute("SELECT seq, hash FROM fact ORDER BY seq DESC LIMIT 1").fetchone()
        target.commit()
    (copy / ".everloop" / "ledger.head").write_text(f"{seq} {digest}\n")
    assert everloop("audit", "verify", cwd=copy).code == 0
    ended = everloop("audit", "verify", "--since", noted, cwd=copy)
    assert ended.code == 1
    assert f"but the head noted elsewhere has seen fact {last}; fact {last} is gone" in ended.err


def test_seven_days_ago_is_before_the_first_version(place: Place) -> None:
    assert served(place, "--at", "7d")["versions"] == []
    assert served(place, "--at", (START - timedelta(days=900)).isoformat())["versions"] == []
