"""A run that someone logged in a tracker by hand → a spec: its learner and hyperparameters, and nothing it measured.

What was measured there was measured on rows that nobody here knows. So nothing is expected of the spec: the training
pipeline fits and judges it on the model's own rows, as it does every other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from everloop.clock import Clock
from everloop.data import load_features, read_contract
from everloop.experiment.winner import champion_spec
from everloop.ledger import Ledger, SpecWritten
from everloop.models import foreign_configuration
from everloop.project import Model, Spec, spec_diff, write_spec

__all__ = ["ForeignRun", "FromRun", "spec_from_run"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignRun:
    """A run as a tracker has it. flavours: what its logged models were saved as, such as `xgboost`."""

    tracker: str
    run: str
    name: str
    params: Mapping[str, str]
    tags: Mapping[str, str] = field(default_factory=dict)
    flavours: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FromRun:
    """The spec that was made of a run. new: whether it was written just now. notes: what is otherwise here, and why."""

    spec: Spec
    new: bool
    notes: tuple[str, ...]


def spec_from_run(model: Model, run: ForeignRun, *, ledger: Ledger, clock: Clock, actor: str) -> FromRun:
    """Write the run's configuration as the next spec of the model, unapproved; asked again it finds it again.

    The features are the model's as they are; calibration and a seed that the run does not say are the champion's. No
    threshold is said: training chooses one. Raises ConfigurationError where the run says no learner that the model has.
    """
    features = load_features(model.features_path, read_contract(model)).tree().names
    said = foreign_configuration(
        run.params,
        tags=run.tags,
        flavours=run.flavours,
        where=f"{run.tracker} run {run.run}",
        model=model.name,
        task=str(model.task),
        columns=len(features),
        own=model.own_learners,
    )
    parent = champion_spec(model, ledger)
    made = Spec.new(
        name=f"{model.name}-s{model.next_spec_number()}",
        objective=str(model.objective),
        learner=said.learner,
        hyperparameters=said.hyperparameters,
        features=features,
        calibration=model.calibration if parent is None else parent.calibration,
        quantiles=model.quantiles,
        seed=said.seed if said.seed is not None else 0 if parent is None else parent.seed,
        parent=None if parent is None else parent.name,
        reason=f"{run.tracker} run {run.run} ({run.name}); nothing was measured here: training judges it",
        created_at=clock.now(),
    )
    diff = {key: change for key, change in spec_diff(parent, made).items() if key != "threshold"}
    spec = made.model_copy(update={"diff": diff})
    same = [one for one in model.specs() if _what(one) == _what(spec)]
    if same:
        spec = same[-1]
    else:
        write_spec(model.spec_path(spec.number), spec)
    fact = SpecWritten.of(spec, trigger=run.tracker.lower(), details={"tracker_run": run.run})
    ledger.append("spec.written", spec.name, fact, actor=actor, key=(f"{run.tracker.lower()}-{run.run}", spec.name, 0))
    return FromRun(spec=spec, new=not same, notes=said.notes)


def _what(spec: Spec) -> tuple[str, Mapping[str, Any], Sequence[str], int, str]:
    return spec.learner, spec.hyperparameters, spec.features, spec.seed, spec.reason
