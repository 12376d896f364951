"""What control works with: opened once, shared by all that reads, decides and acts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from everloop.bundle import BundleStore
from everloop.clock import Clock
from everloop.ledger import Ledger
from everloop.monitoring import Monitor
from everloop.production import PipelineResources, scoring_workflow, training_workflow
from everloop.project import Model, Project
from everloop.storage import artifacts_of
from everloop.traffic import Mover, TrafficLog, traffic_root
from everloop.workflows import Engine

__all__ = ["Resources"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """A project with everything open.

    engine: runs trainings; None where nothing is to be trained. mover: where traffic is moved by whoever drives the
    controller, as a replay does. seed: what run ids and salts follow from besides the request; the project's name
    unless given.
    """

    project: Project
    ledger: Ledger
    clock: Clock
    bundles: BundleStore
    engine: Engine | None = None
    mover: Mover | None = None
    seed: str = ""
    _logs: dict[str, TrafficLog] = field(default_factory=dict)
    _monitors: dict[str, Monitor] = field(default_factory=dict)

    @classmethod
    @contextmanager
    def opened(
        cls,
        project: Project,
        *,
        ledger: Ledger,
        clock: Clock,
        slot: str = "worker",
        capacity: int | None = None,
        mover: Mover | None = None,
        seed: str | None = None,
    ) -> Iterator[Resources]:
        """With an engine of its own under `slot`, closed at the end. capacity: runs at once, of all that wait."""
        pipeline = PipelineResources.of(project)
        with Engine.open(
            project.paths,
            ledger=ledger,
            clock=clock,
            slot=slot,
            workflows=[training_workflow(), scoring_workflow()],
            resources=pipeline,
            capacity=capacity,
            lease_s=project.settings.runs.lease.total_seconds(),
            artifacts=artifacts_of(project),
        ) as engine:
            yield cls.of(project, ledger=ledger, clock=clock, engine=engine, mover=mover, seed=seed)

    @classmethod
    def of(
        cls,
        project: Project,
        *,
        ledger: Ledger,
        clock: Clock,
        engine: Engine | None = None,
        mover: Mover | None = None,
        seed: str | None = None,
    ) -> Resources:
        """Around what is open already."""
        return cls(
            project=project,
            ledger=ledger,
            clock=clock,
            bundles=BundleStore.of(project),
            engine=engine,
            mover=mover,
            seed=project.name if seed is None else seed,
        )

    @property
    def pipeline(self) -> PipelineResources:
        """What training runs work with."""
        return PipelineResources(project=self.project, bundles=self.bundles)

    def model(self, name: str) -> Model:
        """A model of the project."""
        return self.project.model(name)

    def log(self, model: str) -> TrafficLog:
        """The model's traffic log, opened once."""
        if model not in self._logs:
            self._logs[model] = TrafficLog(traffic_root(self.project), model)
        return self._logs[model]

    def monitor(self, model: str) -> Monitor:
        """The model's monitor, made once."""
        if model not in self._monitors:
            self._monitors[model] = Monitor(
                self.model(model), ledger=self.ledger, log=self.log(model), bundles=self.bundles, clock=self.clock
            )
        return self._monitors[model]
