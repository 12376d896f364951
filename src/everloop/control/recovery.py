"""Whether a new champion makes good what an alert was about: a pure question to what its gates measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from everloop.control.view import AlertView
from everloop.ledger import RoutingState, Version
from everloop.project import Model

__all__ = ["recovered"]


def recovered(
    model: Model, alerts: tuple[AlertView, ...], versions: tuple[Version, ...], routing: RoutingState | None
) -> bool:
    """Whether the champion, at its gates, did as well as the version that the first alert was about promised.

    One that plainly broke the objective's constraint there did not, whatever its metric.
    """
    if routing is None or not alerts:
        return False
    alerted = alerts[0].state.record.get("version")
    metric = model.objective.metric
    mine, theirs = (_point(versions, number, metric) for number in (routing.champion, alerted))
    if mine is None or theirs is None or routing.champion == alerted or _breaks(model, versions, routing.champion):
        return False
    return mine >= theirs if model.objective.maximise else mine <= theirs


def _breaks(model: Model, versions: tuple[Version, ...], number: int | None) -> bool:
    """Whether even the good end of the constraint's interval missed its bound."""
    constraint = model.objective.constraint
    if constraint is None:
        return False
    end = _point(versions, number, constraint.metric, end="high" if constraint.op.startswith(">") else "low")
    return end is not None and not constraint.holds(end)


def _point(versions: tuple[Version, ...], number: int | None, metric: str, *, end: str = "point") -> float | None:
    found = next((version for version in versions if version.number == number), None)
    value: Mapping[str, Any] | None = None if found is None else found.metrics.get(metric)
    return None if value is None or value.get(end) is None else float(value[end])
