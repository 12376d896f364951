"""A model's life as facts, with folders where its bundles, runs and spools would lie: nothing is trained."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from everloop.clock import SimulatedClock
from everloop.ledger import Exposure, Ledger, VersionRegistered
from everloop.project import Project
from everloop.rollout import rollback

from ..ledger import scenes

START = datetime(2026, 1, 5, tzinfo=UTC)
DAY = timedelta(days=1)
MODEL = """\
task: classification
data: {source: rows.parquet, time: at, target: fraud}
outcome: {delay: 2d}
objective: recall at precision >= 0.80
"""
RULES = "retention: {bundles: 10d, runs: 5d, spools: 3d}\n"


def bundle_id(n: int) -> str:
    return hashlib.sha256(str(n).encode()).hexdigest()


@dataclass
class Life:
    """What is done is written as facts, and kept here in plain sets too, so that the two can be compared."""

    root: Path
    settings: str = RULES
    clock: SimulatedClock = field(default_factory=lambda: SimulatedClock(START))
    runs: int = 0
    bundles: dict[int, str] = field(default_factory=dict)
    run_of: dict[int, str] = field(default_factory=dict)
    champion: int | None = None
    previous: int | None = None
    challenger: int | None = None
    been_champion: set[int] = field(default_factory=set)
    open_run: str | None = None
    alerts: dict[str, int | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        (self.root / "fraud").mkdir(parents=True)
        (self.root / "everloop.yaml").write_text(self.settings)
        (self.root / "fraud" / "model.yaml").write_text(MODEL)
        self.project = Project.open(self.root, environment={})
        assert self.project.state.is_dir()
        self.ledger = Ledger.open(self.project, clock=self.clock)

    @property
    def newest(self) -> int | None:
        return max(self.bundles, default=None)

    def days(self, n: float) -> None:
        self.clock.advance(DAY * n)

    def _fact(self, kind: str, subject: str, **payload: Any) -> None:
        self.ledger.append(kind, subject, payload, actor="tester")

    def begin(self) -> None:
        if self.open_run is None:
            self.runs += 1
            self.open_run = f"r-{self.runs}"
            inputs = {"alert": next(iter(self.alerts), None)}
            said = {"workflow": "train", "model": "fraud", "spec": "fraud-s1", "inputs": inputs}
            self._fact("run.started", self.open_run, run=self.open_run, **said)
            folder = self.project.paths.runs / self.open_run
            folder.mkdir(parents=True)
            (folder / "snapshot.parquet").write_bytes(b"x" * 100)

    def package(self, content: int) -> None:
        """The run's bundle: of the same content, the same."""
        assert self.open_run is not None
        step = {"run": self.open_run, "step": "package", "position": 5, "seconds": 1.0}
        self._fact("run.step", self.open_run, **step, outputs={"bundle": bundle_id(content)})
        folder = self.project.paths.bundles / "sha256" / bundle_id(content)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "manifest.json").write_bytes(b"x" * 50)

    def refuse(self, content: int) -> None:
        self.begin()
        self.package(content)
        assert self.open_run is not None
        self._fact("run.refused", self.open_run, run=self.open_run, sentence="recall is low")
        self.open_run = None

    def train(self, content: int) -> int:
        """A run that ends in a version; the first answers at once."""
        self.begin()
        self.package(content)
        run = self.open_run
        assert run is not None
        payload = VersionRegistered(
            model="fraud", bundle=bundle_id(content), run=run, spec="fraud-s1", spec_hash="h",
            evidence_path=f".everloop/runs/{run}",
        )  # fmt: skip
        version, _ = self.ledger.register_version("fraud", payload, actor="worker")
        self.bundles[version.number], self.run_of[version.number] = version.bundle, run
        if self.champion is None:
            self._route(version.number, None)
        self._fact("run.finished", run, run=run)
        self.open_run = None
        return version.number

    def _route(self, champion: int | None, previous: int | None, challenger: int | None = None) -> None:
        routing = self.ledger.routing("fraud")
        self.ledger.change_routing(
            "fraud",
            expected_revision=0 if routing is None else routing.revision,
            champion=champion,
            previous=previous,
            challengers=[] if challenger is None else [Exposure(version=challenger, share=0.1)],
            reason="a test",
            actor="tester",
        )
        self.champion, self.previous, self.challenger = champion, previous, challenger
        if champion is not None:
            self.been_champion.add(champion)

    def expose(self, number: int) -> None:
        if self.challenger is None and self.champion not in (None, number) and number in self.bundles:
            said = {"model": "fraud", "version": number, "against": self.champion, "steps": ["1%", "100%"]}
            self._fact("rollout.started", f"fraud/v{number}", **said)
            self._route(self.champion, self.previous, number)

    def end(self, *, promoted: bool) -> None:
        if self.challenger is not None:
            number = self.challenger
            said = {"model": "fraud", "version": number, "sentence": "enough was seen"}
            self._fact("rollout.promoted" if promoted else "rollout.stopped", f"fraud/v{number}", **said)
            self._route(number, self.champion) if promoted else self._route(self.champion, self.previous)

    def go_back(self) -> None:
        if self.previous is not None and self.challenger is None:
            routing = rollback(self.ledger, "fraud", actor="alice", reason="a test")
            self.champion, self.previous = routing.champion, routing.previous

    def alert(self, name: str) -> None:
        if name not in self.alerts and not self.ledger.facts(kind="alert.opened", subject=name):
            said: dict[str, Any] = {"check": "recall", "sentence": "it fell", "evidence_kind": "labels"}
            said |= {"window": scenes.WINDOW, "version": self.champion}
            self.ledger.append("alert.opened", name, {"alert": name, "model": "fraud", **said}, actor="monitor")
            self.alerts[name] = self.champion

    def close(self, name: str) -> None:
        if name in self.alerts:
            del self.alerts[name]
            self._fact("alert.closed", name, alert=name, model="fraud", reason="over")

    def here(self) -> set[str]:
        """The bundles on this machine."""
        folder = self.project.paths.bundles / "sha256"
        return {item.name for item in folder.iterdir()} if folder.is_dir() else set()

    def run_folders(self) -> set[str]:
        folder = self.project.paths.runs
        return {item.name for item in folder.iterdir()} if folder.is_dir() else set()
