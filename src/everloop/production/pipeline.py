"""The training pipeline, from the spec that holds and the rows that are known to a registered version.

configure → snapshot → check → split → fit → evaluate → package → refit → gate → register → release. Each is a durable
step. What a step needs lies in the run's folder, so that a killed run goes on where it was; what it says of itself is
small and becomes a fact. A run that is repeated with the same rows, spec and seed ends in the same
bundle.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from everloop.bundle import BundleStore
from everloop.errors import NotFound, Refused
from everloop.ids import new_run_id
from everloop.ledger import Ledger
from everloop.models import FitProcess
from everloop.production import gating, steps
from everloop.production.approved import approved_spec
from everloop.production.configure import configure
from everloop.production.refits import refit
from everloop.production.run_state import FITTING, champion_of
from everloop.production.spec_store import SpecStore, open_store
from everloop.project import Model, Project
from everloop.traffic import TrafficLog, traffic_root
from everloop.workflows import AtHand, Engine, RunContext, RunHandle, State, Step, Workflow

__all__ = ["PIPELINE", "PipelineResources", "start_training", "training_workflow"]

PIPELINE = "train"
_ALONE = "without_champion"
FIT_LIMIT_S = 4 * 3600.0
CONFIGURE_ATTEMPTS = 9
"""A store that does not answer is asked again after 0.2, 0.4, 0.8 … s, for about a minute in all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineResources:
    """What the steps work with; given to `Engine.open(resources=…)`.

    stores: gives a model's store of specs. begun: what the first run that needs it takes: see `of`.
    """

    project: Project
    bundles: BundleStore
    stores: Callable[[Project, Model], SpecStore] = open_store
    begun: AtHand = field(default_factory=AtHand)

    def model(self, name: str) -> Model:
        """The model that the run is about."""
        return self.project.model(name)

    def store(self, model: Model) -> SpecStore:
        """Where the model's configuration lives."""
        return self.stores(self.project, model)

    def log(self, model: str) -> TrafficLog:
        """The model's live traffic."""
        return TrafficLog(traffic_root(self.project), model)

    @classmethod
    def of(cls, project: Project, *, fitting: FitProcess | None = None) -> PipelineResources:
        """The resources of a project on this machine.

        fitting: a process that the next run fits in, begun early; the caller ends it, whoever took it.
        """
        resources = cls(project=project, bundles=BundleStore.of(project))
        if fitting is not None:
            resources.begun.keep(FITTING, fitting)
        return resources


def training_workflow() -> Workflow:
    """The pipeline's steps in order. A model is trained by one run at a time; the same, asked twice, is one run."""
    return Workflow(
        name=PIPELINE,
        lane=lambda inputs: f"{PIPELINE} {inputs['model']}",
        fold=_asked_for,
        steps=[
            Step(name="configure", run=configure, attempts=CONFIGURE_ATTEMPTS, longest_pause_s=30.0),
            Step(name="snapshot", run=steps.snapshot, attempts=3),
            Step(name="check", run=gating.check),
            Step(name="split", run=steps.split),
            Step(name="fit", run=steps.fit, timeout_s=FIT_LIMIT_S),
            Step(name="evaluate", run=steps.evaluate),
            Step(name="package", run=steps.package),
            Step(name="refit", run=refit, timeout_s=FIT_LIMIT_S),
            Step(name="gate", run=_gate),
            Step(name="register", run=steps.register),
            Step(name="release", run=steps.release),
        ],
    )


def _gate(context: RunContext, state: State) -> State:
    """The gates, beside the version that answers now: one that came since, before a retry say, is judged first."""
    if champion_of(context, state) == state.get("champion"):
        return gating.gate(context, state)
    judged = steps.evaluate(context, state)
    return {**judged, **gating.gate(context, {**state, **judged})}


def _asked_for(inputs: Mapping[str, Any]) -> str:
    """What two requests have in common that are one: the spec, or the store that says it at the run's own time."""
    wanted = inputs["spec_hash"] or inputs["store"]
    return " ".join([wanted, inputs["alert"] or "", *(["alone"] if _alone(inputs) else [])])


def start_training(
    engine: Engine,
    resources: PipelineResources,
    ledger: Ledger,
    *,
    model: Model,
    as_of: datetime,
    actor: str,
    spec: str | None = None,
    trigger: str = "person",
    alert: str | None = None,
    cause: int | None = None,
    run_id: str | None = None,
    begin: bool = True,
    without_champion: bool = False,
) -> RunHandle:
    """Ask for a run of an approved spec on all that is known at `as_of`, and begin it if it is its turn.

    spec: its name; None takes the newest approved, or where the model's configuration lives in a store what the run
    finds there once it has begun. trigger: person, schedule, store or alert; with alert its id.
    cause: the fact that asked for it; the spec's approval where None. begin: False leaves that to a worker.
    without_champion: the champion's bundle is lost, so the new version is compared with none and answers at once.
    The handle is of the run that waits already where the same was asked for.
    Raises Refused for a spec that is not approved, or a champion whose bundle is here after all; NotFound where there
    is no spec or no contract.
    """
    store = model.spec_store.store
    chosen = None if spec is None and not store.is_files else approved_spec(model, ledger, name=spec)
    if not model.contract_path.exists():
        raise NotFound(f"{model.name} has no contract.yaml; 'everloop explore' writes it from the source")
    inputs: dict[str, Any] = {
        "model": model.name,
        "store": str(store),
        "spec": None if chosen is None else chosen.spec.name,
        "spec_hash": None if chosen is None else chosen.spec.hash,
        "trigger": trigger,
        "alert": alert,
        "as_of": as_of.isoformat(),
        "approval": None if chosen is None else chosen.approval.seq,
    }
    if without_champion:
        _refuse_healthy(resources, ledger, model.name)
        inputs[_ALONE] = True
    run = new_run_id() if run_id is None else run_id
    because = inputs["approval"] if cause is None else cause
    return engine.start(PIPELINE, inputs, run_id=run, cause=because, actor=actor, begin=begin)


def _alone(inputs: Mapping[str, Any]) -> bool:
    return bool(inputs.get(_ALONE))


def _refuse_healthy(resources: PipelineResources, ledger: Ledger, model: str) -> None:
    routing = ledger.routing(model)
    champion = None if routing is None else routing.champion
    if champion is not None and resources.bundles.holds(ledger.version(model, champion).bundle):
        raise Refused(
            f"the bundle of {model}/v{champion}, which answers, is here, so a new version is compared with it; "
            "leave out --without-champion"
        )
