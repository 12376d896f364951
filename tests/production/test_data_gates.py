"""Gates of the rows as pure questions: what each asks, and how often drift is seen where there is none."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from everloop.data import EVENT_TIME, Baseline
from everloop.ledger import Version
from everloop.production import DataEvidence, judge_data_gates, refusal
from everloop.production.column_drift import ColumnDrift, column_drifts
from everloop.production.former import FormerTraining, former_trainings
from everloop.project import parse_gate
from everloop.stats import Interval, Verdict, wilson

NOW = datetime(2024, 4, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def former(
    version: int, rows: int = 10_000, *, rate: float = 0.01, window: timedelta | None = 60 * DAY
) -> FormerTraining:
    return FormerTraining(
        version=version, rows=rows, positives=rate * rows, span=60 * DAY, window=window, target_mean=12.0
    )


EVIDENCE = DataEvidence(
    rows=9_000,
    span=60 * DAY,
    target=wilson(90, 9_000),
    read=10_000,
    violating=20,
    repeated=300,
    has_id=True,
    newest=NOW - 8 * DAY,
    due=NOW - 7 * DAY,
    window=60 * DAY,
    broken=("column 'amount' is null or NaN and must not be in 20 of 10,000 rows, the first is row 7",),
    former=(former(1, 8_000), former(2, 10_000), former(3, 40_000)),
    drifts=[
        ColumnDrift(column="amount", psi=0.31, psi_noise=0.01, ks=0.2, ks_noise=0.02),
        ColumnDrift(column="country", psi=0.02, psi_noise=0.001, ks=0.01, ks_noise=0.02),
    ],
    reference="v3",
)


def verdict(gate: str, given: DataEvidence = EVIDENCE) -> Verdict:
    (found,) = judge_data_gates([parse_gate(gate)], given)
    return found.verdict


@pytest.mark.parametrize(
    ("gate", "outcome", "sentence"),
    [
        ("rows within 50% of usual", "passed", "90% of the usual 10,000 (the median of 3 trainings), within 50%"),
        ("rows within 5% of usual", "failed", "90% of the usual 10,000 (the median of 3 trainings), not within 5%"),
        ("rows >= 9,000", "passed", "9,000 rows, at least 9,000"),
        ("rows >= 9,001", "failed", "9,000 rows, fewer than 9,001"),
        ("newest row within 1d", "passed", "the newest row is of 2024-03-24 00:00, 1d before 2024-03-25 00:00, up"),
        ("newest row within 23h", "failed", "not within 23h"),
        ("target rate between 0.5% and 2%", "passed", "the target rate 1% [0.814%, 1.23%] is between 0.5% and 2%"),
        ("target rate between 2% and 3%", "failed", "is not between 2% and 3%"),
        ("target rate within 50% of usual", "passed", "100% of the usual 1% (the median of 3 trainings), within 50%"),
        ("duplicates < 5%", "passed", "300 of 10,000 rows repeat an id (3%), below 5%"),
        ("duplicates <= 3%", "passed", "within 3%"),
        ("duplicates < 3%", "failed", "not below 3%"),
        ("contract violations < 1%", "passed", "20 of 10,000 rows break the contract (0.2%), below 1%; column"),
        ("contract violations <= 0.1%", "failed", "above 0.1%"),
        ("drift < 0.2", "failed", "drifted from the rows of v3 (psi, not < 0.2): amount by 0.31"),
        ("drift of country < 0.2", "passed", "the farthest from the rows of v3 is country, by 0.02 (psi), < 0.2"),
        ("drift by ks < 0.3", "passed", "the farthest from the rows of v3 is amount, by 0.2 (ks), < 0.3"),
        ("drift of amont < 0.2", "undecided", "do not share a feature 'amont'; did you mean 'amount'?"),
    ],
)  # fmt: skip
def test_a_gate_is_answered_in_a_sentence(gate: str, outcome: str, sentence: str) -> None:
    found = verdict(gate)
    assert (found.outcome, sentence in found.sentence) == (outcome, True), found.sentence


def test_all_are_answered_and_only_those_of_the_rows() -> None:
    gates = [
        parse_gate(text) for text in ("rows >= 10,000", "recall >= 0.7", "duplicates < 1%", "newest row within 3d")
    ]
    found = judge_data_gates(gates, EVIDENCE)
    assert [one.gate for one in found] == ["rows >= 10,000", "duplicates < 1%", "newest row within 3d"]
    assert [one.verdict.outcome for one in found] == ["failed", "failed", "passed"]
    assert str(refusal(found)).count(";") == 1


@pytest.mark.parametrize("gate", ["rows within 1% of usual", "target rate within 1% of usual", "drift < 0.001"])
def test_a_first_training_has_no_usual_and_says_so(gate: str) -> None:
    found = verdict(gate, replace(EVIDENCE, former=(), drifts=None))
    assert found.is_passed
    assert "there is no former training yet" in found.sentence


def test_usual_rows_are_those_of_the_same_window_else_rows_a_day() -> None:
    other = replace(EVIDENCE, window=30 * DAY, span=30 * DAY, rows=5_100)
    found = verdict("rows within 10% of usual", other)
    assert found.sentence == "170 rows a day, 102% of the usual 167 (the median of 3 trainings), within 10%"
    # all that is known grows without end, its rows a day do not
    grown = replace(EVIDENCE, window=None, span=120 * DAY, rows=20_400, former=(former(1, 10_000, window=None),))
    assert verdict("rows within 10% of usual", grown).is_passed
    assert "(the only training before)" in verdict("rows within 10% of usual", grown).sentence


def test_a_regression_is_asked_for_its_mean() -> None:
    given = replace(EVIDENCE, target=Interval(low=14.0, point=15.0, high=16.0))
    assert verdict("target mean within 20% of usual", given).is_failed
    assert verdict("target mean within 30% of usual", given).is_passed
    assert verdict("target mean between 5 and 40", given).sentence == "the target mean 15 [14, 16] is between 5 and 40"


def test_without_an_id_duplicates_are_whole_rows_of_the_training() -> None:
    found = verdict("duplicates < 1%", replace(EVIDENCE, has_id=False, repeated=45))
    assert found.sentence == "45 of 9,000 rows repeat another in every column (0.5%), below 1%"


def test_what_cannot_be_told_is_undecided_and_passes_only_where_the_gate_says_so() -> None:
    few = replace(EVIDENCE, drifts=[ColumnDrift(column="amount", psi=0.3, psi_noise=0.25, ks=0.1, ks_noise=0.2)])
    found = judge_data_gates([parse_gate(text) for text in ("drift < 0.2", "drift < 0.2, undecided passes")], few)
    assert [one.verdict.outcome for one in found] == ["undecided", "undecided"]
    assert [one.refuses for one in found] == [True, False]
    assert "do not tell a drift of 0.2 (psi) of amount from chance, which gives 0.25" in found[0].verdict.sentence
    # what is far beyond chance is a drift on however few rows
    far = replace(few, drifts=[ColumnDrift(column="amount", psi=2.0, psi_noise=0.25, ks=0.9, ks_noise=0.2)])
    assert verdict("drift < 0.2", far).is_failed
    assert verdict("drift < 0.2", replace(EVIDENCE, drifts=None, unreadable="it is gone")).is_undecided


def test_a_clock_that_is_behind_makes_no_row_stale() -> None:
    assert verdict("newest row within 0d", replace(EVIDENCE, newest=NOW)).is_passed


def rows(n: int, *, seed: int, shift: float = 0.0) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    return pl.DataFrame(
        {
            EVENT_TIME: pl.Series([NOW + timedelta(minutes=at) for at in range(n)]).cast(pl.Datetime("us", "UTC")),
            **{f"v{at}": rng.standard_normal(n) + (shift if at == 0 else 0) for at in range(20)},
            "country": rng.choice(["NO", "SE", "FI"], n, p=[0.5, 0.3, 0.2]),
        }
    )


def drifted(baseline: Baseline, frame: pl.DataFrame, gate: str) -> str:
    found = replace(EVIDENCE, rows=frame.height, drifts=column_drifts(baseline, frame))
    return verdict(gate, found).outcome


@pytest.mark.parametrize(("n", "gate"), [(400, "drift < 0.1"), (1_000, "drift < 0.1"), (400, "drift by ks < 0.15")])
def test_drift_is_not_seen_where_there_is_none(n: int, gate: str) -> None:
    """21 columns, none of them moved: the largest of so many distances is well above 0 on few rows, and is no drift."""
    baseline = Baseline.build(rows(n, seed=0), window=DAY)
    outcomes = [drifted(baseline, rows(n, seed=seed), gate) for seed in range(1, 41)]
    assert outcomes.count("failed") <= 2


def test_a_shift_of_half_a_spread_is_seen_and_named() -> None:
    baseline = Baseline.build(rows(2_000, seed=0), window=DAY)
    for seed in range(1, 11):
        found = replace(EVIDENCE, drifts=column_drifts(baseline, rows(2_000, seed=seed, shift=0.6)))
        assert verdict("drift < 0.2", found).sentence.startswith("drifted from the rows of v3 (psi, not < 0.2): v0 by ")


def test_missing_values_and_unseen_texts_are_drift() -> None:
    baseline = Baseline.build(rows(2_000, seed=0), window=DAY)
    now = rows(2_000, seed=1)
    place = pl.int_range(pl.len())
    gone = now.with_columns(v3=pl.when(place % 3 == 0).then(None).otherwise("v3"))
    moved = now.with_columns(country=pl.when(place % 4 == 0).then(pl.lit("DK")).otherwise("country"))
    assert drifted(baseline, gone, "drift of v3 < 0.2") == "failed"
    assert drifted(baseline, moved, "drift of country < 0.2") == "failed"
    assert drifted(baseline, gone, "drift of v4, country < 0.2") == "passed"
    assert drifted(baseline, moved, "drift of country by ks < 0.2") == "failed"


def test_weighted_rows_count_as_many() -> None:
    """A sample that is weighted up is held against all rows; without its weights it would seem to have drifted."""
    whole = rows(8_000, seed=0)
    low = (whole["v0"] < 0).to_numpy()
    kept = ~low | (np.arange(8_000) % 4 == 0)
    sample, weight = whole.filter(pl.Series(kept)), np.where(low, 4.0, 1.0)[kept]
    baseline = Baseline.build(whole, window=DAY, weight=np.ones(8_000))
    by_name = {one.column: one for one in column_drifts(baseline, sample, weight=weight)}
    assert by_name["v0"].psi < 0.02
    assert {one.column: one for one in column_drifts(baseline, sample)}["v0"].psi > 0.2


def test_what_is_usual_is_read_from_versions_also_of_before_it_was_kept() -> None:
    def version(number: int, **details: object) -> Version:
        data = {"rows": 100 * number, "start": "2024-01-01T00:00:00Z", "end": "2024-03-01T00:00:00Z", "positives": 5.0}
        return Version(
            model="fraud", number=number, bundle="b", run="r", spec="s", spec_hash="h", at=NOW, seq=number, role=None,
            metrics={}, data=data, trigger="person", record={"details": details},
        )  # fmt: skip

    versions = [version(1), *(version(at, window_us=60 * 86_400_000_000, target_mean=3.0) for at in range(2, 14))]
    found = former_trainings(versions)
    assert [one.version for one in found] == list(range(4, 14))
    assert (found[0].window, found[0].target_mean, found[0].per_day) == (60 * DAY, 3.0, 400 / 60)
    (old,) = former_trainings(versions[:1])
    assert (old.window, old.target_mean) == (None, None)
