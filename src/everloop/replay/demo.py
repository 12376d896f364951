"""The demo: a company's three months, played through the real thing from search to the second promotion.

Nothing in it knows the hidden date but the generator: the monitor finds the loss in the traffic log, control answers it
as `on_alert: rollout` says, and what the last screen shows is measured from the log and the ledger.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import polars as pl

from everloop.clock import SimulatedClock, SystemClock
from everloop.control import Resources
from everloop.errors import EverloopError
from everloop.experiment import approve, search, write_winner
from everloop.ledger import Ledger
from everloop.production import start_training
from everloop.project import Project
from everloop.replay.answers import Answers, answers_of, lost_rows
from everloop.replay.arms import ARMS, ArmsPlan, ArmsProcess
from everloop.replay.audience import Audience, Nobody
from everloop.replay.chart import draw_arms
from everloop.replay.client import Client
from everloop.replay.digest import history_digest
from everloop.replay.endpoint import EndpointProcess
from everloop.replay.planted import plant_overfitted, plant_poisoned, take_leak_out
from everloop.replay.replay import Counts, Replay
from everloop.replay.result import ArmResult, DemoResult
from everloop.replay.spans import Flags, Span, measured, spans_of
from everloop.replay.story import change_event, read_history, told_facts
from everloop.replay.world import World, WorldPlan, make_project, plan_world
from everloop.traffic import Mover, traffic_root

__all__ = ["POLICY", "DemoPlan", "run_demo"]

POLICY: Final = "demo policy"
_MODEL: Final = "fraud"
_LEARNERS: Final = "learners: [logistic, random_forest, xgboost]"


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoPlan:
    """What a demo plays. The defaults are the real one; tests play a smaller world.

    overfitted_day, poisoned_day: when the planted challengers come, in a world with drift; the poisoned one before any
    live traffic has matured, so that its gates see the export alone.
    rows_per_fit: `train.rows`; window: `train.window`.
    """

    seed: int = 0
    drift: bool = True
    days: int = 92
    history_days: int = 49
    rows_per_day: int = 10_920
    rows_per_request: int = 20
    trials: int = 6
    search_rows: int = 30_000
    rows_per_fit: int = 60_000
    window_days: int = 42
    overfitted_day: int = 2
    poisoned_day: int = 4
    control_every: timedelta = timedelta(hours=6)

    def world(self) -> WorldPlan:
        """The quarter that the seed gives."""
        return plan_world(
            seed=self.seed,
            days=self.days,
            history_days=self.history_days,
            rows_per_day=self.rows_per_day,
            drift=self.drift,
        )

    def changes(self) -> dict[str, str]:
        """The template's model.yaml, line by line, as the demo wants it: quick, and retrained on a schedule only where
        nothing else happens. How long a row takes is the machine's and not the seed's: no step may depend on it."""
        train = f"window: {self.window_days}d, holdout: 14%, rows: {self.rows_per_fit}"
        return {
            "train: {window: 60d, holdout: 10%, rows: 150000, schedule: weekly}": (
                f"train: {{{train}}}" if self.drift else f"train: {{{train}, schedule: weekly}}"
            ),
            "stop if: [errors, latency p99 > 100ms, ": "stop if: [errors, ",
            "learners: [logistic, random_forest, xgboost, lightgbm, neural_network]": _LEARNERS,
        }


def run_demo(plan: DemoPlan, *, folder: Path | None = None, audience: Audience | None = None) -> DemoResult:
    """Play it, measure it, and say where everything lies.

    folder: where the project is made, empty or not there yet; None takes a new folder among the temporary ones.
    """
    watching: Audience = Nobody() if audience is None else audience
    root = Path(tempfile.mkdtemp(prefix="everloop-demo-")) / "payments" if folder is None else folder
    with watching:
        return _Demo(plan, root.absolute(), watching).run()


class _Demo:
    """One demo while it runs."""

    def __init__(self, plan: DemoPlan, root: Path, audience: Audience) -> None:
        self._plan = plan
        self._world = World(plan.world())
        self._root = root
        self._audience = audience
        self._told = 0
        self._changed = False

    def run(self) -> DemoResult:
        world, say = self._world.plan, self._audience.phase
        say(f"a company with {world.history_days} days of payments makes a project in {self._root}")
        started_s = SystemClock().monotonic_s()
        project = make_project(self._root, world, changes=self._plan.changes())
        clock_path = project.state / "clock"
        clock = SimulatedClock(world.opens_at, clock_path)
        with Ledger.open(project, clock=clock) as ledger, self._resources(project, ledger, clock) as resources:
            self._first_version(resources)
            with ArmsProcess(self._arms_plan(resources)) as arms:
                with EndpointProcess(project, clock_path=clock_path) as endpoint, Client(endpoint.url) as client:
                    say(f"the endpoint answers on {endpoint.url}; {world.days} days of traffic begin")
                    replay = self._replay(resources, clock, client)
                    self._play(replay)
                say("measuring: what was answered, and what would have been without the loop")
                measured_arms = arms.result()
            return self._result(resources, replay.counts, measured_arms, started_s)

    def _arms_plan(self, resources: Resources) -> ArmsPlan:
        version = resources.ledger.version(_MODEL, 1)
        return ArmsPlan(
            world=self._world.plan,
            root=str(resources.project.root),
            model=_MODEL,
            bundle=version.bundle,
            spec=version.spec,
            weekly=self._plan.drift,
            output=str(resources.project.state / "reports" / "arms.parquet"),
        )

    @contextmanager
    def _resources(self, project: Project, ledger: Ledger, clock: SimulatedClock) -> Iterator[Resources]:
        created = {"project": project.name, "models": sorted(project.models), "template": "fraud"}
        ledger.append("project.created", project.name, created, actor="demo", key=("project", "created", 0))
        paths = project.paths
        with (
            Mover.open(spool=paths.spool, traffic=traffic_root(project), clock=clock) as mover,
            Resources.opened(
                project, ledger=ledger, clock=clock, slot="demo", mover=mover, seed=f"demo-{self._plan.seed}"
            ) as resources,
        ):
            yield resources

    def _first_version(self, resources: Resources) -> None:
        """Phases 1 and 2: search, spec, approval, training, gates, and the first version answers."""
        project, ledger, clock = resources.project, resources.ledger, resources.clock
        model = resources.model(_MODEL)
        self._audience.phase(f"phase 1: {self._plan.trials} trials of three learners, and the yardsticks")
        board = search(
            project, model, clock=clock, trials=self._plan.trials, seed=self._plan.seed, fit_rows=self._plan.search_rows
        )
        spec = write_winner(model, board, ledger=ledger, clock=clock)
        approve(project, model, spec.name, by=POLICY, ledger=ledger)
        self._audience.phase(f"phase 2: {spec.name} ({spec.learner}) is approved, trained, and meets its gates")
        assert resources.engine is not None
        handle = start_training(
            resources.engine,
            resources.pipeline,
            ledger,
            model=model,
            as_of=clock.now(),
            actor="demo",
            spec=spec.name,
            run_id=f"r-demo{self._plan.seed}",
        )
        resources.engine.wait(handle.run_id).raise_for_status()
        self._tell(resources.ledger)

    def _replay(self, resources: Resources, clock: SimulatedClock, client: Client) -> Replay:
        assert resources.mover is not None
        return Replay(
            resources=resources,
            clock=clock,
            feed=self._world.feed(),
            client=client,
            mover=resources.mover,
            model=_MODEL,
            rows_per_request=self._plan.rows_per_request,
            control_every=self._plan.control_every,
            on_tick=self._ticked,
            on_act=lambda sentence: self._heard(resources, sentence),
        )

    def _ticked(self, replay: Replay) -> None:
        world = self._world.plan
        if world.change_at is not None and not self._changed and replay.resources.clock.now() > world.change_at:
            self._changed = True
            event = change_event(world)
            assert event is not None
            self._audience.happened(world, event)
        self._audience.ticked(world, replay)

    def _heard(self, resources: Resources, sentence: str) -> None:
        """What control says, kept for whoever wants to know more than the story."""
        path = resources.project.paths.logs / "control.log"
        with path.open("a", encoding="utf-8") as log:
            log.write(f"{resources.clock.now():%Y-%m-%d %H:%M} {sentence}\n")
        self._tell(resources.ledger)

    def _tell(self, ledger: Ledger) -> None:
        """The story so far, as the ledger has it."""
        for event in told_facts(ledger, after=self._told):
            self._audience.happened(self._world.plan, event)
        self._told = ledger.head().seq

    def _play(self, replay: Replay) -> None:
        world = self._world.plan
        replay.follow()
        if self._plan.drift:
            self._play_until(replay, world.opens_at + timedelta(days=self._plan.overfitted_day))
            plant_overfitted(replay.resources, _MODEL)
            self._tell(replay.resources.ledger)
            self._play_until(replay, world.opens_at + timedelta(days=self._plan.poisoned_day))
            plant_poisoned(replay.resources, _MODEL)
            self._tell(replay.resources.ledger)
            replay.control()
            self._play_until(replay, world.opens_at + timedelta(days=self._plan.poisoned_day + 1))
            take_leak_out(replay.resources.project, replay.resources.model(_MODEL))
        self._play_until(replay, world.ends_at)

    def _play_until(self, replay: Replay, at: datetime) -> None:
        world = self._world.plan
        replay.play(min(at, world.ends_at), traffic_until=world.closes_at)

    def _result(self, resources: Resources, counts: Counts, control_arms: pl.DataFrame, started_s: float) -> DemoResult:
        """Everything measured, from the log and the ledger."""
        ledger, world, project = resources.ledger, self._world.plan, resources.project
        history = read_history(ledger)
        answers = answers_of(resources.log(_MODEL), resources.model(_MODEL), as_of=resources.clock.now())
        decisions = {"everloop": answers.decision}
        decisions |= {name: answers.joined(control_arms, name) for name in ARMS if name in control_arms.columns}
        since = world.opens_at if world.change_at is None else world.change_at
        spans = spans_of(world, first_exposure_at=history.first_exposure(since))
        report = ledger.verify()
        if not report.ok:
            raise EverloopError(f"the audit chain does not verify: {report.problem}")
        folder = project.state / "reports"
        chart = draw_arms(answers.times, answers.truth, decisions, world, history, folder=folder)
        return DemoResult(
            seed=self._plan.seed,
            drift=self._plan.drift,
            root=project.root,
            plan=world,
            spans=spans,
            arms=tuple(_arm(name, decision, answers, spans) for name, decision in decisions.items()),
            history=history,
            pattern=str(self._world.payments.new_pattern) if self._plan.drift else None,
            requests=counts.requests,
            rows=counts.rows,
            failures=counts.failed_requests,
            acknowledged=counts.answered,
            lost=lost_rows(counts.acknowledged, answers),
            duplicates=answers.duplicates,
            facts=report.facts,
            digest=history_digest(ledger),
            chart=chart,
            seconds=resources.clock.monotonic_s() - started_s,
        )


def _arm(name: str, decision: Flags, answers: Answers, spans: tuple[Span, ...]) -> ArmResult:
    """What an arm did in each span that holds traffic."""
    found = {}
    for span in spans:
        mine = span.among(answers.times)
        if mine.any():
            found[span.name] = measured(answers.truth[mine], decision[mine])
    return ArmResult(name=name, spans=found)
