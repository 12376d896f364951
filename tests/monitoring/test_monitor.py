"""The monitor over a real ledger, real bundles and the real traffic log."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from everloop.ledger import Ledger
from everloop.monitoring import Monitor, WindowReport, latest

from .world import DAY, DELAY, MODEL_YAML, START, Rows, World, rows_of_day


def sentences(reports: list[WindowReport]) -> list[str]:
    return [check.verdict.sentence for report in reports for check in report.failed]


def test_a_quiet_week_is_judged_day_by_day_without_an_alert(world: World) -> None:
    version, monitor = world.version().number, world.monitor()
    reports = []
    for k in range(7):
        world.day(k, [version])
        reports += monitor.judge()
    kinds = [(report.kind, (report.window.start - START).days) for report in reports]
    assert kinds == [
        ("traffic", 0), ("traffic", 1),
        *((kind, day) for k in range(2, 7) for kind, day in (("traffic", k), ("outcomes", k - 2))),
    ]  # fmt: skip
    assert sentences(reports) == []
    assert world.ledger.alerts("fraud") == []
    assert {"mean_score", "high_risk_share", "medium_risk_share", "low_risk_share", "decision_share"} <= {
        *reports[0].metrics
    }
    last = reports[-1]
    assert last.matured == last.rows
    assert last.metrics["recall"].low is not None
    assert monitor.judge() == []
    assert world.monitor().judge() == []
    assert len(world.ledger.facts(kind="check.done", subject="fraud")) == len(reports)


@pytest.mark.parametrize("seed", [1, 2])
def test_two_quiet_months_keep_to_a_budget_of_an_alarm_a_month(tmp_path: Path, seed: int) -> None:
    """Law 7 over all that a monitor asks, at 0.2 % positives and a budget small enough to be counted."""
    monthly = MODEL_YAML.replace("1 per 10y", "1 per 30d")
    world = World(tmp_path, seed=seed, model_yaml=monthly)
    rare = {"rows": 3_000, "frauds": 6}
    version = world.version(bias=-9.0, days=60, **rare).number
    world.days(60, [version], **rare)
    reports = world.monitor().judge(settled=True)
    assert len(reports) >= 115
    assert {check.name for report in reports for check in report.checks} == {*world.model.monitor.checks}
    assert sum(not check.verdict.is_undecided for report in reports for check in report.checks) >= 250
    assert len(world.ledger.alerts("fraud")) <= 2


def test_a_monitor_that_begins_anew_each_day_writes_what_one_that_goes_on_writes(tmp_path: Path) -> None:
    histories = []
    for name in ("one", "many"):
        world = World(tmp_path / name)
        version, monitor = world.version().number, world.monitor()
        for k in range(8):
            world.day(k, [version], new=25 if k >= 3 else 0)
            monitor = monitor if name == "one" else world.monitor()
            monitor.judge()
        facts = world.ledger.facts(kind=["check.done", "alert.opened"])
        histories.append([(fact.kind, fact.subject, fact.payload) for fact in facts])
    assert histories[0] == histories[1]


def test_days_judged_late_are_the_days_judged_in_time(tmp_path: Path) -> None:
    checks = []
    for name, every_day in (("daily", True), ("late", False)):
        world = World(tmp_path / name)
        version, monitor = world.version().number, world.monitor()
        for k in range(5):
            world.day(k, [version])
            if every_day:
                monitor.judge()
        monitor.judge()
        facts = world.ledger.facts(kind="check.done")
        checks.append(sorted((fact.payload["window"]["start"], str(fact.payload["metrics"])) for fact in facts))
    assert checks[0] == checks[1]


def test_a_fall_of_recall_is_alerted_within_days_and_once(world: World) -> None:
    version, monitor = world.version().number, world.monitor()
    opened = []
    for k in range(10):
        world.day(k, [version], new=25 if k >= 3 else 0)
        opened += [(k, alert) for report in monitor.judge() for alert in report.opened]
    assert len(opened) == 1
    day, name = opened[0]
    # What changes on day 3 matures on day 5, which is over when day 5 ends.
    assert 3 + DELAY.days <= day <= 3 + DELAY.days + 4
    alert = world.ledger.alerts("fraud")[0]
    assert alert.alert == name
    assert (alert.check, alert.evidence_kind, alert.policy) == ("recall", "labels", "rollout")
    assert alert.sentence.startswith("recall fell: 0.")
    assert "in the matured day" in alert.sentence
    assert "positives were caught" in alert.sentence
    fact = world.ledger.fact(alert.seq)
    assert world.ledger.fact(fact.cause or 0).kind == "check.done"
    shown = latest(world.model, world.ledger)
    assert shown.last_alert == alert
    assert shown.metrics["recall"]["point"] < 0.65
    assert shown.metrics["mean_score"]["point"] > 0


def test_the_alert_closes_once_another_champion_restores_what_was_expected(world: World) -> None:
    first, monitor = world.version().number, world.monitor()
    for k in range(6):
        world.day(k, [first], new=25 if k >= 2 else 0)
        monitor.judge()
    assert [alert.status for alert in world.ledger.alerts("fraud")] == ["open"]
    second = world.version(weights=(0.0, 2.0, 0.0, 0.0), bias=-6.0).number
    for k in range(6, 14):
        # The second version serves a world in which the new frauds are gone: its recall is what the first one's was.
        world.day(k, [second])
        monitor.judge()
    alert = world.ledger.alerts("fraud")[0]
    assert alert.status == "closed"
    assert alert.closed_reason is not None
    assert alert.closed_reason.startswith(f"v{second} restored it: recall 0.")


def test_an_alert_stays_open_while_the_next_champion_repairs_only_half(world: World) -> None:
    first, monitor = world.version().number, world.monitor()
    for k in range(6):
        world.day(k, [first], new=25 if k >= 2 else 0)
        monitor.judge()
    second = world.version(weights=(0.0, 2.1, 0.0, 0.0)).number
    for k in range(6, 12):
        world.day(k, [second], new=15)
        monitor.judge()
    assert world.ledger.alerts("fraud")[0].status == "open"


@pytest.mark.parametrize(
    ("change", "check", "said"),
    [
        (pl.col("amount") * 100, "drift", "amount moved by"),
        (pl.lit(None, dtype=pl.Float64).alias("risk"), "schema", "risk is missing in 100%"),
        (pl.lit("XX").alias("country"), "schema", "country has a value that the baseline does not know"),
    ],
)
def test_a_gross_shift_is_alerted_on_its_first_day_without_labels(
    world: World, change: pl.Expr, check: str, said: str
) -> None:
    version, monitor = world.version().number, world.monitor()
    world.day(0, [version])
    assert sentences(monitor.judge()) == []
    rows = rows_of_day(START + DAY, seed=world.seed)
    world.serve(type(rows)(frame=rows.frame.with_columns(change), y=rows.y), [version])
    world.clock.set(START + 2 * DAY)
    found = monitor.judge()
    assert any(said in sentence for sentence in sentences(found))
    alerts = {alert.check: alert for alert in world.ledger.alerts("fraud")}
    assert alerts[check].evidence_kind == "no labels"
    # It goes on, and is one alert; it ends, and the alert closes after a week of passing.
    for k in range(2, 10):
        world.day(k, [version])
        monitor.judge()
    assert {alert.check: alert.status for alert in world.ledger.alerts("fraud")}[check] == "closed"
    assert len([alert for alert in world.ledger.alerts("fraud") if alert.check == check]) == 1


def test_an_hour_of_a_day_does_not_look_like_a_shift(world: World) -> None:
    version, monitor = world.version().number, world.monitor()
    rows = rows_of_day(START, seed=1)
    hour = (rows.frame["event_time"].dt.hour() == 13).to_numpy()
    world.serve(type(rows)(frame=rows.frame.filter(hour), y=rows.y[hour]), [version])
    world.clock.set(START + DAY)
    assert sentences(monitor.judge()) == []


def test_what_is_known_later_is_not_used_before(world: World) -> None:
    """Law 8."""
    version, monitor = world.version().number, world.monitor()
    rows = rows_of_day(START, seed=3)
    world.serve(rows, [version], known_after=DELAY + timedelta(hours=25))
    world.clock.set(START + DAY + DELAY)
    report = next(one for one in monitor.judge() if one.kind == "outcomes")
    assert report.positives == 0
    assert report.matured == rows.frame.height


def test_rows_whose_answer_kept_their_outcome_from_happening_are_left_out(world: World) -> None:
    version, monitor = world.version().number, world.monitor()
    rows = rows_of_day(START, seed=3)
    world.serve(rows, [version], declined=range(0, rows.frame.height, 2))
    world.clock.set(START + DAY + DELAY)
    report = next(one for one in monitor.judge() if one.kind == "outcomes")
    assert report.matured == rows.frame.height // 2
    assert report.numbers["blocked"] == rows.frame.height - report.matured
    assert report.positives == int(rows.y[1::2].sum())


@pytest.mark.parametrize("let_through", [0.1, 0.0])
@pytest.mark.parametrize("absent", ["negative", "unknown"])
def test_what_is_declined_for_its_answer_does_not_look_like_a_fall_of_recall(
    tmp_path: Path, let_through: float, absent: str
) -> None:
    """Law 7 where an answer acts on its own outcome: all that was missed is seen, and little of what was caught."""
    world = World(tmp_path, model_yaml=MODEL_YAML.replace("absent: negative", f"absent: {absent}"))
    version, monitor = world.version().number, world.monitor()
    for k in range(8):
        rows = rows_of_day(START + k * DAY, seed=world.seed, frauds=120)
        world.serve_declining(rows, [version], let_through=let_through, silent=absent == "negative")
        world.clock.set(START + (k + 1) * DAY)
        monitor.judge()
    assert label_alerts(world) == []
    outcomes = judged_outcomes(world)
    assert len(outcomes) == 6  # none is asked again, also where nothing was let through
    assert sum(one["positives"] for one in outcomes) > 20 or not let_through
    if not let_through:
        assert "nothing that was flagged was let through" in str(outcomes[-1]["verdicts"])


def test_few_rows_that_are_declined_for_their_answer_do_not_look_like_a_fall_of_recall(world: World) -> None:
    """Law 7 where a window alone is too small to tell why its rows were blocked; together they tell it."""
    small = {"rows": 300, "frauds": 4}
    version, monitor = world.version(days=60, **small).number, world.monitor()
    for k in range(60):
        rows = rows_of_day(START + k * DAY, seed=world.seed, **small)
        world.serve_declining(rows, [version], let_through=0.1)
        world.clock.set(START + (k + 1) * DAY)
        monitor.judge()
    assert label_alerts(world) == []
    outcomes = judged_outcomes(world)
    untold = ["too few to tell" in str(one["verdicts"]) for one in outcomes]
    assert untold[0]
    assert not any(untold[10:])


def test_few_rows_that_are_declined_whatever_their_answer_all_count(world: World) -> None:
    small = {"rows": 300, "frauds": 4}
    version, monitor = world.version(days=60, **small).number, world.monitor()
    for k in range(20):
        rows = rows_of_day(START + k * DAY, seed=world.seed, **small)
        world.serve(rows, [version], declined=range(0, rows.frame.height, 10))
        world.clock.set(START + (k + 1) * DAY)
        monitor.judge()
    for one in judged_outcomes(world)[3:]:
        assert one["matured"] == one["rows"] - one["details"]["numbers"]["blocked"]


def label_alerts(world: World) -> list[str]:
    return [alert.check for alert in world.ledger.alerts("fraud") if alert.evidence_kind == "labels"]


def judged_outcomes(world: World) -> list[dict[str, Any]]:
    judged = [fact.payload for fact in world.ledger.facts(kind="check.done") if fact.payload["matured"] is not None]
    return [one for one in judged if one["details"]["kind"] == "outcomes"]


def test_a_window_is_judged_against_whoever_answered_most_of_it(world: World) -> None:
    first, second = world.version().number, world.version(bias=-5.0).number
    monitor = world.monitor()
    rows = rows_of_day(START, seed=1)
    early = (rows.frame["event_time"].dt.hour() < 6).to_numpy()
    world.serve(type(rows)(frame=rows.frame.filter(early), y=rows.y[early]), [first, second])
    world.serve(type(rows)(frame=rows.frame.filter(~early), y=rows.y[~early]), [second])
    world.clock.set(START + DAY)
    assert [report.version for report in monitor.judge()] == [second]


def test_empty_days_say_nothing_and_do_not_stop_the_next(world: World) -> None:
    version, monitor = world.version().number, world.monitor()
    world.day(0, [version])
    world.day(3, [version])
    days = [(report.window.start - START).days for report in monitor.judge() if report.kind == "traffic"]
    assert days == [0, 3]
    assert latest(world.model, world.ledger).outcomes is not None


def test_without_traffic_there_is_nothing_to_say(world: World) -> None:
    world.version()
    assert world.monitor().judge() == []
    shown = latest(world.model, world.ledger)
    assert (shown.traffic, shown.outcomes, shown.last_alert) == (None, None, None)
    assert shown.to_dict()["open_alerts"] == []


def judged(monitor: Monitor, **options: bool) -> list[tuple[str, int]]:
    return [(one.kind, (one.window.start - START).days) for one in monitor.judge(**options)]


def test_traffic_of_another_year_is_judged_when_it_has_come_in(world: World) -> None:
    """A file sent through today: its days are long over, but more of them and their outcomes may still be coming."""
    version, monitor = world.version().number, world.monitor()
    world.clock.set(START + 400 * DAY)
    for k in (0, 1):
        world.serve(rows_of_day(START + k * DAY, seed=1), [version])
    assert judged(monitor) == []
    world.clock.advance(timedelta(minutes=1))
    both = [("traffic", 0), ("traffic", 1), ("outcomes", 0), ("outcomes", 1)]
    assert judged(monitor) == both
    world.serve(rows_of_day(START + 2 * DAY, seed=1), [version])
    assert judged(monitor, settled=True) == [("traffic", 2), ("outcomes", 2)]


def test_a_stream_of_another_year_that_never_ends_is_judged_in_its_own_time(world: World) -> None:
    version, monitor = world.version().number, world.monitor()
    world.clock.set(START + 400 * DAY)
    found = []
    for k in range(4):
        world.serve(rows_of_day(START + k * DAY, seed=1), [version])
        found.append(judged(monitor))
        world.clock.advance(DAY)
    assert found == [[], [("traffic", 0)], [("traffic", 1)], [("traffic", 2), ("outcomes", 0)]]


@pytest.mark.parametrize("k", [0, 400])
def test_a_row_dated_ahead_of_the_clock_ends_no_window_and_counts_in_its_own(world: World, k: int) -> None:
    version, monitor = world.version().number, world.monitor()
    world.clock.set(START + (k + 0.5) * DAY)
    whole = rows_of_day(START, seed=1)
    ahead = rows_of_day(START + (k + 1) * DAY, seed=1, rows=20, frauds=0)
    half = (whole.frame["event_time"] < START + DAY / 2).to_numpy()
    for side in (half, ~half):
        world.serve(Rows(whole.frame.filter(side), whole.y[side]), [version])
        world.serve(ahead, [version])
        assert judged(monitor) == []
    world.clock.set(START + (k + 1) * DAY)
    (first,) = [one for one in monitor.judge() if one.kind == "traffic"]
    assert (first.window.start, first.rows) == (START, whole.frame.height)
    world.clock.set(START + (k + 2) * DAY)
    (second,) = [one for one in monitor.judge() if one.kind == "traffic"]
    assert second.rows == ahead.frame.height


def test_the_chain_verifies(world: World) -> None:
    version, monitor = world.version().number, world.monitor()
    for k in range(6):
        world.day(k, [version], new=30 if k else 0)
        monitor.judge()
    assert world.ledger.verify().ok
    with Ledger.open(world.project, clock=world.clock) as again:
        assert [alert.alert for alert in again.alerts("fraud")] == [
            alert.alert for alert in world.ledger.alerts("fraud")
        ]


def test_a_row_of_another_age_costs_no_look_at_every_day_since(world: World) -> None:
    version, monitor = world.version().number, world.monitor()
    world.day(0, [version])
    world.day(400, [version])
    due = {one.window.start for one in monitor.due(settled=True) if one.kind == "traffic"}
    assert due == {START, START + timedelta(days=400)}
