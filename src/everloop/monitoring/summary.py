"""The newest of what the monitor knows, for a status line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from everloop.ledger import AlertState, Fact, Ledger
from everloop.project import Model

__all__ = ["MonitorSummary", "WindowSummary", "latest"]


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowSummary:
    """One judged window. metrics: name → {point, low, high, rows, positives}. checks: name → (outcome, sentence)."""

    start: str
    end: str
    version: int | None
    rows: int
    matured: int
    positives: int
    metrics: Mapping[str, Mapping[str, Any]]
    checks: Mapping[str, tuple[str, str]]
    seq: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MonitorSummary:
    """The newest window of traffic, the newest of outcomes, open alerts and the last one; None where there is none."""

    model: str
    traffic: WindowSummary | None
    outcomes: WindowSummary | None
    open_alerts: tuple[AlertState, ...]
    last_alert: AlertState | None

    @property
    def metrics(self) -> Mapping[str, Mapping[str, Any]]:
        """The newest value of every metric, with or without labels."""
        parts = [one.metrics for one in (self.traffic, self.outcomes) if one is not None]
        return {name: value for part in parts for name, value in part.items()}

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return {
            "model": self.model,
            "traffic": _window_dict(self.traffic),
            "outcomes": _window_dict(self.outcomes),
            "open_alerts": [_alert_dict(alert) for alert in self.open_alerts],
            "last_alert": None if self.last_alert is None else _alert_dict(self.last_alert),
        }


def latest(model: Model, ledger: Ledger) -> MonitorSummary:
    """What was judged last, read from the ledger alone."""
    newest: dict[str, Fact] = {}
    for fact in ledger.facts(kind="check.done", subject=model.name, limit=60, newest_first=True):
        newest.setdefault(str(fact.payload["details"].get("kind", "")), fact)
    alerts = ledger.alerts(model.name)
    return MonitorSummary(
        model=model.name,
        traffic=_summed(newest.get("traffic")),
        outcomes=_summed(newest.get("outcomes")),
        open_alerts=tuple(alert for alert in alerts if alert.status == "open"),
        last_alert=alerts[-1] if alerts else None,
    )


def _summed(fact: Fact | None) -> WindowSummary | None:
    if fact is None:
        return None
    payload = fact.payload
    return WindowSummary(
        start=payload["window"]["start"],
        end=payload["window"]["end"],
        version=payload["version"],
        rows=payload["rows"],
        matured=payload["matured"],
        positives=int(payload["positives"]),
        metrics=payload["metrics"],
        checks={one["name"]: (one["outcome"], one["sentence"]) for one in payload["verdicts"]},
        seq=fact.seq,
    )


def _window_dict(one: WindowSummary | None) -> dict[str, Any] | None:
    if one is None:
        return None
    names = ("start", "end", "version", "rows", "matured", "positives")
    return {name: getattr(one, name) for name in names} | {
        "metrics": dict(one.metrics),
        "checks": {name: {"outcome": outcome, "sentence": said} for name, (outcome, said) in one.checks.items()},
    }


def _alert_dict(alert: AlertState) -> dict[str, Any]:
    names = ("alert", "status", "check", "sentence", "evidence_kind")
    return {name: getattr(alert, name) for name in names} | {"opened_at": alert.opened_at.isoformat()}
