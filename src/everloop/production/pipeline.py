"""The training pipeline: snapshot → check → split → fit → evaluate → package → gate → register → release.

Each is a durable step. What a step needs lies in the run's folder, so that a killed run goes on where it was; what it
says of itself is small and becomes a fact. A run that is repeated with the same rows, spec and seed ends in the same
bundle.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from everloop.bundle import BundleStore
from everloop.errors import NotFound, Refused
from everloop.ids import new_run_id
from everloop.ledger import Ledger
from everloop.production import steps
from everloop.production.approved import FileSpecs, approved_spec
from everloop.project import Model, Project
from everloop.traffic import TrafficLog
from everloop.workflows import Engine, RunHandle, Step, Workflow

__all__ = ["PIPELINE", "PipelineResources", "start_training", "training_workflow"]

PIPELINE = "train"
_ALONE = "without_champion"
FIT_LIMIT_S = 4 * 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineResources:
    """What the steps work with; given to `Engine.open(resources=…)`."""

    project: Project
    bundles: BundleStore

    def model(self, name: str) -> Model:
        """The model that the run is about."""
        return self.project.model(name)

    def log(self, model: str) -> TrafficLog:
        """The model's live traffic."""
        return TrafficLog(self.project.paths.traffic, model)

    @classmethod
    def of(cls, project: Project) -> PipelineResources:
        """The resources of a project on this machine."""
        return cls(project=project, bundles=BundleStore(project.paths.bundles))


def training_workflow() -> Workflow:
    """The pipeline's steps in order. A model is trained by one run at a time; the same, asked twice, is one run."""
    return Workflow(
        name=PIPELINE,
        lane=lambda inputs: f"{PIPELINE} {inputs['model']}",
        fold=lambda inputs: " ".join(
            [inputs["spec_hash"], inputs["alert"] or "", *(["alone"] if _alone(inputs) else [])]
        ),
        steps=[
            Step(name="snapshot", run=steps.snapshot, attempts=3),
            Step(name="check", run=steps.check),
            Step(name="split", run=steps.split),
            Step(name="fit", run=steps.fit, timeout_s=FIT_LIMIT_S),
            Step(name="evaluate", run=steps.evaluate),
            Step(name="package", run=steps.package),
            Step(name="gate", run=steps.gate),
            Step(name="register", run=steps.register),
            Step(name="release", run=steps.release),
        ],
    )


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

    spec: its name; None takes the newest approved. trigger: person, schedule or alert; with alert its id.
    cause: the fact that asked for it; the spec's approval where None. begin: False leaves that to a worker.
    without_champion: the champion's bundle is lost, so the new version is compared with none and answers at once.
    The handle is of the run that waits already where the same was asked for.
    Raises Refused for a spec that is not approved, or a champion whose bundle is here after all; NotFound where there
    is no spec or no contract.
    """
    chosen = approved_spec(FileSpecs(model=model), ledger, model=model.name, name=spec)
    if not model.contract_path.exists():
        raise NotFound(f"{model.name} has no contract.yaml; 'everloop explore' writes it from the source")
    inputs: dict[str, Any] = {
        "model": model.name,
        "spec": chosen.spec.name,
        "spec_hash": chosen.spec.hash,
        "trigger": trigger,
        "alert": alert,
        "as_of": as_of.isoformat(),
        "approval": chosen.approval.seq,
    }
    if without_champion:
        _refuse_healthy(resources, ledger, model.name)
        inputs[_ALONE] = True
    run = new_run_id() if run_id is None else run_id
    return engine.start(
        PIPELINE, inputs, run_id=run, cause=chosen.approval.seq if cause is None else cause, actor=actor, begin=begin
    )


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
