"""Past predictions judged from a file: what is found, what it cost, and what is refused with one sentence."""

from __future__ import annotations

import io
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from rich.console import Console

from everloop.errors import ContractViolation, EverloopError, NotEnoughData, SourceError, UsageError
from everloop.monitoring import FileCheck, check_file, file_check_screen
from everloop.project import Budget

START = datetime(2025, 1, 6, tzinfo=UTC)
STREAMS = Path(__file__).parents[3] / "shared" / "data" / "drift_streams"


def past(*, days: int = 200, per_day: int = 200, fraud: float = 0.1, change: int | None = None, seed: int = 0) -> Any:
    """Predictions that catch four fifths of the positives, and from day `change` on half of them."""
    random = np.random.default_rng(seed)
    rows = days * per_day
    y = random.random(rows) < fraud
    day = np.arange(rows) // per_day
    caught = random.random(rows) < np.where((day >= change) if change is not None else False, 0.5, 0.8)
    score = np.where(y & caught, random.uniform(0.6, 1, rows), random.beta(1, 8, rows) * 0.55)
    times = [START + timedelta(seconds=86_400 / per_day * place) for place in range(rows)]
    return pl.DataFrame({"t": times, "s": score, "fraud": y.astype(int), "amount": random.lognormal(3, 1, rows)})


def checked(path: Path, frame: pl.DataFrame, **options: Any) -> FileCheck:
    if path.suffix == ".csv":
        frame.write_csv(path)
    else:
        frame.write_parquet(path)
    return check_file(path, **({"time": "t", "score": "s", "outcome": "fraud"} | options))


@pytest.mark.parametrize("name", ["past.parquet", "past.csv"])
def test_a_change_is_found_dated_and_costed(tmp_path: Path, name: str) -> None:
    found = checked(tmp_path / name, past(change=120), delay=timedelta(days=7))
    alert = next(one for one in found.alerts if one.check == "recall")
    assert found.every == timedelta(days=7) or found.every == timedelta(days=1)
    changed = START + timedelta(days=120)
    assert abs(alert.since - changed) <= timedelta(days=8)
    assert timedelta(days=7) < alert.at - changed <= timedelta(days=7 * 5)
    assert alert.at == alert.window.end + timedelta(days=7)
    assert 0 < alert.until_alert.excess < alert.until_end.excess
    # 80 days with 20 positives of which 0.3 more are missed than before.
    assert 0.6 * 480 < alert.until_end.excess < 1.4 * 480
    assert found.sentence.startswith("it would have alerted on 2025-")
    record = found.to_dict()
    assert record["alerts"][0]["check"] in {check.name for window in found.windows for check in window.checks}
    assert record["expected"]["recall"]["point"] == pytest.approx(0.8, abs=0.03)


def test_quiet_files_raise_nothing(tmp_path: Path) -> None:
    for seed in range(3):
        fraud, per_day = ((0.1, 200), (0.02, 300), (0.5, 60))[seed % 3]
        found = checked(tmp_path / f"{seed}.parquet", past(fraud=fraud, per_day=per_day, seed=seed))
        assert found.alerts == ()
        assert found.sentence.startswith("no alert in ")


def test_the_screen_fits_80_columns(tmp_path: Path) -> None:
    found = checked(tmp_path / "past.parquet", past(change=100))
    out = io.StringIO()
    Console(file=out, width=80, highlight=False).print(file_check_screen(found))
    text = out.getvalue()
    assert max(len(line) for line in text.splitlines()) <= 80
    assert "◀ alert" in text
    assert "by the end of the file" in " ".join(text.split())
    assert "…" not in text


def test_inputs_may_be_watched_too(tmp_path: Path) -> None:
    frame = past()
    later = pl.col("t") >= START + timedelta(days=150)
    frame = frame.with_columns(pl.when(later).then(pl.col("amount") * 100).otherwise("amount").alias("amount"))
    found = checked(tmp_path / "past.parquet", frame, columns=("amount",))
    assert [(alert.check, alert.evidence_kind) for alert in found.alerts] == [("drift", "no labels")]
    assert "amount moved by" in found.alerts[0].sentence


def test_scores_that_collapse_are_seen_without_labels(tmp_path: Path) -> None:
    frame = past()
    later = pl.col("t") >= START + timedelta(days=150)
    frame = frame.with_columns(pl.when(later).then(0.01).otherwise("s").alias("s"))
    found = checked(tmp_path / "past.parquet", frame, delay=timedelta(days=30))
    assert found.alerts[0].check == "score"
    assert found.alerts[0].at <= START + timedelta(days=158)


def test_options_are_kept_to(tmp_path: Path) -> None:
    frame = past(days=60)
    found = checked(
        tmp_path / "past.parquet",
        frame,
        every=timedelta(days=2),
        threshold=0.7,
        reference_share=0.5,
        false_alarms=Budget.parse("1 per 30d"),
    )
    assert (found.every, found.threshold, found.threshold_from) == (timedelta(days=2), 0.7, "given")
    assert found.reference_end == START + timedelta(days=30)
    texts = frame.with_columns(
        pl.when(pl.col("fraud") == 1).then(pl.lit("UP")).otherwise(pl.lit("DOWN")).alias("fraud")
    )
    named = checked(tmp_path / "texts.parquet", texts, positive="UP", every=timedelta(days=2), threshold=0.7)
    assert named.positives == found.positives
    numbered = frame.with_columns(pl.int_range(pl.len()).alias("t"))
    counted = checked(
        tmp_path / "n.parquet", numbered, time_unit="m", time_origin="2025-01-06T00:00Z", every=timedelta(hours=12)
    )
    assert counted.start == START


def test_rows_in_any_order_give_the_same_answer(tmp_path: Path) -> None:
    frame = past(days=60, change=40)
    straight = checked(tmp_path / "a.parquet", frame)
    mixed = checked(tmp_path / "b.parquet", frame.sample(fraction=1.0, shuffle=True, seed=1))
    assert [window.to_dict() for window in mixed.windows] == [window.to_dict() for window in straight.windows]
    assert mixed.notes == ("its rows are not in order of time and were sorted",)


def test_rows_without_an_outcome_are_judged_without_labels(tmp_path: Path) -> None:
    frame = past(days=60)
    some = pl.when(pl.int_range(pl.len()) % 10 == 0).then(None).otherwise("fraud").alias("fraud")
    found = checked(tmp_path / "past.parquet", frame.with_columns(some))
    assert "1,200 rows have no outcome" in found.notes[0]
    absent = checked(tmp_path / "past.parquet", frame.with_columns(some), absent_negative=True)
    assert absent.notes == ()


@pytest.mark.parametrize(
    ("change", "options", "error", "said"),
    [
        ({}, {"score": "scor"}, ContractViolation, "no column 'scor'"),
        ({}, {"outcome": "frauds"}, ContractViolation, "did you mean 'fraud'?"),
        ({"fraud": pl.lit(0)}, {}, NotEnoughData, "no row is positive"),
        ({"fraud": pl.lit(1)}, {}, NotEnoughData, "every row is positive"),
        ({"fraud": pl.lit(None, dtype=pl.Int64)}, {}, NotEnoughData, "no row has an outcome"),
        ({"fraud": pl.lit("maybe")}, {}, ContractViolation, "say which one is the positive class with --positive"),
        ({"t": pl.lit("yesterday")}, {}, ContractViolation, "'yesterday' is not an ISO-8601 time"),
        ({"t": pl.int_range(pl.len())}, {}, ContractViolation, "say what they count with --time-unit"),
        ({"t": pl.lit(True)}, {}, ContractViolation, "which is no time"),
        ({"s": pl.lit(float("nan"))}, {}, ContractViolation, "missing or not finite in 12,000 of 12,000 rows"),
        ({"s": pl.lit("high")}, {}, ContractViolation, "a number per row is needed"),
        ({}, {"every": timedelta(days=30)}, NotEnoughData, "5 are needed"),
        ({}, {"reference_share": 1.5}, UsageError, "between 0 and 1"),
        ({}, {"every": timedelta(days=300 * 365)}, NotEnoughData, "5 are needed"),
        ({}, {"every": timedelta(seconds=1)}, UsageError, "more than 10,000 windows of 1s"),
        ({}, {"every": timedelta(0)}, UsageError, "give longer ones (--every)"),
        ({}, {"timezone": "Mars"}, UsageError, "'Mars' is not a time zone"),
        ({}, {"time_unit": "hours"}, UsageError, "'hours' is no unit that times are counted in"),
        ({}, {"time_origin": "then"}, UsageError, "'then' is not an ISO-8601 time"),
        ({"t": pl.lit(float("nan"))}, {"time_unit": "s"}, ContractViolation, "the time 't' is missing in 12,000 of"),
    ],
)
def test_bad_files_are_refused_in_one_sentence(
    tmp_path: Path, change: dict[str, pl.Expr], options: dict[str, Any], error: type[EverloopError], said: str
) -> None:
    frame = past(days=60).with_columns(**change)
    with pytest.raises(error) as refused:
        checked(tmp_path / "past.parquet", frame, **options)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_empty_missing_and_broken_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(NotEnoughData, match="has no rows"):
        checked(tmp_path / "empty.parquet", past(days=2).clear())
    (tmp_path / "nothing.csv").write_bytes(b"")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 no")
    for name, said in (("nothing.csv", "is empty"), ("broken.parquet", "cannot be read"), ("no.csv", "does not exist")):
        with pytest.raises(SourceError, match=said):
            check_file(tmp_path / name, time="t", score="s", outcome="fraud")


def test_no_training_library_is_imported(tmp_path: Path) -> None:
    past(days=60).write_parquet(tmp_path / "past.parquet")
    program = (
        "import sys; from everloop.monitoring import check_file\n"
        f"check_file({str(tmp_path / 'past.parquet')!r}, time='t', score='s', outcome='fraud')\n"
        "heavy = {'sklearn', 'xgboost', 'lightgbm', 'optuna', 'onnxruntime', 'dbos', 'deltalake', 'altair'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.skipif(not STREAMS.exists(), reason="the drift streams are not beside this project")
@pytest.mark.parametrize(("name", "found"), [("elec2", True), ("sea_stream", False)])
def test_a_real_year_of_predictions(tmp_path: Path, name: str, found: bool) -> None:
    from bench.elec2 import CHANGE_ROW, ORIGIN, STEP, predictions

    out = tmp_path / f"{name}.parquet"
    predictions(pl.read_parquet(STREAMS / f"{name}.parquet")).write_parquet(out)
    checked_file = check_file(out, time="time", score="score", outcome="outcome")
    assert bool(checked_file.alerts) is found
    if found:
        changed = ORIGIN + CHANGE_ROW * STEP
        assert changed < checked_file.alerts[0].at < changed + timedelta(days=120)


@pytest.mark.skipif(not STREAMS.exists(), reason="the drift streams are not beside this project")
def test_each_abrupt_change_of_a_stream_is_alerted_within_weeks_and_nothing_before(tmp_path: Path) -> None:
    from bench.elec2 import ORIGIN, STEP, predictions

    out = tmp_path / "sea.parquet"
    predictions(pl.read_parquet(STREAMS / "sea_50k.parquet"), fitted_days=83, days=1000).write_parquet(out)
    found = check_file(out, time="time", score="score", outcome="outcome", reference_share=0.15)
    changes = [ORIGIN + row * STEP for row in (12_500, 25_000, 37_500)]
    assert found.reference_end < changes[0] < found.alerts[0].at
    for changed in changes:
        assert any(timedelta(0) < alert.at - changed < timedelta(weeks=5) for alert in found.alerts)
    assert found.notes == ()


def test_a_reference_in_which_the_model_got_worse_already_is_said_so(tmp_path: Path) -> None:
    found = checked(tmp_path / "past.parquet", past(days=100, change=15, per_day=400), reference_share=0.3)
    [note] = found.notes
    assert note.startswith("the reference is not steady: recall 0.78 in its first half, 0.49 in its second; ")
    assert note.endswith("hold the rest against less of it with --reference 0.15")
    again = checked(tmp_path / "past.parquet", past(days=100, change=15, per_day=400), reference_share=0.15)
    assert again.notes == ()
    assert [alert.check for alert in again.alerts][:1] == ["recall"]
