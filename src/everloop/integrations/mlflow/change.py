"""What a fact says about a run, in MLflow's words: tags, params, metrics, a status. Pure."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from everloop.ledger import Fact

__all__ = ["Change", "change_of", "evidence_text", "hyperparameters", "key", "text"]

_LONGEST_TAG: Final = 5000
_LONGEST_PARAM: Final = 500
_LONGEST_KEY: Final = 250
_STATUS: Final = {
    "run.finished": ("FINISHED", "finished"),
    "run.refused": ("FAILED", "refused"),
    "run.failed": ("FAILED", "failed"),
    "run.cancelled": ("KILLED", "cancelled"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What to write on a run. status: MLflow's own, where the run ended."""

    tags: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    status: str | None = None


def key(name: str) -> str:
    """A name that MLflow takes for a tag, a param or a metric."""
    return re.sub(r"[^\w .:/-]", "_", name)[:_LONGEST_KEY]


def text(value: object, *, longest: int = _LONGEST_TAG) -> str:
    """A value as MLflow keeps it: text, cut to what every server takes."""
    shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True, default=str)
    return shown if len(shown) <= longest else f"{shown[: longest - 1]}…"


def change_of(fact: Fact) -> Change:
    """The change that a fact is to its run; an empty one for kinds that say nothing of it."""
    match fact.kind:
        case "run.started":
            return _started(fact.payload)
        case "run.configured":
            return _configured(fact.payload)
        case "run.step":
            return _step(fact.payload)
        case "version.registered":
            return _registered(fact.payload)
        case kind if kind in _STATUS:
            return _ended(kind, fact.payload)
        case _:
            return Change()


def hyperparameters(values: Mapping[str, Any]) -> dict[str, str]:
    """A learner's hyperparameters as params, under their own names."""
    return {key(name): text(value, longest=_LONGEST_PARAM) for name, value in values.items()}


def _tags(payload: Mapping[str, Any], *names: str) -> dict[str, str]:
    return {f"everloop.{name}": text(payload[name]) for name in names if payload.get(name) not in (None, "")}


def _params(payload: Mapping[str, Any], *names: str, prefix: str = "") -> dict[str, str]:
    given = {name: payload[name] for name in names if payload.get(name) not in (None, "")}
    return {f"{prefix}{name}": text(value, longest=_LONGEST_PARAM) for name, value in given.items()}


def _started(payload: Mapping[str, Any]) -> Change:
    tags = _tags(payload, "run", "workflow", "model", "spec", "spec_hash", "trigger")
    tags |= _tags(payload.get("inputs", {}), "alert", "as_of")
    return Change(tags=tags | {"everloop.status": "running"}, params=_params(payload, "spec"))


def _configured(payload: Mapping[str, Any]) -> Change:
    tags = _tags(payload, "spec", "spec_hash", "store", "modifier") | _store_version(payload)
    params = _params(payload, "spec", "learner") | hyperparameters(payload["hyperparameters"])
    return Change(tags=tags, params=params)


def _store_version(payload: Mapping[str, Any]) -> dict[str, str]:
    return {"everloop.store_version": text(payload["version"])} if payload["version"] else {}


def _step(payload: Mapping[str, Any]) -> Change:
    outputs = payload["outputs"]
    metrics = _metrics(outputs.get("metrics")) | _number("threshold", outputs.get("threshold"))
    metrics |= _number(key(f"seconds/{payload['step']}"), payload["seconds"])
    return Change(tags=_tags(outputs, "bundle"), params=_data(outputs.get("data")), metrics=metrics)


def _registered(payload: Mapping[str, Any]) -> Change:
    tags = _tags(payload, "bundle", "spec", "spec_hash", "trigger", "alert", "evidence_path")
    tags |= {"everloop.version": f"{payload['model']}/v{payload['number']}"} | _gates(payload["verdicts"])
    metrics = _metrics(payload["metrics"]) | _number("threshold", payload.get("threshold"))
    return Change(tags=tags, params=_params(payload, "spec") | _data(payload.get("data")), metrics=metrics)


def _ended(kind: str, payload: Mapping[str, Any]) -> Change:
    status, said = _STATUS[kind]
    verdicts = payload.get("verdicts", [])
    tags = {"everloop.status": said} | _tags(payload, "sentence", "step", "evidence_path", "error") | _gates(verdicts)
    if payload.get("sentence"):
        tags["mlflow.note.content"] = text(payload["sentence"])
    return Change(tags=tags, metrics=_judged(verdicts), status=status)


def _data(data: object) -> dict[str, str]:
    names = ("rows", "positives", "start", "end", "source", "hash")
    return _params(data, *names, prefix="data.") if isinstance(data, Mapping) else {}


def _gates(verdicts: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """One tag per gate, in order: a gate's own text holds `>=`, which MLflow takes for no key."""
    return {
        f"everloop.gate.{place:02d}": text(f"{one['name']}: {one['outcome']}: {one['sentence']}")
        for place, one in enumerate(verdicts, 1)
    }


def evidence_text(payload: Mapping[str, Any]) -> str:
    """What a version stands on, in Markdown: MLflow shows it as the version's description."""
    gates = [f"| {one['name']} | {one['outcome']} | {one['sentence']} |" for one in payload["verdicts"]]
    measured = [f"| {name} | {_interval(value)} |" for name, value in payload["metrics"].items()]
    lines = [f"{payload['spec']}, trained by {payload['run']} ({payload['trigger']}).", ""]
    lines += ["| gate | verdict | sentence |", "|---|---|---|", *gates, ""] if gates else []
    lines += ["| metric | value, 95 % interval |", "|---|---|", *measured] if measured else []
    return text("\n".join(lines))


def _interval(estimate: Mapping[str, Any]) -> str:
    if estimate.get("point") is None:
        return "–"
    ends = [estimate.get("low"), estimate.get("high")]
    return f"{estimate['point']:.4g}" + ("" if None in ends else f" [{ends[0]:.4g}, {ends[1]:.4g}]")


def _metrics(estimates: object) -> dict[str, float]:
    """`recall`, `recall.low`, `recall.high` of every estimate."""
    found: dict[str, float] = {}
    if not isinstance(estimates, Mapping):  # a long one is cut to a text
        return found
    for name, estimate in estimates.items():
        if isinstance(estimate, Mapping):
            found |= _number(key(name), estimate.get("point"))
            found |= _number(key(f"{name}.low"), estimate.get("low"))
            found |= _number(key(f"{name}.high"), estimate.get("high"))
    return found


def _judged(verdicts: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The metrics that gates measured of the candidate itself: those they hold against a bound."""
    found: dict[str, float] = {}
    for evidence in (one["evidence"] for one in verdicts):
        if "bound" in evidence and isinstance(evidence.get("metric"), str):
            found |= _number(key(evidence["metric"]), evidence.get("point"))
    return found


def _number(name: str, value: object) -> dict[str, float]:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return {}
    return {name: float(value)}
