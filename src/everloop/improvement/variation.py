"""Whether hyperparameters beside the champion's do clearly better on the newest rows: a small look around."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl

from everloop.clock import Clock
from everloop.data import EVENT_TIME, TARGET, WEIGHT, FeatureTree, fit_sample
from everloop.errors import EverloopError
from everloop.improvement.refit import refitted
from everloop.models import BLEND, each_member, learner, resolve_params
from everloop.project import Objective, Spec
from everloop.tasks import Evaluated, Task, get_task

__all__ = ["Variation", "best_variation", "variants"]

_FIT_ROWS: Final = 25_000
_HELD_ROWS: Final = 20_000
_LEAST_POSITIVES: Final = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Variation:
    """Hyperparameters for the next spec. changed: those that differ from the parent's; sentence: why."""

    hyperparameters: Mapping[str, object]
    changed: tuple[str, ...]
    sentence: str


def variants(spec: Spec, *, own: Path | None = None, task: str = "classification") -> list[dict[str, object]]:
    """The spec's hyperparameters made larger one by one: more trees, deeper ones; none where it has neither.

    own: the model's learners.py, where it has one. Of a blend every member's that has it, at once.
    """
    if spec.learner != BLEND:
        changes = _larger(spec.learner, spec.hyperparameters, own, task)
    else:
        changes = {}
        members = each_member(
            spec.hyperparameters, lambda one: (one.number, _larger(one.learner, one.params, own, task))
        )
        for number, found in members:
            for what, change in found.items():
                changes.setdefault(what, {}).update({f"{number}.{name}": value for name, value in change.items()})
    return [{**spec.hyperparameters, **change} for change in changes.values()]


def _larger(called: str, params: Mapping[str, object], own: Path | None, task: str) -> dict[str, dict[str, object]]:
    """What makes a model of this learner larger than with `params`: canonical name → its value, as `params` call it."""
    item = learner(called, task=task, own=own)
    now = resolve_params(item, params)
    found: dict[str, dict[str, object]] = {}
    for hyperparameter in item.hyperparameters:
        value = now[hyperparameter.name]
        if isinstance(value, str | bool):
            continue
        if hyperparameter.name == "max_depth" and "num_leaves" in now:
            continue  # leaves bound those trees
        larger = {"n_estimators": value * 1.5, "max_depth": value + 2, "num_leaves": value * 2}.get(hyperparameter.name)
        if larger is None or value <= 0:
            continue
        tried = hyperparameter.clean(int(larger))
        if hyperparameter.mistake(tried) is None:
            names = {hyperparameter.name, *hyperparameter.aliases} & params.keys()
            found[hyperparameter.name] = {names.pop() if names else hyperparameter.name: tried}
    return found


def best_variation(
    known: pl.DataFrame,
    tree: FeatureTree,
    spec: Spec,
    *,
    since: datetime | None,
    clock: Clock,
    own: Path | None = None,
    task: str = "classification",
) -> Variation:
    """The spec's own hyperparameters, or a variant that is clearly better on the newest rows.

    Better in average precision, which no threshold moves; of a regression in the spec's objective.
    known: matured rows in order of time; the newer half of the positives since the change, or of all, is held out, of
    a regression of the rows.
    Clearly: the paired 95 % interval of the difference lies above 0, by as many variants as there are.
    """
    same = Variation(hyperparameters=dict(spec.hyperparameters), changed=(), sentence="the champion's hyperparameters")
    kind, tried = get_task(task), variants(spec, own=own, task=task)
    positive = known[TARGET].to_numpy() > 0.5 if kind.decides else np.ones(known.height, dtype=bool)
    recent = positive if since is None else positive & (known[EVENT_TIME] >= since).to_numpy()
    places = np.flatnonzero(recent)
    if not tried or len(places) < 2 * _LEAST_POSITIVES:
        return same
    cut = int(places[len(places) // 2])
    try:
        evaluations = [
            _judged(known, cut, tree, spec, params, clock=clock, own=own, task=kind)
            for params in (dict(spec.hyperparameters), *tried)
        ]
    except EverloopError:
        return same  # the parent's were served; that a variant cannot be fitted speaks against the variant alone
    level = 1 - 0.05 / len(tried)
    metric = "average_precision" if kind.decides else Objective.parse(spec.objective).metric
    sign = kind.metrics[metric].maximise
    gains = [
        kind.paired_interval(metric, *((one, evaluations[0]) if sign else (evaluations[0], one)), level=level)
        for one in evaluations[1:]
    ]
    best = int(np.argmax([gain.point for gain in gains]))
    if gains[best].low <= 0:
        return same
    before = spec.hyperparameters
    changed = tuple(name for name, value in tried[best].items() if name not in before or before[name] != value)
    said = ", ".join(f"{name} {tried[best][name]}" for name in changed)
    return Variation(
        hyperparameters=tried[best],
        changed=changed,
        sentence=f"{said}: {metric.replace('_', ' ')} on the newest rows {gains[best]:+.3f} against the champion's"
        if sign
        else f"{said}: {metric} on the newest rows less by {gains[best]:.3f} than the champion's",
    )


def _judged(
    known: pl.DataFrame,
    cut: int,
    tree: FeatureTree,
    spec: Spec,
    params: Mapping[str, object],
    *,
    clock: Clock,
    own: Path | None,
    task: Task,
) -> Evaluated:
    train, held = known[:cut], known[cut:]
    judge = fit_sample(
        held[TARGET].to_numpy(), held[WEIGHT].to_numpy(), most=_HELD_ROWS, seed=spec.seed, numeric=not task.decides
    )
    matrix = tree.matrix(held[judge.rows])
    graph = refitted(train, tree, spec, params, most=_FIT_ROWS, clock=clock, own=own, task=task.name)
    y = held[TARGET].to_numpy()[judge.rows]
    return task.evaluate(
        y > 0.5 if task.decides else y,
        graph.scores(matrix),
        weight=judge.weight,
        costs=Objective.parse(spec.objective).costs,
    )
