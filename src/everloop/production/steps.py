"""The pipeline's steps: each reads what earlier ones left in the run's folder and says in JSON what it adds.

A step may run twice after a crash; it writes files whole, by rename, and facts under the step's own key.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from everloop.bundle import BundleParts, Graph
from everloop.data import (
    EVENT_TIME,
    TARGET,
    WEIGHT,
    Baseline,
    Contract,
    FeatureTree,
    Rows,
    Split,
    fit_sample,
    load_features,
    profiled_frame,
    read_contract,
    retrain_split,
    time_split,
)
from everloop.errors import ContractViolation, Refused
from everloop.ledger import DataSpan, Estimate, RoutingState, SegmentEstimate, VerdictRecord, VersionRegistered
from everloop.models import FitRequest, FitResult, Validation, fit_all, fitted_learners, learners, own_content
from everloop.production.gates import GateEvidence, GateVerdict, judge_gates, refusal
from everloop.production.judged import JudgedModel, estimates, judge_bundle, judge_graph
from everloop.production.provenance import EVIDENCE, Reading, origin_of, registered_origin
from everloop.production.rows import everything_known
from everloop.production.segments import segment_estimates, told_metrics
from everloop.project import Model, Objective, Spec, quantile_level
from everloop.tasks import Evaluated, error_bound, get_task
from everloop.workflows import RunContext, State

if TYPE_CHECKING:
    from everloop.production.pipeline import PipelineResources

__all__ = ["check", "evaluate", "fit", "gate", "package", "register", "release", "snapshot", "split"]

# A yardstick is there to be beaten by a wide margin; it learns all it can from this many rows.
YARDSTICK_ROWS = 100_000
CANDIDATE = "candidate"
CHAMPION = "champion"
_LEARNERS = "learners.py"


def _resources(context: RunContext) -> PipelineResources:
    resources: PipelineResources = context.resources
    return resources


def _model(context: RunContext, state: State) -> Model:
    return _resources(context).model(state["model"])


def _spec(context: RunContext, state: State) -> Spec:
    """The spec as it was approved: a file that was changed while the run was going on is refused."""
    spec = _model(context, state).spec(state["spec"])
    if spec.hash != state["spec_hash"]:
        raise Refused(f"{spec.name} was changed after this run began; approve it again and start another run")
    return spec


def _write(path: Path, data: bytes) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_bytes(data)
    draft.replace(path)


def _rows(context: RunContext) -> pl.DataFrame:
    return pl.read_parquet(context.workdir / "snapshot.parquet")


def snapshot(context: RunContext, state: State) -> State:
    """Freeze all that is known at the run's time: the rest of the run reads this file and no source."""
    model, project = _model(context, state), _resources(context).project
    reading = Reading.begin(model, root=project.root, traffic=project.paths.traffic)
    rows = everything_known(
        model,
        read_contract(model),
        _resources(context).log(model.name),
        as_of=datetime.fromisoformat(state["as_of"]),
    )
    draft = context.workdir / f".snapshot.{os.getpid()}"
    rows.frame.write_parquet(draft, compression="zstd", compression_level=1)
    draft.replace(context.workdir / "snapshot.parquet")
    origin = origin_of(
        model,
        _spec(context, state),
        root=project.root,
        reading=reading,
        approval=context.ledger.fact(state["approval"]) if state.get("approval") else None,
        workdir=context.workdir,
    )
    return {"data": _described(rows), "origin": origin}


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
    }


def check(context: RunContext, state: State) -> State:
    """The rows against what training needs: features that can be served, a target that is not among them."""
    model, spec = _model(context, state), _spec(context, state)
    tree = _features(model, spec)
    reads = {model.data.target} & set(tree.columns)
    if reads:
        raise ContractViolation(
            f"the target {model.data.target!r} is among the features; take it out of features.py and contract.yaml"
        )
    return {"features": list(tree.names), "columns": list(tree.columns)}


def _features(model: Model, spec: Spec) -> FeatureTree:
    tree = load_features(model.features_path, read_contract(model)).tree()
    return tree.only(spec.features) if spec.features else tree


def split(context: RunContext, state: State) -> State:
    """A first version: 70/15/15 by time. A later one: all but the newest holdout; it waits for enough positives."""
    parts, task = _split(context, state), get_task(_model(context, state).task)
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


def _split(context: RunContext, state: State) -> Split:
    frame = _rows(context)
    if "split" in state:  # decided before: cut where it was cut
        first = datetime.fromisoformat(state["split"]["validation_from"])
        second = datetime.fromisoformat(state["split"]["test_from"])
        at = pl.col(EVENT_TIME)
        return Split(
            train=frame.filter(at < first),
            validation=frame.filter((at >= first) & (at < second)),
            test=frame.filter(at >= second),
        )
    if _champion(context, state) is None:
        return time_split(frame)
    model = _model(context, state)
    return retrain_split(frame, model.train.holdout, numeric=not get_task(model.task).decides)


def _champion(context: RunContext, state: State) -> int | None:
    routing = context.ledger.routing(state["model"])
    lost = state.get("without_champion")  # someone said so: nothing is left to be compared with
    return None if routing is None or lost else routing.champion


def fit(context: RunContext, state: State) -> State:
    """Fit the spec's learner, and the yardsticks beside it, in two child processes that can be stopped.

    What comes back are graphs, each held against its model.
    """
    model, spec = _model(context, state), _spec(context, state)
    parts, tree = _split(context, state), _features(model, spec)
    names = _yardsticks(model)

    def asked(learner: str, params: Mapping[str, Any], most: int | None) -> FitRequest:
        request = _fit_request(parts, tree, learner, params, task=model.task, seed=spec.seed, most=most)
        levels = tuple(quantile_level(name) for name in spec.quantiles)
        return replace(request, quantiles=levels, calibration=spec.calibration)

    own = asked(spec.learner, spec.hyperparameters, model.train.rows)
    own = replace(own, own=model.own_learners)
    content = _keep_learners(context, model, spec)
    others = [asked(name, {}, YARDSTICK_ROWS) for name in names]

    def fitted(requests: Sequence[FitRequest]) -> list[FitResult]:
        return fit_all(
            requests,
            time_limit_s=context.remaining_s(),
            stopped=context.should_stop,
            scratch=context.workdir,
            clock=context.clock,
        )

    with ThreadPoolExecutor(max_workers=2) as pool:
        (result,), yardsticks = pool.map(fitted, ([own], others))
    for name, found in zip((CANDIDATE, *names), (result, *yardsticks), strict=True):
        _write(context.workdir / f"{name}.onnx", found.graph)
    if _own_content(model, spec) != content:
        raise Refused(f"{model.name}/{_LEARNERS} was changed while {spec.learner} was fitted; start another run")
    return {"fit": _fitted(result) | ({} if content is None else {"own_learners": content})}


def _keep_learners(context: RunContext, model: Model, spec: Spec) -> str | None:
    """A copy of the learners.py that the spec's learner is from, and its sha256; None where it is everloop's own."""
    content = _own_content(model, spec)
    if content is not None and model.own_learners is not None:
        _write(context.workdir / _LEARNERS, model.own_learners.read_bytes())
    return content


def _own_content(model: Model, spec: Spec) -> str | None:
    """The sha256 of the learners.py where what the spec fits is defined there; None where it is everloop's own."""
    return own_content(fitted_learners(spec.learner, spec.hyperparameters), own=model.own_learners)


def _yardsticks(model: Model) -> tuple[str, ...]:
    """The learners that are there to be beaten, by name."""
    return tuple(name for name, item in learners(model.task).items() if item.yardstick)


def _fitted(result: FitResult) -> dict[str, Any]:
    """What the run says of its fit."""
    said = {"seconds": round(result.fit_s, 3), "agreement": result.agreement, "params": result.params}
    if result.rounds is not None:
        said["rounds"] = result.rounds
    if result.calibration is not None:
        said["calibration"] = result.calibration.to_dict()
    return said


def _fit_request(
    parts: Split,
    tree: FeatureTree,
    learner: str,
    params: Mapping[str, Any],
    *,
    task: str,
    seed: int,
    most: int | None,
) -> FitRequest:
    y, weight = parts.train[TARGET].to_numpy(), parts.train[WEIGHT].to_numpy()
    numeric = not get_task(task).decides
    chosen = fit_sample(y, weight, most=len(y) if most is None else most, seed=seed, numeric=numeric)
    return FitRequest(
        learner=learner,
        params=params,
        X=tree.matrix(parts.train[chosen.rows]),
        y=y[chosen.rows],
        weight=chosen.weight,
        validation=Validation(
            X=tree.matrix(parts.validation),
            y=parts.validation[TARGET].to_numpy(),
            weight=parts.validation[WEIGHT].to_numpy(),
        ),
        seed=seed,
        task=task,
        categories=tree.categories(),
    )


def evaluate(context: RunContext, state: State) -> State:
    """Threshold on validation rows; metrics on test rows, beside yardsticks and champion on the same rows."""
    model, spec = _model(context, state), _spec(context, state)
    parts, tree, task = _split(context, state), _features(model, spec), get_task(model.task)
    objective = Objective.parse(spec.objective)
    names = _yardsticks(model)
    judged, *others = (
        judge_graph(Graph(_graph(context, name)), tree, parts, objective, task, quantiles=spec.quantiles)
        for name in (CANDIDATE, *names)
    )
    yardsticks = dict(zip(names, others, strict=True))
    champion = _champion(context, state)
    against = None
    if champion is not None:
        bundle = _resources(context).bundles.load(context.ledger.version(model.name, champion).bundle)
        against = judge_bundle(bundle, parts.test, objective, task)
    _keep_judged(context.workdir, judged, yardsticks, against)
    return {
        "threshold": judged.threshold,
        "champion": champion,
        "metrics": estimates(judged.test, seed=spec.seed),
        "champion_metrics": None if against is None else estimates(against.test, seed=spec.seed),
        "yardstick_metrics": {name: estimates(other.test, seed=spec.seed) for name, other in yardsticks.items()},
    }


def _graph(context: RunContext, name: str) -> bytes:
    return (context.workdir / f"{name}.onnx").read_bytes()


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
    draft = workdir / f".judged.{os.getpid()}"
    pl.DataFrame(columns).write_parquet(draft)
    draft.replace(workdir / "judged.parquet")
    _write(workdir / "thresholds.json", json.dumps(thresholds).encode())


def package(context: RunContext, state: State) -> State:
    """Graph, features, contract, baseline and threshold become an immutable bundle, named by its content."""
    model, spec = _model(context, state), _spec(context, state)
    tree, contract, parts = _features(model, spec), read_contract(model), _split(context, state)
    graph, decides = _graph(context, CANDIDATE), get_task(model.task).decides
    bundles = _resources(context).bundles
    bundle = bundles.write(
        BundleParts(
            graph=graph,
            features=tree,
            contract=contract,
            baseline=_baseline(model, contract, tree, Graph(graph), parts),
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
            error_bound=None if decides else error_bound(_held_out(parts)),
            calibration=state["fit"].get("calibration", {}).get("method", "none"),
        )
    )
    if "own_learners" in state["fit"]:
        bundles.write_evidence(bundle, _LEARNERS, (context.workdir / _LEARNERS).read_bytes())
    return {"bundle": bundle}


def _held_out(parts: Split) -> np.ndarray:
    """The outcomes of all rows that the model was not fitted on."""
    return np.concatenate([parts.validation[TARGET].to_numpy(), parts.test[TARGET].to_numpy()])


def _baseline(model: Model, contract: Contract, tree: FeatureTree, graph: Graph, parts: Split) -> Baseline:
    """The reference: columns over all rows of the run; the score is missing on the rows it was fitted on."""
    rows = pl.concat([parts.train, parts.validation, parts.test])
    features = tree.matrix(rows)
    fitted_on = parts.train.height
    score = np.full(rows.height, np.nan, dtype=np.float32)
    score[fitted_on:] = graph.scores(features[fitted_on:])
    watched = profiled_frame(rows, contract, tree, features, score)
    weighted = model.data.weight is not None
    return Baseline.build(watched, window=model.monitor.every, weight=rows[WEIGHT].to_numpy() if weighted else None)


def gate(context: RunContext, state: State) -> State:
    """Every gate answered, and kept; one that fails or stays undecided refuses the run, in one sentence."""
    model, spec = _model(context, state), _spec(context, state)
    objective = Objective.parse(spec.objective)
    verdicts = judge_gates(model.gates, _gate_evidence(context, state, model, spec, objective))
    records = [{"name": one.gate, **one.verdict.to_dict()} for one in verdicts]
    evidence = {"run": context.run_id, "bundle": state["bundle"], "gates": records, "metrics": state["metrics"]}
    _write(context.workdir / "gates.json", json.dumps(evidence, indent=2).encode())
    _write(context.workdir / "report.md", _report(context.run_id, state, verdicts).encode())
    against = refusal(verdicts)
    if against is not None:
        place = os.path.relpath(context.workdir, _resources(context).project.root)
        raise Refused(
            f"{model.name} run {context.run_id} refused: {against}; evidence in {place}",
            evidence_path=place,
            verdicts=records,
        )
    return {"gates": records}


def _gate_evidence(context: RunContext, state: State, model: Model, spec: Spec, objective: Objective) -> GateEvidence:
    frame = pl.read_parquet(context.workdir / "judged.parquet")
    thresholds = json.loads((context.workdir / "thresholds.json").read_bytes())
    y, weight = frame["y"].to_numpy(), frame["weight"].to_numpy()

    def evaluation(name: str) -> Evaluated:
        given = [column for column in frame.columns if column.startswith(f"{name}_p")]
        return get_task(model.task).evaluate(
            y,
            frame[name].to_numpy(),
            weight=weight,
            threshold=thresholds[name],
            costs=objective.costs,
            quantiles=frame.select(given).to_numpy() if given else None,
            levels=tuple(quantile_level(column.removeprefix(f"{name}_")) for column in given),
        )

    test = _split(context, state).test
    champion = state.get("champion")
    return GateEvidence(
        task=model.task,
        objective=objective,
        candidate=evaluation(CANDIDATE),
        champion=None if champion is None else evaluation(CHAMPION),
        champion_name=None if champion is None else f"v{champion}",
        # a logistic regression need not beat the yardstick that it is itself
        yardsticks={name: evaluation(f"yardstick_{name}") for name in _yardsticks(model) if name != spec.learner},
        segments={name: test[name].cast(pl.String).fill_null("–").to_numpy() for name in model.data.segments},
        seed=spec.seed,
    )


def _report(run_id: str, state: State, verdicts: tuple[GateVerdict, ...]) -> str:
    data = state["data"]
    # of a regression every row counts as a positive does
    positives = "" if data["positives"] == data["rows"] else f" with {data['positives']:,} positives"
    lines = [
        f"# {state['model']} run {run_id}",
        "",
        f"Spec {state['spec']}, {data['rows']:,} rows{positives}, {data['start']} to {data['end']}.",
        "",
        "| gate | verdict | sentence |",
        "|---|---|---|",
        *(f"| {one.gate} | {one.verdict.outcome} | {one.verdict.sentence} |" for one in verdicts),
        "",
        "| metric | value | 95 % interval |",
        "|---|---|---|",
        *(
            f"| {name} | {value['point']:.4f} | {value['low']:.4f} to {value['high']:.4f} |"
            for name, value in state["metrics"].items()
        ),
    ]
    return "\n".join(lines) + "\n"


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
        evidence_path=os.path.relpath(context.workdir, _resources(context).project.root),
        segments=_segments(context, state),
        origin=registered_origin(state),
    )
    if (context.workdir / EVIDENCE).exists():
        _resources(context).bundles.write_evidence(state["bundle"], EVIDENCE, (context.workdir / EVIDENCE).read_bytes())
    version, _ = context.ledger.register_version(
        state["model"], payload, actor=context.actor, cause=context.cause, key=context.key(1)
    )
    return {"version": version.number}


def _segments(context: RunContext, state: State) -> list[SegmentEstimate]:
    """The candidate on the test rows of each value of `data.segments`."""
    model, spec = _model(context, state), _spec(context, state)
    evidence = _gate_evidence(context, state, model, spec, Objective.parse(spec.objective))
    metrics = told_metrics(get_task(model.task), evidence.objective.metric)
    return segment_estimates(evidence.candidate, evidence.segments, metrics=metrics, seed=spec.seed)


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
    return None if _resources(context).bundles.holds(bundle) else routing.champion
