"""Versions that something else serves, watched over the real ledger, bundles and log."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from everloop.data import EVENT_TIME, write_contract
from everloop.monitoring import WindowReport
from everloop.monitoring.external import first_metric, first_windows
from everloop.monitoring.labelled import Counted
from everloop.traffic import PredictionBatch, Spool, Window, row_digest

from .world import CONTRACT, DAY, MODEL_YAML, START, Rows, World, record, rows_of_day

YAML = MODEL_YAML.replace("on_alert: rollout", "on_alert: notify").replace(
    ", acts: {column: action, blocked: [declined], holdout: 1%}", ""
)


@pytest.fixture
def beside(tmp_path: Path) -> World:
    """A project that has a contract and no version."""
    world = World(tmp_path, model_yaml=YAML)
    write_contract(world.model.contract_path, CONTRACT)
    return world


def told(world: World, rows: Rows, version: int = 7, *, threshold: float | None = None, catches: bool = True) -> None:
    """Rows as another server answered them: by `risk`, or, where it is broken, by nothing."""
    frame, n = rows.frame, rows.frame.height
    risk = frame["risk"].to_numpy() if catches else np.random.default_rng(n).normal(size=n)
    score = (1.0 / (1.0 + np.exp(6.0 - 2.0 * risk))).astype(np.float32)
    ids, times = frame["id"].to_list(), frame[EVENT_TIME].to_physical().to_numpy()
    batch = PredictionBatch(
        model="fraud",
        routing_revision=0,
        ids=ids,
        digests=[row_digest({"id": one}) for one in ids],
        answers=[b"{}"] * n,
        event_time_us=times,
        entities=[None] * n,
        versions=(version,),
        thresholds=(threshold,),
        scores=score[:, None],
        decisions=(score >= 0.5)[:, None],
        answered=np.zeros(n, dtype=np.int64),
        sides=["champion"] * n,
        propensities=np.ones(n),
        inputs=frame.drop(EVENT_TIME, "paid_at"),
        decided=frozenset({version}),
    )
    said = [
        record(ids[place], "fraud", True, int(times[place]) + 3_600_000_000)
        for place in np.flatnonzero(rows.y).tolist()
    ]
    with Spool.open(world.project.paths.spool, clock=world.clock) as spool:
        spool.append_predictions(batch)
        spool.append_outcomes("fraud", said)
    world.move()


def day(world: World, k: int, *, changed: Mapping[str, float] | None = None, **options: object) -> list[WindowReport]:
    rows = rows_of_day(START + k * DAY, seed=world.seed)
    if changed:
        moved = [(pl.col(name) * factor).alias(name) for name, factor in changed.items()]
        rows = replace(rows, frame=rows.frame.with_columns(moved))
    told(world, rows, **options)  # type: ignore[arg-type]
    world.clock.set(START + (k + 1) * DAY)
    return world.monitor().judge()


def test_an_unknown_version_gets_its_reference_from_its_first_window_and_is_judged_by_it(beside: World) -> None:
    [first] = day(beside, 0)
    assert {check.verdict.outcome for check in first.checks} == {"undecided"}
    assert "this window is the reference of v7, which something else serves" in first.checks[0].verdict.sentence
    version = beside.ledger.version("fraud", 7)
    assert version.external
    assert version.trigger == "traffic"
    assert version.data is not None
    assert version.data["rows"] == first.rows
    bundle = beside.bundles.load(version.bundle)
    assert bundle.external
    assert set(bundle.baseline.names) == {"amount", "risk", "noise", "country", "__score"}
    [second] = day(beside, 1)
    assert {check.name: check.verdict.outcome for check in second.checks} == dict.fromkeys(
        ("schema", "drift", "score"), "passed"
    )
    assert {"mean_score", "decision_share"} <= set(second.metrics)  # no risk: its threshold is not known
    reports = day(beside, 2, changed={"amount": 9.0})
    [drift] = [check for report in reports for check in report.failed]
    assert drift.name == "drift"
    assert "amount moved" in drift.verdict.sentence
    [alert] = beside.ledger.alerts("fraud", open_only=True)
    assert alert.record["version"] == 7


def test_a_loss_of_recall_is_found_against_the_first_matured_windows(beside: World) -> None:
    reports = [report for k in range(10) for report in day(beside, k)]
    assert [check for report in reports for check in report.failed] == []
    matured = [report for report in reports if report.kind == "outcomes"]
    said = [next(check.verdict for check in report.checks if check.name == "recall") for report in matured]
    assert said[0].outcome == "undecided"
    assert "first matured windows of v7" in said[0].sentence
    assert said[-1].outcome == "passed"
    later = [report for k in range(10, 17) for report in day(beside, k, catches=False)]
    failed = {check.name for report in later for check in report.failed}
    assert "recall" in failed
    assert "recall" in {alert.check for alert in beside.ledger.alerts("fraud", open_only=True)}


def test_too_few_rows_are_no_reference_and_the_next_window_is(beside: World) -> None:
    rows = rows_of_day(START, seed=0)
    told(beside, Rows(frame=rows.frame[:60], y=rows.y[:60]))
    beside.clock.set(START + DAY)
    [first] = beside.monitor().judge()
    assert "60 rows of v7, which something else serves, are too few" in first.checks[0].verdict.sentence
    assert beside.ledger.versions("fraud") == []
    day(beside, 1)
    assert [one.number for one in beside.ledger.versions("fraud")] == [7]
    [unknown] = [report for report in day(beside, 2) if report.kind == "outcomes"]
    assert unknown.window.start == START


def test_a_threshold_that_every_row_tells_is_the_versions(beside: World) -> None:
    day(beside, 0, threshold=0.5)
    version = beside.ledger.version("fraud", 7)
    assert version.record["threshold"] == 0.5
    [second] = day(beside, 1, threshold=0.5)
    assert "high_risk_share" in second.metrics


def test_first_windows_are_as_many_as_tell_something() -> None:
    seen = [
        Counted(window=Window(start=START + k * DAY, end=START + (k + 1) * DAY), successes=18, n=20) for k in range(5)
    ]
    expected, rest = first_windows(seen)
    assert expected is not None
    assert (expected.successes, expected.n, len(rest)) == (54, 60, 2)
    assert first_windows(seen[:2]) == (None, ())
    assert first_metric("mae", [{}, {"metrics": {"mae": [2.0, 0.0]}}]) is None
    assert first_metric("mae", [{"metrics": {"mae": [2.0, 0.5]}}]) == {"point": 2.0, "low": 1.02, "high": 2.98}
