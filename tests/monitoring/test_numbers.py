"""A regression's windows and comparisons: by their false alarms, their error rates and their power."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from rich.console import Console

from everloop.errors import ContractViolation
from everloop.monitoring import check_file, file_check_screen
from everloop.monitoring.comparison import Compared, Tally, judged
from everloop.monitoring.labelled import metric_verdict
from everloop.monitoring.monitor import score_metrics
from everloop.project import Model, parse_model
from everloop.rollout import PairedCounts
from everloop.rollout.guardrails import score_shift
from everloop.tasks import NumericEvaluation

START = datetime(2024, 1, 1, tzinfo=UTC)
ALPHA = 3 / 3_650 / 9
"""What a metric's check has of one false alarm in ten years, with schema, drift, score and itself."""


def model(objective: str = "mae", gates: str = "[not worse than champion by 0.2]") -> Model:
    text = (
        f"task: regression\ndata: {{source: x.csv, time: t, target: minutes}}\nobjective: {objective}\ngates: {gates}\n"
    )
    found, mistakes = parse_model(text)
    assert found is not None, mistakes
    return found


def window(random: np.random.Generator, *, worse: float = 1.0, days_differ: float = 0.06) -> NumericEvaluation:
    """A day of 800 trips: every day is a little harder or easier than another, as rain makes it."""
    y = random.gamma(4.0, 4.0, 800)
    today = worse * np.exp(days_differ * random.standard_normal())
    return NumericEvaluation(y=y, score=y + today * 3 * random.standard_normal(800))


def alarms(random: np.random.Generator, days: int, *, worse_from: int | None = None) -> list[int]:
    """The days on which the check failed."""
    y = random.gamma(4.0, 4.0, 20_000)
    registered = NumericEvaluation(y=y, score=y + 3 * random.standard_normal(20_000)).interval("mae").to_dict()
    quiet: list[list[float]] = []
    failed = []
    for day in range(days):
        worse = 1.5 if worse_from is not None and day >= worse_from else 1.0
        interval, verdict = metric_verdict("mae", window(random, worse=worse), registered, alpha=ALPHA, quiet=quiet)
        assert interval is not None
        if verdict.is_failed:
            failed.append(day)
        else:
            quiet.append([interval.point, interval.width / (2 * 1.96)])
    return failed


def test_days_that_differ_by_themselves_raise_no_alarm() -> None:
    random = np.random.default_rng(0)
    assert sum(bool(alarms(random, 60)) for _ in range(60)) <= 2  # ten years of days


def test_errors_that_grow_by_a_half_are_seen_within_days() -> None:
    random = np.random.default_rng(1)
    first = [alarms(random, 60, worse_from=30) for _ in range(30)]
    assert sum(bool(days) and 30 <= days[0] <= 35 for days in first) >= 27


def compared(
    of: Model, gap: float, days: int, seed: int, *, bound: float = 20.0, margin: float = 0.2
) -> list[Compared]:
    """Looks after every day; `gap` is added to the challenger's noise."""
    random, tally, found = np.random.default_rng(seed), Tally.start(constrained=False, bound=bound), []
    for _ in range(days):
        y = random.gamma(4.0, 4.0, 500)
        shared = 2.0 * random.standard_normal(500)
        one, two = (y + shared + extra * random.standard_normal(500) for extra in (1.5, 1.5 + gap))
        nothing = np.zeros(500, dtype=bool)
        tally = tally.seen(of, y, one.astype(np.float32), two.astype(np.float32), (nothing, nothing))
        found.append(judged(of, tally, margin=margin, versions=(1, 2)))
    return found


@pytest.mark.parametrize("objective", ["mae", "mape", "rmse"])
def test_peeking_at_two_equal_models_seldom_tells_them_apart(objective: str) -> None:
    wrong = 0
    for seed in range(24):
        outcomes = {one.outcome for one in compared(model(objective), 0.0, 12, seed)}
        wrong += bool(outcomes & {"better", "worse"})
    assert wrong <= 4


@pytest.mark.parametrize(("gap", "outcome"), [(1.2, "worse"), (-0.9, "better")])
@pytest.mark.parametrize("objective", ["mae", "rmse"])
def test_a_real_difference_is_told(objective: str, gap: float, outcome: str) -> None:
    found = [compared(model(objective), gap, 25, seed)[-1].outcome for seed in range(4)]
    assert found.count(outcome) >= 3


def test_the_margin_of_a_gate_is_in_the_unit_of_the_target() -> None:
    one = compared(model(), 0.0, 30, 3, margin=0.2)[-1]
    assert one.outcome == "not_worse"
    assert "mae less by" in one.sentence
    assert "errors above 20 cut" in one.sentence
    assert compared(model(), 0.0, 30, 3, margin=0.001)[-1].outcome == "undecided"


def test_a_shift_of_scores_is_a_share_of_how_far_errors_go() -> None:
    random = np.random.default_rng(0)
    one = random.gamma(4.0, 4.0, 20_000)
    nothing = np.zeros(20_000, dtype=bool)
    counts = PairedCounts.of(
        champion_score=one,
        challenger_score=one + 4.0,
        champion_decision=nothing,
        challenger_decision=nothing,
        unit=40.0,
    )
    assert score_shift(counts, bound=0.05).outcome == "failed"
    assert score_shift(counts, bound=0.15).outcome == "passed"


def test_of_scores_without_a_threshold_only_the_mean_is_told() -> None:
    assert list(score_metrics(np.array([10.0, 20.0], dtype=np.float32), 0, None)) == ["mean_score"]
    assert score_metrics(np.empty(0, dtype=np.float32), 0, None) == {}


def past(path: Path, *, worse_from: int | None = None, seed: int = 0) -> Path:
    """Sixty days of what was said and what came true; from a day on the errors are half as large again."""
    random = np.random.default_rng(seed)
    days = np.repeat(np.arange(60), 300)
    y = random.gamma(4.0, 4.0, days.size)
    worse = np.where((worse_from is not None) & (days >= (60 if worse_from is None else worse_from)), 1.5, 1.0)
    hours = random.uniform(0, 24, days.size) + 24.0 * days
    pl.DataFrame(
        {
            "at": [START + timedelta(hours=float(hour)) for hour in hours],
            "said": y + 2.0 * worse * random.standard_normal(days.size),
            "minutes": np.where(random.random(days.size) < 0.02, np.nan, y),
        }
    ).write_parquet(path)
    return path


def test_a_file_of_numbers_is_judged_by_how_many_are_near(tmp_path: Path) -> None:
    path = past(tmp_path / "past.parquet", worse_from=40)
    found = check_file(path, time="at", score="said", outcome="minutes")
    assert list(found.expected) == ["near"]
    assert found.expected["near"].point == pytest.approx(0.9, abs=0.01)
    assert found.threshold == pytest.approx(2.0 * 1.645, rel=0.05)
    (alert, *_) = [alert for alert in found.alerts if alert.evidence_kind == "labels"]
    assert timedelta(days=38) < alert.since - START < timedelta(days=42)
    assert alert.at - START < timedelta(days=45)
    assert "outcomes were near the score" in alert.sentence
    assert found.windows[-1].mean_error == pytest.approx(3 * 0.798, rel=0.1)
    assert found.to_dict()["windows"][0]["mean_error"] > 0
    console = Console(width=80, record=True, file=StringIO())
    console.print(file_check_screen(found))
    said = console.export_text()
    assert "predictions of a number" in said
    assert "positives" not in said


def test_a_file_of_numbers_that_stays_as_it_was_raises_no_alarm(tmp_path: Path) -> None:
    for seed in range(12):
        found = check_file(past(tmp_path / f"{seed}.parquet", seed=seed), time="at", score="said", outcome="minutes")
        assert found.alerts == ()


def test_few_whole_numbers_are_still_classes(tmp_path: Path) -> None:
    path = past(tmp_path / "past.parquet")
    frame = pl.read_parquet(path).with_columns(minutes=pl.int_range(pl.len()) % 3)
    frame.write_parquet(path)
    with pytest.raises(ContractViolation, match="say which one is the positive class"):
        check_file(path, time="at", score="said", outcome="minutes")
    given = check_file(path, time="at", score="said", outcome="minutes", positive="1")
    assert "recall" in given.expected
