"""The pipeline's steps: each reads what earlier ones left in the run's folder and says in JSON what it adds.

A step may run twice after a crash; it writes files whole, by rename, and facts under the step's own key.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from everloop.bundle import BundleParts, Graph
from everloop.data import TARGET, WEIGHT, Rows, read_contract
from everloop.errors import EverloopError, Refused
from everloop.ledger import DataSpan, Estimate, RoutingState, SegmentEstimate, VerdictRecord, VersionRegistered
from everloop.models import FitProcess, FitRequest, FitResult, fit_all, fitted_learners, learners
from everloop.pages import write_whole
from everloop.production.baseline import baseline_of, begin_baseline
from everloop.production.fit_requests import FitRequests, learners_content
from everloop.production.gating import held_out
from everloop.production.judged import (
    Estimates,
    HeldOut,
    JudgedBeside,
    JudgedModel,
    estimates,
    judge_bundle,
    judge_graph,
)
from everloop.production.provenance import EVIDENCE, Reading, origin_of, registered_origin
from everloop.production.rows import everything_known
from everloop.production.run_state import (
    CANDIDATE,
    CHAMPION,
    FITTING,
    HELD_OUT,
    JUDGED,
    JUDGED_VALIDATION,
    ROWS,
    champion_of,
    decided_split,
    features_of,
    freeze_rows,
    graph_of,
    model_of,
    resources_of,
    run_place,
    run_rows,
    spec_of,
    split_of,
    write_frame,
    yardsticks_of,
)
from everloop.production.segments import segment_estimates, told_metrics
from everloop.project import Model, Objective, Spec
from everloop.tasks import Task, error_bound, get_task
from everloop.workflows import RunContext, State

__all__ = ["evaluate", "fit", "package", "register", "release", "snapshot", "split"]

_LEARNERS = "learners.py"


def snapshot(context: RunContext, state: State) -> State:
    """Freeze all that is known at the run's time: the rest of the run reads this file and no source."""
    model, project = model_of(context, state), resources_of(context).project
    _begin_fitting(context, model, spec_of(context, state))
    reading = Reading.begin(model, root=project.root, traffic=project.paths.traffic)
    rows = everything_known(
        model,
        read_contract(model),
        resources_of(context).log(model.name),
        as_of=datetime.fromisoformat(state["as_of"]),
    )
    with ThreadPoolExecutor(2) as pool:
        described = pool.submit(_described, rows)
        origin = pool.submit(
            origin_of,
            model,
            spec_of(context, state),
            root=project.root,
            reading=reading,
            approval=context.ledger.fact(state["approval"]) if state.get("approval") else None,
            workdir=context.workdir,
        )
        with suppress(EverloopError):  # of the model's files: the next step tells it
            begin_baseline(context, state, rows.frame)
        freeze_rows(context, rows.frame)
        return {"data": described.result(), "origin": origin.result()}


def _begin_fitting(context: RunContext, model: Model, spec: Spec) -> None:
    """A process that loads what the fit takes while the rows are read: one that is there already, or a new one."""
    known = learners(model.task)
    wanted = [*fitted_learners(spec.learner, spec.hyperparameters), *yardsticks_of(model)]
    own = [name for name in dict.fromkeys(wanted) if name in known]
    process = FitProcess.living(resources_of(context).begun.take(FITTING))
    context.at_hand.keep(FITTING, process)  # in place of that of an attempt that failed
    process.work_in(context.workdir)
    process.rehearse(own, task=model.task)


def _described(rows: Rows) -> dict[str, Any]:
    start, end = rows.span
    return {
        "rows": rows.frame.height,
        "positives": rows.positives,
        "start": start.isoformat(),
        "end": end.isoformat(),
        "hash": rows.content,
        "source": rows.source,
        "left_out": dict(rows.left_out),
        "read": rows.read,
        "broken": list(rows.broken),
    }


def split(context: RunContext, state: State) -> State:
    """A first version: 70/15/15 by time. A later one: all but the newest holdout; it waits for enough positives."""
    parts, task = decided_split(context, state), get_task(model_of(context, state).task)
    validation, test = parts.bounds
    return {
        "split": {
            "validation_from": validation.isoformat(),
            "test_from": test.isoformat(),
            **{
                name: {"rows": part.height, "positives": task.positives(part[TARGET].to_numpy())}
                for name, part in (("train", parts.train), ("validation", parts.validation), ("test", parts.test))
            },
        }
    }


def fit(context: RunContext, state: State) -> State:
    """Fit the yardsticks, and then the spec's learner, in a child process that can be stopped.

    What comes back are graphs, each held against its model.
    """
    model, spec = model_of(context, state), spec_of(context, state)
    content = _keep_learners(context, model, spec)
    process = FitProcess.living(context.at_hand.take(FITTING), scratch=context.workdir)
    results = fit_all(
        _fit_requests(context, state, model, spec, process),
        time_limit_s=context.remaining_s(),
        stopped=context.should_stop,
        clock=context.clock,
        process=process,
        fitted=partial(_look_ahead, context, state, model, spec),
    )
    for name, found in zip((*yardsticks_of(model), CANDIDATE), results, strict=True):
        write_whole(context.workdir / f"{name}.onnx", found.graph)
    result = results[-1]
    if learners_content(model, spec) != content:
        raise Refused(f"{model.name}/{_LEARNERS} was changed while {spec.learner} was fitted; start another run")
    return {"fit": _fitted(result) | ({} if content is None else {"own_learners": content})}


def _look_ahead(context: RunContext, state: State, model: Model, spec: Spec, found: Sequence[FitResult]) -> None:
    """While one core makes the candidate's graph: what it is judged on is read, and the yardsticks are judged on it."""
    graphs = {name: one.graph for name, one in zip(yardsticks_of(model), found, strict=True)}
    context.at_hand.keep(HELD_OUT, _judged_beside(context, state, model, spec, graphs))


def _judged_beside(
    context: RunContext, state: State, model: Model, spec: Spec, graphs: Mapping[str, bytes]
) -> JudgedBeside:
    rows = HeldOut.made(split_of(context, state, held_out=True), features_of(model, spec))
    return JudgedBeside(rows, graphs, partial(_judged, spec, get_task(model.task)))


def _fit_requests(
    context: RunContext, state: State, model: Model, spec: Spec, process: FitProcess
) -> Iterator[FitRequest]:
    """One at a time: the few rows of the yardsticks first, which are fitted by the time all of them are made."""
    tree = features_of(model, spec)
    requests = FitRequests(
        model, spec, split_of(context, state, columns=[*tree.columns, TARGET, WEIGHT]), tree, process
    )
    context.at_hand.drop(ROWS)  # those that the fit needs are held by the requests
    yield from requests.yardsticks(yardsticks_of(model))
    yield from requests.candidates([spec.seed])


def _keep_learners(context: RunContext, model: Model, spec: Spec) -> str | None:
    """A copy of the learners.py that the spec's learner is from, and its sha256; None where it is everloop's own."""
    content = learners_content(model, spec)
    if content is not None and model.own_learners is not None:
        write_whole(context.workdir / _LEARNERS, model.own_learners.read_bytes())
    return content


def _fitted(result: FitResult) -> dict[str, Any]:
    """What the run says of its fit."""
    said = {"seconds": round(result.fit_s, 3), "agreement": result.agreement, "params": result.params}
    if result.rounds is not None:
        said["rounds"] = result.rounds
    if result.calibration is not None:
        said["calibration"] = result.calibration.to_dict()
    return said


def evaluate(context: RunContext, state: State) -> State:
    """Threshold on validation rows; metrics on test rows, beside yardsticks and champion on the same rows."""
    model, spec = model_of(context, state), spec_of(context, state)
    task, tree = get_task(model.task), features_of(model, spec)
    beside: JudgedBeside | None = context.at_hand.take(HELD_OUT)
    if beside is not None and beside.rows.features != tree:
        beside.close()
        beside = None
    if beside is None:
        graphs = {name: graph_of(context, name) for name in yardsticks_of(model)}
        beside = _judged_beside(context, state, model, spec, graphs)
    with closing(beside) as others:
        rows = others.rows
        judged, metrics = _judged(spec, task, rows, graph_of(context, CANDIDATE))
        yardsticks = others.results()

    champion = champion_of(context, state)
    against = None
    if champion is not None:
        bundle = resources_of(context).bundles.load(context.ledger.version(model.name, champion).bundle)
        against = judge_bundle(bundle, rows.test, Objective.parse(spec.objective), task)
    _keep_judged(context.workdir, judged, {name: other for name, (other, _) in yardsticks.items()}, against)
    return {
        "threshold": judged.threshold,
        "champion": champion,
        "metrics": metrics,
        "champion_metrics": None if against is None else estimates(against.test, seed=spec.seed),
        "yardstick_metrics": {name: told for name, (_, told) in yardsticks.items()},
    }


def _judged(spec: Spec, task: Task, rows: HeldOut, graph: bytes) -> tuple[JudgedModel, Estimates]:
    """The graph, and its metrics on the test rows."""
    judged = judge_graph(Graph(graph), rows, Objective.parse(spec.objective), task, quantiles=spec.quantiles)
    return judged, estimates(judged.test, seed=spec.seed)


def _keep_judged(
    workdir: Path, judged: JudgedModel, yardsticks: Mapping[str, JudgedModel], champion: JudgedModel | None
) -> None:
    """Every score on the test rows, so that gates judge what was measured and an auditor can measure again."""
    models = {CANDIDATE: judged, **{f"yardstick_{name}": other for name, other in yardsticks.items()}}
    models |= {} if champion is None else {CHAMPION: champion}
    y = judged.test.y
    columns = {"y": y.astype(np.int8) if y.dtype == bool else y, "weight": judged.test.weights}
    columns |= {name: model.test.score for name, model in models.items()}
    for name, model in models.items():
        if model.quantiles is not None:
            columns |= {f"{name}_{said}": model.quantiles[:, place] for place, said in enumerate(model.names)}
    thresholds = {name: model.threshold for name, model in models.items()}
    write_frame(pl.DataFrame(columns), workdir / JUDGED)
    if judged.validation is not None:
        write_frame(pl.DataFrame({CANDIDATE: judged.validation}), workdir / JUDGED_VALIDATION)
    write_whole(workdir / "thresholds.json", json.dumps(thresholds).encode())


def package(context: RunContext, state: State) -> State:
    """Graph, features, contract, baseline and threshold become an immutable bundle, named by its content."""
    model, spec = model_of(context, state), spec_of(context, state)
    tree, decides = features_of(model, spec), get_task(model.task).decides
    bundles = resources_of(context).bundles
    bundle = bundles.write(
        BundleParts(
            graph=graph_of(context, CANDIDATE),
            features=tree,
            contract=read_contract(model),
            baseline=baseline_of(context, state),
            threshold=state["threshold"],
            metrics={name: estimate["point"] for name, estimate in state["metrics"].items()},
            spec_hash=spec.hash,
            model=model.name,
            task=model.task,
            learner=spec.learner,
            target=model.data.target,
            positive=model.positive_label if decides else None,
            negative=model.negative_label if decides else None,
            quantiles=spec.quantiles,
            error_bound=None if decides else error_bound(_held_out_outcomes(context, state)),
            calibration=state["fit"].get("calibration", {}).get("method", "none"),
        )
    )
    if "own_learners" in state["fit"]:
        bundles.write_evidence(bundle, _LEARNERS, (context.workdir / _LEARNERS).read_bytes())
    return {"bundle": bundle}


def _held_out_outcomes(context: RunContext, state: State) -> np.ndarray:
    """The outcomes of all rows that the model was not fitted on."""
    return run_rows(context, [TARGET], skipped=state["split"]["train"]["rows"])[TARGET].to_numpy()


def register(context: RunContext, state: State) -> State:
    """The bundle gets the model's next version number."""
    data = state["data"]
    payload = VersionRegistered(
        model=state["model"],
        bundle=state["bundle"],
        run=context.run_id,
        spec=state["spec"],
        spec_hash=state["spec_hash"],
        metrics={name: _estimate(value) for name, value in state["metrics"].items()},
        verdicts=[VerdictRecord(**record) for record in state["gates"]],
        data=DataSpan(
            rows=data["rows"],
            start=datetime.fromisoformat(data["start"]),
            end=datetime.fromisoformat(data["end"]),
            source=data["source"],
            hash=data["hash"],
            as_of=datetime.fromisoformat(state["as_of"]),
            positives=data["positives"],
        ),
        trigger=state["trigger"],
        alert=state.get("alert"),
        threshold=state["threshold"],
        evidence_path=run_place(context),
        segments=_segments(context, state),
        origin=registered_origin(state),
        details=_usual(context, state),
    )
    evidence = context.workdir / EVIDENCE
    if evidence.exists():
        resources_of(context).bundles.write_evidence(state["bundle"], EVIDENCE, evidence.read_bytes())
    version, _ = context.ledger.register_version(
        state["model"], payload, actor=context.actor, cause=context.cause, key=context.key(1)
    )
    return {"version": version.number}


def _usual(context: RunContext, state: State) -> dict[str, Any]:
    """What later trainings are held against: `train.window` in microseconds, and the target's mean."""
    window = model_of(context, state).train.window
    mean = float(run_rows(context, [TARGET])[TARGET].mean())  # type: ignore[arg-type]
    return {"window_us": None if window is None else window // timedelta(microseconds=1), "target_mean": mean}


def _segments(context: RunContext, state: State) -> list[SegmentEstimate]:
    """The candidate on the test rows of each value of `data.segments`."""
    model, spec = model_of(context, state), spec_of(context, state)
    candidate, segments = held_out(context, state)
    metrics = told_metrics(get_task(model.task), Objective.parse(spec.objective).metric)
    return segment_estimates(candidate, segments, metrics=metrics, seed=spec.seed)


def _estimate(value: Mapping[str, Any]) -> Estimate:
    return Estimate(**{name: value[name] for name in ("point", "low", "high", "level", "rows", "positives")})


def release(context: RunContext, state: State) -> State:
    """The first version answers at once; a later one waits for its rollout, which control begins."""
    ledger, model, version = context.ledger, state["model"], state["version"]
    with ledger.transaction() as transaction:
        routing = transaction.routing(model)
        lost = None if routing is None else _lost_champion(context, state, routing)
        if routing is not None and routing.champion is not None and lost is None:
            return {"released": routing.champion == version}
        registered = transaction.keyed(context.run_id, "register", 1)
        transaction.change_routing(
            model,
            expected_revision=0 if routing is None else routing.revision,
            champion=version,
            previous=None if routing is None else routing.previous,
            reason=f"v{version} is the first version and passed its gates"
            if lost is None
            else f"the bundle of v{lost} is lost, and v{version} passed its gates",
            actor=context.actor,
            cause=None if registered is None else registered.seq,
            key=context.key(1),
        )
    return {"released": True}


def _lost_champion(context: RunContext, state: State, routing: RoutingState) -> int | None:
    """The champion that the new version replaces at once, as its bundle is lost and someone asked for it."""
    if not state.get("without_champion") or routing.champion is None or routing.challengers:
        return None
    bundle = context.ledger.version(state["model"], routing.champion).bundle
    return None if resources_of(context).bundles.holds(bundle) else routing.champion
