"""Views made by hand, for asking `decide` without any file."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from everloop.control import AlertView, ModelView, Try, View
from everloop.ledger import AlertState, RoutingState, RunState, Version
from everloop.project import Model, parse_model
from everloop.rollout import Rollout, prepare

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
DAY = timedelta(days=1)


def model(on_alert: str = "rollout", **more: str) -> Model:
    lines = [
        "task: classification",
        "data: {source: rows.parquet, time: at, target: fraud}",
        "objective: recall at precision >= 0.80",
        "monitor: {checks: [schema, recall]}",
        f"on_alert: {on_alert}",
        *(f"{key}: {value}" for key, value in more.items()),
    ]
    found, mistakes = parse_model("\n".join(lines), name="fraud")
    assert found is not None, mistakes
    return found


def version(
    number: int,
    *,
    trigger: str = "person",
    spec: str = "fraud-s1",
    recall: float = 0.8,
    precision: float = 0.8,
    external: bool = False,
) -> Version:
    return Version(
        model="fraud",
        number=number,
        bundle=f"b{number}",
        run=f"r-{number}",
        spec=spec,
        spec_hash="h",
        at=NOW - 10 * DAY + number * DAY / 10,
        seq=number,
        role=None,
        metrics={
            name: {"point": point, "low": point - 0.1, "high": point + 0.1}
            for name, point in (("recall", recall), ("precision", precision))
        },
        data=None,
        trigger=trigger,
        record={"external": external},
    )


def routing(champion: int | None = 1) -> RoutingState:
    return RoutingState(
        model="fraud", revision=1, champion=champion, previous=None, challengers=(), reason="", at=NOW, seq=1
    )


def alert(
    name: str = "a-one",
    *,
    labels: bool = True,
    investigated: bool = False,
    proposal: str | None = None,
    approved: str | None = None,
    positives: int | None = None,
    check: str = "recall",
) -> AlertView:
    state = AlertState(
        alert=name,
        model="fraud",
        status="open",
        check=check,
        sentence="recall fell",
        evidence_kind="labels" if labels else "no labels",
        evidence={},
        window={"start": (NOW - 9 * DAY).isoformat(), "end": (NOW - 8 * DAY).isoformat()},
        policy="rollout",
        opened_at=NOW - DAY,
        closed_at=None,
        closed_reason=None,
        investigation=20 if investigated or proposal else None,
        proposal=proposal,
        seq=19,
        record={"version": 1},
    )
    return AlertView(
        state=state,
        since=NOW - 9 * DAY,
        proposal=proposal,
        proposal_seq=21 if proposal else None,
        approval_seq=22 if approved else None,
        by_policy=approved == "policy",
        positives=positives,
    )


def tried(positives: int, *, status: str = "refused", error: str = "") -> Try:
    return Try(run="r-x", spec="fraud-s2", status=status, as_of=NOW - DAY, positives=positives, error=error)


def run(status: Any = "running", trigger: str = "alert") -> RunState:
    return RunState(
        run="r-y",
        workflow="train",
        model="fraud",
        spec="fraud-s2",
        trigger=trigger,
        status=status,
        step=None,
        started_at=NOW,
        ended_at=None,
        sentence=None,
        evidence_path=None,
        seq=30,
        last_seq=30,
    )


def rollout(challenger: int = 2, *, answers_alert: bool = False) -> Rollout:
    return prepare(model(), challenger=challenger, champion=1, at=NOW - DAY, answers_alert=answers_alert)


def seen(**fields: Any) -> ModelView:
    """A model with one deployed version."""
    base: dict[str, Any] = {
        "model": model(),
        "routing": routing(),
        "versions": (version(1),),
        "been_champion": frozenset({1}),
        "looked_at": NOW,
    }
    return ModelView(**(base | fields))


def view(one: ModelView) -> View:
    return View(now=NOW, models=(one,))
