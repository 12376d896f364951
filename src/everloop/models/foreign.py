"""A configuration in other words than ours → our learner and hyperparameters.

Two ways of reading. What cannot be corrected any more, such as a run in a tracker, is read as its library meant it, and
what cannot be said here is left out with a note. What somebody keeps up to date, such as parameters in a store, is read
strictly: a name or a value that means nothing here is refused, by name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from everloop.errors import ConfigurationError
from everloop.models.blend import Member, blend_params, each_member, settled, told
from everloop.models.foreign_params import ForeignParams, foreign_params, said_value
from everloop.models.learner import BLEND, Learner
from everloop.models.params import told_params
from everloop.models.registry import learner, learners
from everloop.models.space import Value

__all__ = ["SAYS_LEARNER", "ReadConfiguration", "foreign_configuration", "read_configuration"]

SAYS_LEARNER: Final = (
    "everloop.learner",
    "learner",
    "algorithm",
    "algo",
    "model_type",
    "estimator_name",
    "model",
)
"""What others call the learner."""
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
class ReadConfiguration:
    """A learner with its hyperparameters as specs name them.

    seed: None where it was not said. notes: what is otherwise here than there, and why.
    """

    learner: str
    hyperparameters: Mapping[str, Value]
    seed: int | None = None
    notes: tuple[str, ...] = ()


def read_configuration(
    called: str, params: Mapping[str, object], *, task: str, own: Path | None = None
) -> ReadConfiguration:
    """Read strictly: `called` is a learner by any name, a value may be text.

    What is not said has our default, as in a spec. Raises ConfigurationError with every mistake, by name.
    """
    values = {name: said_value(value) if isinstance(value, str) else value for name, value in params.items()}
    name = called.strip() if called.strip() == BLEND else _named(called, task=task, own=own)
    found = told(name, settled(name, values, task=task, own=own), task=task, own=own)
    return ReadConfiguration(learner=name, hyperparameters=found)


def _named(called: str, *, task: str, own: Path | None) -> str:
    known = learners(task, own=own)
    name = _as_ours(called)
    if name not in known:
        raise ConfigurationError([f"learner: {called!r} is no learner of a {task}; there are {', '.join(known)}"])
    return name


def foreign_configuration(
    params: Mapping[str, str],
    *,
    tags: Mapping[str, str],
    flavours: Sequence[str],
    where: str,
    model: str,
    task: str,
    columns: int,
    own: Path | None = None,
    otherwise: str | None = None,
) -> ReadConfiguration:
    """Read as its library meant it, from what a tracker kept as text.

    flavours: what its model was saved as. where, model: for sentences. columns: of the matrix, > 0. otherwise: the
    learner where nothing says it. Raises ConfigurationError where no learner that the model has can be told.
    """
    if any(params.get(name) == BLEND for name in SAYS_LEARNER):
        return _blend(params, task=task, columns=columns, own=own)
    known = learners(task, own=own)
    item, called = _learner(params, tags, flavours, known=known, where=where, model=model, otherwise=otherwise)
    texts = {name: text for name, text in params.items() if name not in SAYS_LEARNER}
    said = foreign_params(item, texts, called=called, columns=columns, regression=task == "regression")
    return ReadConfiguration(
        learner=item.name, hyperparameters=told_params(item, said.values), seed=said.seed, notes=said.notes
    )


def _blend(params: Mapping[str, str], *, task: str, columns: int, own: Path | None) -> ReadConfiguration:
    """Of a blend, which only everloop logs: every member as a run of its own is read."""

    def read(member: Member) -> tuple[Learner, ForeignParams]:
        item = learner(member.learner, task=task, own=own)
        regression = task == "regression"
        return item, foreign_params(item, member.params, called=item.name, columns=columns, regression=regression)

    read_members = each_member({name: text for name, text in params.items() if name[:1].isdecimal()}, read)
    members = [(item.name, told_params(item, said.values)) for item, said in read_members]
    notes = tuple(f"member {at}: {note}" for at, (_, said) in enumerate(read_members, 1) for note in said.notes)
    return ReadConfiguration(learner=BLEND, hyperparameters=blend_params(members), notes=notes)


def _learner(
    params: Mapping[str, str],
    tags: Mapping[str, str],
    flavours: Sequence[str],
    *,
    known: Mapping[str, Learner],
    where: str,
    model: str,
    otherwise: str | None,
) -> tuple[Learner, str]:
    """What a param or tag says it is, else what its model was saved as; and how that calls it."""
    said = [(name, of[name]) for of in (params, tags) for name in SAYS_LEARNER if of.get(name)]
    for _, value in said:
        name = _as_ours(value)
        if name in known:
            return known[name], _bare(value)
    for flavour in flavours:
        if flavour in _FLAVOURS and flavour in known:
            return known[flavour], flavour
    if said:
        name, value = said[0]
        raise ConfigurationError(
            [f"{where}: {name} is {value!r}, and {model} has no such learner; there are {', '.join(known)}"]
        )
    if otherwise is not None and _as_ours(otherwise) in known:
        return known[_as_ours(otherwise)], _bare(otherwise)
    raise ConfigurationError(
        [f"{where} does not say what was fitted; log a param or tag `learner`, one of {', '.join(known)}"]
    )


def _as_ours(value: str) -> str:
    bare = _bare(value)
    known = (name for name, others in _CALLED.items() if bare in (*others, name.replace("_", "")))
    return next(known, value.strip().lower())


def _bare(value: str) -> str:
    return value.strip().lower().replace("_", "").replace("-", "").replace(" ", "")
