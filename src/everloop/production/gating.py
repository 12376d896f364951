"""The steps `check` and `gate`: what gates are asked of is gathered from the run, judged, kept, and refuses or not."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from datetime import datetime

import numpy as np
import polars as pl

from everloop.data import TARGET, WEIGHT, Contract, FeatureTree, profiled_frame, read_contract
from everloop.errors import BundleError, ContractViolation, NotFound, Refused
from everloop.ledger import Version
from everloop.pages import write_whole
from everloop.production.column_drift import ColumnDrift, column_drifts
from everloop.production.data_gates import DataEvidence, judge_data_gates
from everloop.production.former import former_trainings
from everloop.production.gate_report import gate_records, gates_json, report_text
from everloop.production.gates import GateEvidence, GateVerdict, judge_gates, refusal
from everloop.production.measured import Measured, row_latency
from everloop.production.own_evidence import OwnGateEvidence
from everloop.production.own_gates import ask_own_gates
from everloop.production.refits import read_refits
from everloop.production.run_state import (
    CANDIDATE,
    CHAMPION,
    JUDGED,
    features_of,
    model_of,
    resources_of,
    run_place,
    run_rows,
    spec_of,
    split_of,
    yardsticks_of,
)
from everloop.project import DriftGate, MeasureGate, Model, Objective, OwnGate, Spec, own_gate_path, quantile_level
from everloop.stats import Interval, Verdict, mean_interval, wilson
from everloop.tasks import Evaluated, get_task
from everloop.workflows import RunContext, State

__all__ = ["check", "gate"]


def check(context: RunContext, state: State) -> State:
    """The rows against what training needs, before anything is fitted: features that can be served, then the gates."""
    model, spec = model_of(context, state), spec_of(context, state)
    tree = features_of(model, spec)
    reads = {model.data.target} & set(tree.columns)
    if reads:
        raise ContractViolation(
            f"the target {model.data.target!r} is among the features; take it out of features.py and contract.yaml"
        )
    told = {"features": list(tree.names), "columns": list(tree.columns)}
    if not any(gate.before_training for gate in model.gates):
        return told
    verdicts = judge_data_gates(model.gates, _data_evidence(context, state, model, tree))
    if refusal(verdicts) is not None:
        _refuse(context, state, verdicts, unasked=[str(one) for one in model.gates if not one.before_training])
    return told | {"data_gates": gate_records(verdicts)}


def gate(context: RunContext, state: State) -> State:
    """Every gate answered, and kept; one that fails or stays undecided refuses the run, in one sentence."""
    model, spec = model_of(context, state), spec_of(context, state)
    verdicts = judge_gates(model.gates, _gate_evidence(context, state, model, spec))
    if refusal(verdicts) is not None:
        _refuse(context, state, verdicts)
    _keep(context, state, verdicts)
    for path in {own_gate_path(one, model.folder) for one in model.gates if isinstance(one, OwnGate)}:
        kept = (context.workdir / path.name).read_bytes()
        resources_of(context).bundles.write_evidence(state["bundle"], path.name, kept)
    return {"gates": gate_records(verdicts)}


def _keep(context: RunContext, state: State, verdicts: Sequence[GateVerdict], *, unasked: Sequence[str] = ()) -> None:
    report = report_text(context.run_id, state, verdicts, unasked=unasked)
    write_whole(context.workdir / "gates.json", gates_json(context.run_id, state, verdicts))
    write_whole(context.workdir / "report.md", report.encode())


def _refuse(context: RunContext, state: State, verdicts: Sequence[GateVerdict], *, unasked: Sequence[str] = ()) -> None:
    """Keep the verdicts and end the run. Raises Refused, in one sentence."""
    _keep(context, state, verdicts, unasked=unasked)
    place = run_place(context)
    vague = all(one.verdict.is_undecided for one in verdicts if one.refuses)
    hint = "; a gate that ends in ', undecided passes' lets through what cannot be told" if vague else ""
    raise Refused(
        f"{state['model']} run {context.run_id} refused: {refusal(verdicts)}; evidence in {place}{hint}",
        evidence_path=place,
        verdicts=gate_records(verdicts),
    )


def _data_evidence(context: RunContext, state: State, model: Model, tree: FeatureTree) -> DataEvidence:
    rows, data, contract = run_rows(context), state["data"], read_contract(model)
    as_of = datetime.fromisoformat(state["as_of"])
    start, end = (datetime.fromisoformat(data[name]) for name in ("start", "end"))
    versions = context.ledger.versions(model.name)
    former = former_trainings(versions)
    has_id = contract.only("id") is not None
    left_out = data["left_out"]
    drifts, unreadable = _drifts(context, model, contract, tree, rows, versions)
    own = [one for one in model.gates if isinstance(one, OwnGate) and one.before_training]
    counts = any(isinstance(one, MeasureGate) and one.measure == "duplicates" for one in model.gates)
    given = OwnGateEvidence(
        model=model.name,
        as_of=as_of,
        rows=rows.drop(TARGET, WEIGHT),
        y=rows[TARGET].to_numpy(),
        weight=rows[WEIGHT].to_numpy(),
        former=[one.to_dict() for one in former],
    )
    return DataEvidence(
        rows=rows.height,
        span=end - start,
        target=_target(model, rows),
        read=data.get("read", data["rows"]),
        violating=left_out.get("violating", 0),
        repeated=left_out.get("repeated_id", 0) if has_id else _repeated(rows) if counts else 0,
        has_id=has_id,
        newest=end,
        due=as_of - model.outcome.delay,
        window=model.train.window,
        broken=tuple(data.get("broken", ())),
        former=former,
        drifts=drifts,
        reference=f"v{versions[-1].number}" if versions else "",
        unreadable=unreadable,
        answered=_own_verdicts(context, model, own, given),
    )


def _target(model: Model, rows: pl.DataFrame) -> Interval:
    """The rate of positives, of a regression the mean outcome, each row counted once."""
    y = rows[TARGET].to_numpy()
    return wilson(float(y.sum()), y.size) if get_task(model.task).decides else mean_interval(y)


def _repeated(rows: pl.DataFrame) -> int:
    """Rows that repeat another one in every column."""
    return rows.height - rows.unique().height


def _drifts(
    context: RunContext,
    model: Model,
    contract: Contract,
    tree: FeatureTree,
    rows: pl.DataFrame,
    versions: Sequence[Version],
) -> tuple[list[ColumnDrift] | None, str | None]:
    """The columns held against the newest version's baseline, where a gate asks; or why they cannot be."""
    if not versions or not any(isinstance(one, DriftGate) for one in model.gates):
        return None, None
    try:
        baseline = resources_of(context).bundles.load(versions[-1].bundle).baseline
    except (BundleError, NotFound) as error:
        return None, str(error)
    unscored = np.full(rows.height, np.nan, dtype=np.float32)
    watched = profiled_frame(rows, contract, tree, tree.matrix(rows), unscored)
    weighted = model.data.weight is not None
    return column_drifts(baseline, watched, weight=rows[WEIGHT].to_numpy() if weighted else None), None


def _own_verdicts(
    context: RunContext, model: Model, gates: Sequence[OwnGate], evidence: OwnGateEvidence
) -> dict[str, Verdict]:
    """What the project's own gates say, each file kept beside the run's other evidence."""
    for path in {own_gate_path(one, model.folder) for one in gates}:
        _keep_file(context, model, path)
    return ask_own_gates(
        gates,
        evidence,
        folder=model.folder,
        scratch=context.workdir,
        clock=context.clock,
        stopped=context.should_stop,
    )


def _keep_file(context: RunContext, model: Model, path: os.PathLike[str]) -> None:
    name = os.path.basename(path)
    with open(path, "rb") as handle:
        content, kept = handle.read(), context.workdir / name
    if kept.exists() and kept.read_bytes() != content:
        raise Refused(f"{model.name}/{name} was changed while its gates were asked; start another run")
    write_whole(kept, content)


def _gate_evidence(context: RunContext, state: State, model: Model, spec: Spec) -> GateEvidence:
    frame = pl.read_parquet(context.workdir / JUDGED)
    thresholds = json.loads((context.workdir / "thresholds.json").read_bytes())
    objective = Objective.parse(spec.objective)
    candidate = _evaluation(frame, CANDIDATE, thresholds, model, objective)
    champion = None if state.get("champion") is None else _evaluation(frame, CHAMPION, thresholds, model, objective)
    own = [one for one in model.gates if isinstance(one, OwnGate) and not one.before_training]
    times_rows = any(isinstance(one, MeasureGate) and one.measure == "latency" for one in model.gates)
    test = _test_rows(context, state, model, whole=bool(own) or times_rows)
    answered = {record["name"]: Verdict.from_dict(record) for record in state.get("data_gates", [])}
    if own:
        given = _own_evidence(context, state, model, test, frame, candidate, champion)
        answered |= _own_verdicts(context, model, own, given)
    return GateEvidence(
        task=model.task,
        objective=objective,
        candidate=candidate,
        champion=champion,
        champion_name=None if champion is None else f"v{state['champion']}",
        # a logistic regression need not beat the yardstick that it is itself
        yardsticks={
            name: _evaluation(frame, f"yardstick_{name}", thresholds, model, objective)
            for name in yardsticks_of(model)
            if name != spec.learner
        },
        segments=_segments(model, test),
        measured=_measured(context, state, model, test),
        refits=read_refits(context.workdir, candidate, objective, task=model.task),
        answered=answered,
        seed=spec.seed,
    )


def held_out(context: RunContext, state: State) -> tuple[Evaluated, dict[str, np.ndarray]]:
    """The candidate on the held-out rows as `evaluate` kept it; segment → each row's value, shape (n,)."""
    model, spec = model_of(context, state), spec_of(context, state)
    frame = pl.read_parquet(context.workdir / JUDGED)
    thresholds = json.loads((context.workdir / "thresholds.json").read_bytes())
    candidate = _evaluation(frame, CANDIDATE, thresholds, model, Objective.parse(spec.objective))
    return candidate, _segments(model, _test_rows(context, state, model, whole=False))


def _test_rows(context: RunContext, state: State, model: Model, *, whole: bool) -> pl.DataFrame:
    """The rows that are judged by; whole, or their segments alone."""
    columns = None if whole else list(model.data.segments) or [TARGET]
    return split_of(context, state, columns=columns, held_out=True).test


def _segments(model: Model, test: pl.DataFrame) -> dict[str, np.ndarray]:
    return {name: test[name].cast(pl.String).fill_null("–").to_numpy() for name in model.data.segments}


def _evaluation(
    frame: pl.DataFrame, name: str, thresholds: Mapping[str, float | None], model: Model, objective: Objective
) -> Evaluated:
    """One model on the test rows, as `evaluate` kept it."""
    given = [column for column in frame.columns if column.startswith(f"{name}_p")]
    return get_task(model.task).evaluate(
        frame["y"].to_numpy(),
        frame[name].to_numpy(),
        weight=frame["weight"].to_numpy(),
        threshold=thresholds[name],
        costs=objective.costs,
        quantiles=frame.select(given).to_numpy() if given else None,
        levels=tuple(quantile_level(column.removeprefix(f"{name}_")) for column in given),
    )


def _measured(context: RunContext, state: State, model: Model, test: pl.DataFrame) -> dict[str, Measured]:
    """The numbers that gates ask for; how long a row takes is measured only where one does."""
    asked = {one.measure for one in model.gates if isinstance(one, MeasureGate)}
    off = f"{state['fit']['agreement']:.3g}".replace("e-0", "e-")
    found = {
        "agreement": Measured(value=state["fit"]["agreement"], says=f"graph and fitted model differ by up to {off}")
    }
    if asked & {"latency", "bundle"}:
        bundles = resources_of(context).bundles
        files = bundles.files(state["bundle"])
        size = sum(files.values())
        found["bundle"] = Measured(value=size, says=f"the bundle has {size / 1e6:.3g}MB", details={"files": files})
        if "latency" in asked:
            found["latency"] = row_latency(bundles.load(state["bundle"]), test)
    return found


def _own_evidence(
    context: RunContext,
    state: State,
    model: Model,
    test: pl.DataFrame,
    frame: pl.DataFrame,
    candidate: Evaluated,
    champion: Evaluated | None,
) -> OwnGateEvidence:
    task = get_task(model.task)
    given = [column for column in frame.columns if column.startswith(f"{CANDIDATE}_p")]
    return OwnGateEvidence(
        model=model.name,
        as_of=datetime.fromisoformat(state["as_of"]),
        rows=test.drop(TARGET, WEIGHT),
        y=candidate.y,
        weight=candidate.weights,
        score=candidate.score,
        decision=task.decide(candidate.score, candidate.threshold) if task.decides else None,
        threshold=candidate.threshold,
        quantiles=frame.select(given).rename(lambda name: name.removeprefix(f"{CANDIDATE}_")) if given else None,
        champion_score=None if champion is None else champion.score,
        champion_decision=task.decide(champion.score, champion.threshold) if champion and task.decides else None,
        metrics=state["metrics"],
        champion_metrics=state.get("champion_metrics") or {},
        former=[one.to_dict() for one in former_trainings(context.ledger.versions(model.name))],
    )
