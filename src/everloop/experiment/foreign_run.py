"""A run that someone logged in a tracker by hand → a spec: its learner and hyperparameters, and nothing it measured.

What was measured there was measured on rows that nobody here knows. So nothing is expected of the spec: the training
pipeline fits and judges it on the model's own rows, as it does every other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from everloop.clock import Clock
from everloop.data import load_features, read_contract
from everloop.errors import ConfigurationError
from everloop.experiment.foreign_params import ForeignParams, foreign_params
from everloop.experiment.winner import champion_spec, spec_diff
from everloop.ledger import Ledger, SpecWritten
from everloop.models import BLEND, Learner, Member, Value, blend_params, each_member, learner, learners, told_params
from everloop.project import Model, Spec, write_spec

__all__ = ["ForeignRun", "FromRun", "spec_from_run"]

_SAYS_LEARNER: Final = ("everloop.learner", "learner", "algorithm", "algo", "model_type", "estimator_name", "model")
_CALLED: Final[Mapping[str, tuple[str, ...]]] = {
    "xgboost": ("xgb", "xgbclassifier", "xgbregressor", "xgboostclassifier", "xgboostregressor"),
    "lightgbm": ("lgbm", "lgb", "lgbmclassifier", "lgbmregressor"),
    "random_forest": ("rf", "randomforest", "randomforestclassifier", "randomforestregressor"),
    "logistic": ("logisticregression", "lr"),
    "linear": ("linearregression", "ridge"),
    "neural_network": ("mlp", "mlpclassifier", "mlpregressor", "neuralnetwork"),
}
_FLAVOURS: Final = ("xgboost", "lightgbm")


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
    name, hyperparameters, said = _configuration(model, run, columns=len(features))
    parent = champion_spec(model, ledger)
    made = Spec.new(
        name=f"{model.name}-s{model.next_spec_number()}",
        objective=str(model.objective),
        learner=name,
        hyperparameters=hyperparameters,
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


def _configuration(model: Model, run: ForeignRun, *, columns: int) -> tuple[str, dict[str, Value], ForeignParams]:
    """The learner's name and its hyperparameters as a spec says them, and how they were read."""
    if any(run.params.get(name) == BLEND for name in _SAYS_LEARNER):
        return _blend(model, run, columns=columns)
    item, called = _learner(model, run)
    texts = {name: text for name, text in run.params.items() if name not in _SAYS_LEARNER}
    said = foreign_params(item, texts, called=called, columns=columns, regression=model.task == "regression")
    return item.name, told_params(item, said.values), said


def _blend(model: Model, run: ForeignRun, *, columns: int) -> tuple[str, dict[str, Value], ForeignParams]:
    """Of a blend, which only everloop logs: every member as a run of its own is read."""

    def read(member: Member) -> tuple[Learner, ForeignParams]:
        item = learner(member.learner, task=str(model.task), own=model.own_learners)
        regression = model.task == "regression"
        return item, foreign_params(item, member.params, called=item.name, columns=columns, regression=regression)

    read_members = each_member({name: text for name, text in run.params.items() if name[:1].isdecimal()}, read)
    members = [(item.name, told_params(item, said.values)) for item, said in read_members]
    notes = tuple(f"member {at}: {note}" for at, (_, said) in enumerate(read_members, 1) for note in said.notes)
    params = blend_params(members)
    return BLEND, params, ForeignParams(values=params, seed=None, notes=notes)


def _what(spec: Spec) -> tuple[str, Mapping[str, Any], Sequence[str], int, str]:
    return spec.learner, spec.hyperparameters, spec.features, spec.seed, spec.reason


def _learner(model: Model, run: ForeignRun) -> tuple[Learner, str]:
    """What a param or tag says it is, else what its model was saved as; and how that calls it."""
    known = learners(str(model.task), own=model.own_learners)
    said = [(name, of[name]) for of in (run.params, run.tags) for name in _SAYS_LEARNER if of.get(name)]
    for _, value in said:
        name = _as_ours(value)
        if name in known:
            return known[name], _bare(value)
    for flavour in run.flavours:
        if flavour in _FLAVOURS and flavour in known:
            return known[flavour], flavour
    where = f"{run.tracker} run {run.run}"
    if said:
        name, value = said[0]
        raise ConfigurationError(
            [f"{where}: {name} is {value!r}, and {model.name} has no such learner; there are {', '.join(known)}"]
        )
    raise ConfigurationError(
        [f"{where} does not say what was fitted; log a param or tag `learner`, one of {', '.join(known)}"]
    )


def _as_ours(value: str) -> str:
    bare = _bare(value)
    known = (name for name, others in _CALLED.items() if bare in (*others, name.replace("_", "")))
    return next(known, value.strip().lower())


def _bare(value: str) -> str:
    return value.strip().lower().replace("_", "").replace("-", "").replace(" ", "")
