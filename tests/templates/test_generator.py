"""The payments: the same for a seed, each day alone, and a pattern that only shows when it appears."""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from everloop.templates.fraud import COLUMNS, FRAUD_FRACTION, Payments

START = datetime(2026, 1, 5, tzinfo=UTC)


def payments(**options):
    return Payments(**({"seed": 3, "start": START, "days": 12, "rows_per_day": 3_000} | options))


def test_a_seed_gives_the_same_rows_in_whatever_order_days_are_asked_for():
    forward, backward = payments(), payments()
    days = {k: backward.day(k) for k in reversed(range(12))}
    assert all(forward.day(k).equals(days[k]) for k in range(12))
    assert not payments(seed=4).day(0).equals(forward.day(0))


def test_a_longer_span_changes_no_day():
    assert payments(days=40).day(5).equals(payments().day(5))


def test_hours_make_up_the_whole():
    made = payments()
    hours = [made.between(START + timedelta(hours=h), START + timedelta(hours=h + 1)) for h in range(12 * 24)]
    assert pl.concat(hours).equals(made.frame())


def test_what_lies_outside_the_days_is_empty_with_the_same_columns():
    made = payments()
    empty = made.between(made.end, made.end + timedelta(days=1))
    assert empty.height == 0
    assert empty.schema == made.day(0).schema


def test_rows_are_sorted_ids_are_unique_and_columns_are_kaggles():
    frame = payments().frame()
    assert tuple(frame.columns) == COLUMNS
    assert frame["Time"].is_sorted()
    assert frame["id"].is_sorted()
    assert frame["id"].n_unique() == frame.height
    assert frame.null_count().sum_horizontal().item() == 0
    assert set(frame["action"].unique()) == {"approved", "reviewed", "declined"}


def test_fraud_is_rare_as_stated():
    made = payments(days=60)
    frame = made.frame()
    assert frame["Class"].mean() == pytest.approx(FRAUD_FRACTION, rel=0.25)
    assert frame.height == pytest.approx(60 * 3_000, rel=0.03)


def test_before_the_change_nothing_differs_and_after_it_only_rows_are_added():
    quiet, changed = payments(), payments(change_at=START + timedelta(days=6, hours=5))
    assert all(quiet.day(k).equals(changed.day(k)) for k in range(6))
    inputs = [name for name in COLUMNS if name not in ("id", "customer", "action")]
    for k in range(6, 12):
        old = changed.day(k).filter(~pl.Series(changed.of_new_pattern(k)))
        assert old.select(inputs).equals(quiet.day(k).select(inputs))
    new = pl.concat([changed.day(k).filter(pl.Series(changed.of_new_pattern(k))) for k in range(12)])
    assert new.height > 10
    assert new["Class"].to_list() == [1] * new.height
    assert new["Time"].min() >= (6 * 24 + 5) * 3_600


def test_the_new_pattern_keeps_to_its_rule_and_nobody_else_is_there():
    changed = payments(days=30, change_at=START)
    mask = np.concatenate([changed.of_new_pattern(k) for k in range(30)])
    inside = changed.frame().select(changed.new_pattern.expression()).to_series().to_numpy()
    assert inside[mask].mean() > 0.9
    assert inside[~mask].mean() < 1e-4


@pytest.mark.parametrize("options", [{"seed": -1}, {"days": 0}, {"start": START + timedelta(hours=1)}])
def test_nonsense_is_refused(options):
    with pytest.raises(ValueError):
        payments(**options)


def test_an_old_model_misses_the_new_pattern_and_a_new_one_finds_it():
    from xgboost import XGBClassifier

    made = payments(seed=8, days=34, rows_per_day=8_000, change_at=START + timedelta(days=22))
    names = [name for name in COLUMNS if name[0] == "V" or name == "Amount"]

    def part(first, last, *, every):
        """Inputs, truth and whether new of the days' frauds and of every `every`-th legitimate row."""
        frame = made.between(START + timedelta(days=first), START + timedelta(days=last))
        new = np.concatenate([made.of_new_pattern(k) for k in range(first, last)])
        truth = frame["Class"].to_numpy()
        kept = (truth == 1) | (np.arange(len(truth)) % every == 0)
        return frame.select(names).to_numpy().astype(np.float32)[kept], truth[kept], new[kept]

    rows, truth, new = part(30, 34, every=1)

    def flagged(first, last):
        """Of the last four days: the rows that a model of days first to last scores highest, as many as are frauds."""
        known, answers, _ = part(first, last, every=8)
        model = XGBClassifier(n_estimators=50, max_depth=4, learning_rate=0.2, n_jobs=1, random_state=0)
        score = model.fit(known, answers).predict_proba(rows)[:, 1]
        return score >= np.sort(score)[-int(truth.sum())]

    before, after = flagged(0, 20), flagged(0, 30)
    assert before[new].mean() < 0.15
    assert after[new].mean() > 0.85
    assert after[truth == 1].mean() > before[truth == 1].mean() + 0.2
