"""A run that someone logged in a tracker by hand → a spec: its learner and hyperparameters, and nothing it measured.

What was measured there was measured on rows that nobody here knows. So nothing is expected of the spec: the training
pipeline fits and judges it on the model's own rows, as it does every other.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from everloop.clock import Clock
from everloop.errors import ConfigurationError
from everloop.experiment.winner import champion_spec, spec_diff
from everloop.ledger import Ledger, SpecWritten
from everloop.models import Learner, learners, resolve_params, told_params
from everloop.models.params import NOT_HERE
from everloop.project import Model, Spec, write_spec

__all__ = ["ForeignRun", "FromRun", "spec_from_run"]

_SAYS_LEARNER: Final = ("everloop.learner", "learner", "algorithm", "algo", "model_type", "estimator_name", "model")
_SEEDS: Final = ("random_state", "seed", "random_seed")
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
    """The spec that was made of a run. new: whether it was written just now. notes: what was left out, and why."""

    spec: Spec
    new: bool
    notes: tuple[str, ...]


def spec_from_run(model: Model, run: ForeignRun, *, ledger: Ledger, clock: Clock, actor: str) -> FromRun:
    """Write the run's configuration as the next spec of the model, unapproved; asked again it finds it again.

    Raises ConfigurationError where the run says no learner that the model has, and for values that are not allowed.
    """
    item = _learner(model, run)
    params, seed, notes = _params(item, run)
    parent = champion_spec(model, ledger)
    made = Spec.new(
        name=f"{model.name}-s{model.next_spec_number()}",
        objective=str(model.objective),
        learner=item.name,
        hyperparameters=told_params(item, resolve_params(item, params)),
        quantiles=model.quantiles,
        seed=seed,
        parent=None if parent is None else parent.name,
        reason=f"{run.tracker} run {run.run} ({run.name}); nothing was measured here: training judges it",
        created_at=clock.now(),
    )
    spec = made.model_copy(update={"diff": spec_diff(parent, made)})
    same = [one for one in model.specs() if (one.learner, one.hyperparameters, one.seed, one.reason) == _what(spec)]
    if same:
        spec = same[-1]
    else:
        write_spec(model.spec_path(spec.number), spec)
    fact = SpecWritten.of(spec, trigger=run.tracker.lower(), details={"tracker_run": run.run})
    ledger.append("spec.written", spec.name, fact, actor=actor, key=(f"{run.tracker.lower()}-{run.run}", spec.name, 0))
    return FromRun(spec=spec, new=not same, notes=notes)


def _what(spec: Spec) -> tuple[str, Mapping[str, Any], int, str]:
    return spec.learner, spec.hyperparameters, spec.seed, spec.reason


def _learner(model: Model, run: ForeignRun) -> Learner:
    """What a param or tag says it is, else what its model was saved as."""
    known = learners(str(model.task), own=model.own_learners)
    said = [(name, of[name]) for of in (run.params, run.tags) for name in _SAYS_LEARNER if of.get(name)]
    for _, value in said:
        name = _as_ours(value)
        if name in known:
            return known[name]
    for flavour in run.flavours:
        if flavour in _FLAVOURS and flavour in known:
            return known[flavour]
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
    plain = value.strip().lower()
    bare = plain.replace("_", "").replace("-", "").replace(" ", "")
    return next((name for name, others in _CALLED.items() if bare in (*others, name.replace("_", ""))), plain)


def _params(item: Learner, run: ForeignRun) -> tuple[dict[str, object], int, tuple[str, ...]]:
    """The params that are hyperparameters of the learner, the seed, and a note for what is left out."""
    known = {name for one in item.hyperparameters for name in one.names} | set(item.fixed)
    kept: dict[str, object] = {}
    seed, dropped = 0, []
    for name, text in sorted(run.params.items()):
        value = _value(text)
        if name in _SEEDS and isinstance(value, int) and not isinstance(value, bool):
            seed = value
        elif name in _SAYS_LEARNER or value is None or value != value:  # NaN: not said
            continue
        elif name in known:
            kept[name] = value
        else:
            dropped.append(f"{name}={text} was left out: {NOT_HERE.get(name, f'no hyperparameter of {item.name}')}")
    return kept, seed, tuple(dropped)


def _value(text: str) -> object:
    """The value as it was before a tracker made text of it."""
    words = {"true": True, "false": False, "none": None, "null": None, "": None, "nan": None}
    if text.strip().lower() in words:
        return words[text.strip().lower()]
    try:
        found: object = ast.literal_eval(text.strip())
    except (ValueError, SyntaxError):
        return text
    return found
