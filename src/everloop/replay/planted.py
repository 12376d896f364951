"""Two challengers that must not get through, planted by the demo; both take the way that every challenger takes.

**Overfitted**: a contractor's spec of three trees as deep as they may be, without any regularisation: they know their
training rows by heart. On held-out rows most of what they call fraud is none, and a gate refuses.

**Poisoned**: the nightly export of the payments has a new column, `confirmed_min`: how many minutes after it a payment
was confirmed in the bank's app. Customers must confirm, and do; thieves cannot. The column is filled in later, though:
when a payment has to be answered, nobody has confirmed it yet. On held-out rows of the export a model with it is
wonderful, so every gate passes; on live traffic the column is always empty, and everything looks like fraud. The
guardrail on the decision share sees it in the rollout's first step, the shadow, before a single customer is declined.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import polars as pl

from everloop.control import Resources
from everloop.data import read_contract, write_first_contract
from everloop.experiment import approve
from everloop.ids import new_run_id
from everloop.ledger import SpecWritten
from everloop.production import start_training
from everloop.project import Model, Project, Spec, write_spec
from everloop.workflows import RunResult

__all__ = ["LEAK", "plant_overfitted", "plant_poisoned", "take_leak_out"]

LEAK: Final = "confirmed_min"
_CONTRACTOR: Final = "contractor"
_ANALYST: Final = "new analyst"
_CONFIRMED_SHARE: Final = 0.9998
_BY_HEART: Final = {
    "max_depth": 20,
    "n_estimators": 3,
    "learning_rate": 1.0,
    "min_child_weight": 0.001,
    "reg_lambda": 0.0,
}


def plant_overfitted(resources: Resources, model_name: str) -> RunResult:
    """A spec that learns its rows by heart, written, approved and trained. A gate is to refuse it."""
    model = resources.model(model_name)
    spec = _next_spec(
        model,
        resources,
        learner="xgboost",
        hyperparameters=_BY_HEART,
        reason="finds every fraud of the rows I was given (100 % in my notebook)",
    )
    return _through_the_pipeline(resources, model, spec, by=_CONTRACTOR)


def plant_poisoned(resources: Resources, model_name: str) -> RunResult:
    """A spec with a column that batch rows have and live ones do not. Its rollout is to be stopped at its start."""
    model = resources.model(model_name)
    _export_with_leak(resources.project, model, seed=model.search.seed)
    champion = _champion_spec(resources, model)
    spec = _next_spec(
        model,
        resources,
        learner="xgboost",
        hyperparameters={"max_depth": 4, "n_estimators": 60, "min_child_weight": 5.0, "reg_lambda": 5.0},
        features=(*champion.features, LEAK) if champion.features else (),
        reason=f"with the export's new column {LEAK} recall is far better on held-out rows",
    )
    return _through_the_pipeline(resources, model, spec, by=_ANALYST)


def _champion_spec(resources: Resources, model: Model) -> Spec:
    routing = resources.ledger.routing(model.name)
    assert routing is not None
    assert routing.champion is not None
    return model.spec(resources.ledger.version(model.name, routing.champion).spec)


def _next_spec(
    model: Model,
    resources: Resources,
    *,
    learner: str,
    hyperparameters: Mapping[str, Any],
    reason: str,
    features: tuple[str, ...] = (),
) -> Spec:
    champion = _champion_spec(resources, model)
    return Spec.new(
        name=f"{model.name}-s{model.next_spec_number()}",
        objective=champion.objective,
        learner=learner,
        hyperparameters=dict(hyperparameters),
        features=features or champion.features,
        seed=champion.seed,
        parent=champion.name,
        reason=reason,
        created_at=resources.clock.now(),
    )


def _through_the_pipeline(resources: Resources, model: Model, spec: Spec, *, by: str) -> RunResult:
    """Written, approved, trained: what a person does with `everloop approve` and `everloop train`."""
    assert resources.engine is not None
    write_spec(model.spec_path(spec.number), spec)
    written = resources.ledger.append(
        "spec.written",
        spec.name,
        SpecWritten.of(spec, trigger="person"),
        actor=by,
    )
    approve(resources.project, model, spec.name, by="demo policy", ledger=resources.ledger, note=f"asked for by {by}")
    handle = start_training(
        resources.engine,
        resources.pipeline,
        resources.ledger,
        model=model,
        as_of=resources.clock.now(),
        actor=by,
        spec=spec.name,
        run_id=new_run_id(seed=f"{resources.seed}/{spec.name}/{written.seq}"),
    )
    return resources.engine.wait(handle.run_id)


def _export_with_leak(project: Project, model: Model, *, seed: int) -> None:
    """The export as it comes from now on: with the minutes until a payment was confirmed."""
    source = project.root / model.data.source
    shutil.copy2(source, source.with_suffix(".before"))
    shutil.copy2(model.contract_path, model.contract_path.with_suffix(".before"))
    frame = pl.read_parquet(source)
    random = np.random.default_rng([seed, 29])
    minutes = np.round(random.lognormal(2.0, 1.2, frame.height), 1)
    confirmed = (random.random(frame.height) < _CONFIRMED_SHARE) & (frame[model.data.target].to_numpy() == 0)
    column = pl.Series(LEAK, np.where(confirmed, minutes, np.nan)).fill_nan(None)
    draft = source.with_suffix(".draft")
    frame.with_columns(column).write_parquet(draft, compression="lz4")
    draft.replace(source)
    write_first_contract(model, root=project.root)


def take_leak_out(project: Project, model: Model) -> None:
    """The export and the contract without the column again, as whoever read why the rollout was stopped would do it."""
    if LEAK not in {column.name for column in read_contract(model).columns}:
        return
    for path in (project.root / model.data.source, model.contract_path):
        path.with_suffix(".before").replace(path)
