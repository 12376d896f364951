"""The step `refit`: the same spec on the same rows with other seeds, where a gate asks how much a seed decides.

Its cost stands by itself in the run's facts; without such a gate nothing is fitted. What is served is the fit of the
spec's own seed in any case.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import polars as pl

from everloop.bundle import Graph
from everloop.errors import Refused
from everloop.models import FitProcess, FitRequest, fit_all
from everloop.pages import write_whole
from everloop.production.fit_requests import FitRequests, learners_content
from everloop.production.judged import HeldOut, JudgedModel, judge_graph
from everloop.production.run_state import features_of, model_of, spec_of, split_of, write_frame
from everloop.project import Model, Objective, Spec, StableGate, quantile_level
from everloop.tasks import Evaluated, get_task
from everloop.workflows import RunContext, State

__all__ = ["read_refits", "refit", "refit_seeds"]

_SCORES: Final = "refits.parquet"
_SAID: Final = "refits.json"


def refit_seeds(model: Model, spec: Spec) -> tuple[int, ...]:
    """The seeds beside the spec's own that the gates ask for: the next ones."""
    most = max((gate.seeds for gate in model.gates if isinstance(gate, StableGate)), default=1)
    return tuple(spec.seed + step for step in range(1, most))


def refit(context: RunContext, state: State) -> State:
    """Fit the spec with each further seed in one child process, and judge every graph as the candidate was."""
    model, spec = model_of(context, state), spec_of(context, state)
    seeds = refit_seeds(model, spec)
    if not seeds:
        return {}
    _refuse_changed_learners(model, spec, state)
    tree, task = features_of(model, spec), get_task(model.task)
    begun_s = context.clock.monotonic_s()
    process = FitProcess(scratch=context.workdir)
    results = fit_all(
        _fit_requests(context, state, model, spec, seeds, process),
        time_limit_s=context.remaining_s(),
        stopped=context.should_stop,
        clock=context.clock,
        process=process,
    )
    fitted_s = context.clock.monotonic_s() - begun_s
    objective, rows = Objective.parse(spec.objective), HeldOut.made(split_of(context, state, held_out=True), tree)
    judged = {
        seed: judge_graph(Graph(result.graph), rows, objective, task, quantiles=spec.quantiles)
        for seed, result in zip(seeds, results, strict=True)
    }
    _keep(context.workdir, judged)
    return {"refit": {"seeds": list(seeds), "seconds": round(fitted_s, 3)}}


def _fit_requests(
    context: RunContext, state: State, model: Model, spec: Spec, seeds: Sequence[int], process: FitProcess
) -> Iterator[FitRequest]:
    """Of the same rows, which are let go once they lie where the process reads them."""
    requests = FitRequests(model, spec, split_of(context, state), features_of(model, spec), process)
    yield from requests.candidates(seeds)


def _refuse_changed_learners(model: Model, spec: Spec, state: State) -> None:
    if learners_content(model, spec) != state["fit"].get("own_learners"):
        raise Refused(f"{model.name}/learners.py was changed after {spec.learner} was fitted; start another run")


def _keep(workdir: Path, judged: dict[int, JudgedModel]) -> None:
    """Every score on the test rows and every threshold, so that an auditor can measure again."""
    columns: dict[str, Any] = {}
    for seed, model in judged.items():
        columns[f"seed_{seed}"] = model.test.score
        if model.quantiles is not None:
            columns |= {f"seed_{seed}_{name}": model.quantiles[:, at] for at, name in enumerate(model.names)}
    write_frame(pl.DataFrame(columns), workdir / _SCORES)
    said = {str(seed): {"threshold": model.threshold, "quantiles": model.names} for seed, model in judged.items()}
    write_whole(workdir / _SAID, json.dumps(said).encode())


def read_refits(workdir: Path, candidate: Evaluated, objective: Objective, *, task: str) -> dict[int, Evaluated]:
    """Seed → its evaluation on the rows of `candidate`; empty where the run fitted no other seed."""
    if not (workdir / _SAID).exists():
        return {}
    said = json.loads((workdir / _SAID).read_bytes())
    frame = pl.read_parquet(workdir / _SCORES)
    return {
        int(seed): get_task(task).evaluate(
            candidate.y,
            frame[f"seed_{seed}"].to_numpy(),
            weight=candidate.weights,
            threshold=told["threshold"],
            costs=objective.costs,
            quantiles=frame.select(f"seed_{seed}_{name}" for name in told["quantiles"]).to_numpy()
            if told["quantiles"]
            else None,
            levels=tuple(quantile_level(name) for name in told["quantiles"]),
        )
        for seed, told in said.items()
    }
