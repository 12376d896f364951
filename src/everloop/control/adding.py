"""A version that something else serves is given its number, its reference and, where nobody answers yet, its place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from everloop.bundle import BundleStore
from everloop.clock import Clock
from everloop.data import EVENT_TIME, WEIGHT, Column, Contract, Rows, load_rows, read_contract, write_first_contract
from everloop.errors import ContractViolation, NotEnoughData, Refused, UsageError
from everloop.ledger import Estimate, Ledger, Version
from everloop.monitoring import of_external, parts_of_external
from everloop.project import METRICS, Model, Project
from everloop.rollout import deploy, load_rollout, load_routing, prepare, start
from everloop.tasks import Evaluated, error_bound, get_task

__all__ = ["AddedVersion", "add_version", "begin_rollout"]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class AddedVersion:
    """version: as registered. rows: of its reference. new: it was not known before. answers: by default, from now."""

    version: Version
    rows: int
    new: bool
    answers: bool

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return {
            "name": self.version.name,
            "version": self.version.number,
            "bundle": self.version.bundle,
            "rows": self.rows,
            "metrics": dict(self.version.metrics),
            "new": self.new,
            "answers": self.answers,
        }


def add_version(
    project: Project,
    ledger: Ledger,
    clock: Clock,
    *,
    model: str | None,
    number: int,
    actor: str,
    baseline: str | None = None,
    score: str | None = None,
    threshold: float | None = None,
) -> AddedVersion:
    """Register version `number` of a model as one that something else serves.

    baseline: the rows that its traffic is held against; data.source where it is None. score: their column with what the
    version said of them, where there is one: then what its metrics were is measured too. threshold: from which score on
    it decides. Where the model has no champion, the version is it from now on.
    Raises Refused where a rollout of our own would lose its champion, Conflict where the number is taken, and what
    reading the rows raises.
    """
    chosen = project.model(model)
    _refuse_threshold(project, chosen, number, threshold)
    known = next((one for one in ledger.versions(chosen.name) if one.number == number), None)
    if known is not None and known.external and baseline is None and score is None:
        return _answering(ledger, known, rows=int((known.data or {}).get("rows") or 0), new=False, actor=actor)
    if not chosen.contract_path.exists():
        write_first_contract(chosen, root=project.root)
    contract = read_contract(chosen)
    rows, scores = _rows(chosen, contract, baseline=baseline, score=score, now=clock)
    evaluation = _evaluated(chosen, rows, scores, threshold)
    metrics = {} if evaluation is None else _metrics(chosen, evaluation)
    weighted = chosen.data.weight is not None
    parts = parts_of_external(
        chosen,
        contract,
        rows.frame,
        scores,
        threshold=threshold,
        weight=rows.weight if weighted else None,
        metrics={name: one.point for name, one in metrics.items() if one.point is not None},
        error_bound=None if get_task(chosen.task).decides else error_bound(rows.y),
    )
    payload = of_external(
        chosen,
        BundleStore.of(project).write(parts),
        rows.frame,
        source=rows.source,
        trigger="person",
        threshold=threshold,
        metrics=metrics,
    )
    version, _ = ledger.register_version(chosen.name, payload, actor=actor, number=number)
    return _answering(ledger, version, rows=rows.frame.height, new=True, actor=actor)


def begin_rollout(project: Project, ledger: Ledger, clock: Clock, *, model: str | None, number: int, actor: str) -> str:
    """Begin to expose a registered version against the champion, on a person's name; the rollout's id.

    Raises NotFound, Refused (there is no champion, or it is the version; a regression whose champion has no bound of
    errors), Conflict while another rollout goes on.
    """
    chosen = project.model(model)
    version = ledger.version(chosen.name, number)
    routing = load_routing(ledger, chosen.name)
    if routing.champion is None or routing.champion == number:
        why = "answers already" if routing.champion == number else f"has nobody to be tried against: {chosen.name} has"
        raise Refused(f"{version.name} {why}" + ("" if routing.champion == number else " no champion yet"))
    champion = ledger.version(chosen.name, routing.champion)
    if not get_task(chosen.task).decides:
        bound = BundleStore.of(project).manifest(champion.bundle).error_bound
        if not isinstance(bound, float):
            raise Refused(
                f"{champion.name} has no bound of errors, in which two versions of a regression are compared; register "
                f"it under another number with rows that hold {chosen.data.target}: everloop model add --baseline FILE"
            )
    prepared = prepare(chosen, challenger=number, champion=routing.champion, at=clock.now())
    begun = start(ledger, prepared, actor=actor, reason=f"begun by {actor}")
    return begun.id


def _refuse_threshold(project: Project, model: Model, number: int, threshold: float | None) -> None:
    decides = get_task(model.task).decides
    if not decides and threshold is not None:
        raise UsageError(f"{model.name} is a regression and decides nothing; leave --threshold out")
    if decides and threshold is None and number in model.upstreams:
        raise UsageError(
            f"the server of v{number} answers scores, and what follows from them is not said: give --threshold 0.5, or "
            f"from which score on it is {model.positive_label}"
        )


def _answering(ledger: Ledger, version: Version, *, rows: int, new: bool, actor: str) -> AddedVersion:
    routing = load_routing(ledger, version.model)
    if routing.champion is None and load_rollout(ledger, version.model) is None:
        reason = f"v{version.number}, which something else serves, is the first version"
        routing = deploy(ledger, version.model, version.number, actor=actor, reason=reason, cause=version.seq)
    answers = routing.champion == version.number
    return AddedVersion(version=version, rows=rows, new=new, answers=answers)


def _rows(
    model: Model, contract: Contract, *, baseline: str | None, score: str | None, now: Clock
) -> tuple[Rows, Array]:
    """The labelled rows of the reference, and what the version said of them: shape (rows,), NaN where not known."""
    read = contract if score is None else _with_score(model, contract, score)
    if baseline is not None:
        data = model.data.model_copy(update={"source": baseline})
        model = model.model_copy(update={"data": data})
    rows = load_rows(model, read, as_of=now.now(), both_classes=False)
    if score is None:
        return rows, np.full(rows.frame.height, np.nan)
    return rows, rows.frame[score].cast(float).fill_null(float("nan")).to_numpy()


def _with_score(model: Model, contract: Contract, score: str) -> Contract:
    """The contract with a column of scores to be read beside the row's own, of which it is none."""
    others = tuple(one for one in contract.columns if one.name != score)
    known = next((one for one in contract.columns if one.name == score), None)
    if known is not None and known.role != "ignored":
        raise ContractViolation(
            f"{score!r} has the role {known.role} in {model.name}/contract.yaml, and cannot be what the version said "
            "of the rows as well; write role: ignored there"
        )
    return msgspec.structs.replace(
        contract, columns=(*others, Column(name=score, type="float", role="input", nullable=True))
    )


def _evaluated(model: Model, rows: Rows, scores: Array, threshold: float | None) -> Evaluated | None:
    known = np.isfinite(scores)
    if not known.any():
        return None
    weight = rows.frame[WEIGHT].to_numpy()[known] if model.data.weight is not None else None
    y = rows.y[known] if rows.numeric else rows.y[known] == 1
    assert EVENT_TIME in rows.frame.columns
    return get_task(model.task).evaluate(
        y, scores[known], weight=weight, threshold=threshold, costs=model.objective.costs
    )


def _metrics(model: Model, evaluation: Evaluated) -> dict[str, Estimate]:
    """What its traffic's outcomes are held against; a metric that these rows cannot give is left out."""
    decides = get_task(model.task).decides
    shares = ("recall", "precision", "accuracy") if decides else ()
    wanted = dict.fromkeys([*shares, model.objective.metric, *(one for one in model.monitor.checks if one in METRICS)])
    counts = {"rows": float(evaluation.rows), "positives": float(evaluation.positives)}
    found = {}
    for name in wanted:
        try:
            interval = evaluation.interval(name)
        except (NotEnoughData, ValueError):  # without a threshold there are no decisions to judge
            continue
        found[name] = Estimate(point=interval.point, low=interval.low, high=interval.high, **counts)
    return found
