"""What only later rows have, and what was filled in afterwards: found where it is planted, not told where it is not."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from everloop.clock import SimulatedClock
from everloop.experiment import Exploration, explore
from tests.experiment.made import START, payments, project


def explored(root: Path, frame: pl.DataFrame, *, more: str = "") -> Exploration:
    return explore(*project(root, frame, more=more))


def told(seen: Exploration, kind: str) -> list[str]:
    return [finding.sentence for finding in seen.findings if finding.kind == kind]


def with_country(frame: pl.DataFrame, *, new: int) -> pl.DataFrame:
    """Two countries from the start, and a third in the last `new` rows."""
    place = pl.int_range(pl.len())
    old = pl.when(place % 3 == 0).then(pl.lit("AT")).otherwise(pl.lit("DE"))
    return frame.with_columns(country=pl.when(place >= pl.len() - new).then(pl.lit("XX")).otherwise(old))


def test_a_category_that_only_the_later_rows_have_is_told(tmp_path: Path) -> None:
    found = told(explored(tmp_path / "p", with_country(payments(2_000), new=60)), "late category")
    assert len(found) == 1
    assert "(XX), in 10 % of them" in found[0]


def test_categories_that_were_there_from_the_start_are_fine(tmp_path: Path) -> None:
    assert told(explored(tmp_path / "p", with_country(payments(2_000), new=0)), "late category") == []


def test_copies_of_training_rows_in_the_later_part_are_told(tmp_path: Path) -> None:
    frame = payments(2_000)
    copies = frame[:40].with_columns(
        payment=pl.format("again{}", pl.int_range(pl.len())),
        paid_at=pl.col("paid_at") + timedelta(days=13),
    )
    found = told(explored(tmp_path / "p", pl.concat([frame, copies])), "duplicates across the split")
    assert len(found) == 1
    assert found[0].startswith("40 of the later rows")


def test_rows_that_are_alike_by_nature_are_no_copies(tmp_path: Path) -> None:
    frame = payments(2_000).select("payment", "paid_at", v0=pl.col("v0").round(0), fraud="fraud", amount=pl.lit(5.0))
    assert told(explored(tmp_path / "p", frame), "duplicates across the split") == []


@pytest.mark.parametrize(
    ("column", "says"),
    [
        (pl.when(pl.col("fraud") == 1).then(pl.col("v0")), "Whether late has a value at all tells"),
        (pl.when(pl.int_range(pl.len()) < 1_930).then(pl.col("v0")), "late is missing in 100 % of the newest rows"),
    ],
)
def test_a_column_that_is_filled_in_afterwards_is_told(tmp_path: Path, column: pl.Expr, says: str) -> None:
    found = told(explored(tmp_path / "p", payments(2_000).with_columns(late=column)), "unknown at prediction")
    assert len(found) == 1
    assert says in found[0]
    assert "leave it out" in found[0]


def test_values_missing_at_random_are_no_leak(tmp_path: Path) -> None:
    gone = pl.when(pl.int_range(pl.len()) % 3 > 0).then(pl.col("v0"))
    assert told(explored(tmp_path / "p", payments(2_000).with_columns(gap=gone)), "unknown at prediction") == []


def test_a_time_that_lies_after_the_rows_own_is_told_where_a_feature_reads_it(tmp_path: Path) -> None:
    frame = payments(1_000).with_columns(settled_at=pl.col("paid_at") + timedelta(days=2))
    where, model = project(tmp_path / "p", frame)
    contract = model.contract_path.read_text()
    model.contract_path.write_text(contract.replace("role: ignored", "role: input"))
    assert "role: input" in model.contract_path.read_text()
    found = told(explore(where, model), "unknown at prediction")
    assert len(found) == 1
    assert found[0].startswith("settled_at lies after the row's own time in 100 % of the rows. A prediction will not")


def maturing(n: int = 6_000, *, days: int = 30, delay_days: float) -> pl.DataFrame:
    """A month of rows whose positives become known after an exponential delay; the newest are not known yet."""
    rng = np.random.default_rng(3)
    frame = payments(n, positives=0.2)
    age_days = days - np.arange(n) * days / n
    known = rng.exponential(max(delay_days, 1e-9), n) <= age_days
    times = pl.Series([START + timedelta(days=at * days / n) for at in range(n)])
    return frame.with_columns(paid_at=times, fraud=pl.Series((frame["fraud"].to_numpy() * known).astype(np.int64)))


def test_a_label_that_matures_late_is_told_with_what_to_set(tmp_path: Path) -> None:
    found = told(explored(tmp_path / "p", maturing(delay_days=3.0)), "label matures late")
    assert len(found) == 1
    assert "outcome.delay" in found[0]


def test_outcomes_that_are_missing_in_the_newest_rows_are_told(tmp_path: Path) -> None:
    frame = payments(2_000).with_columns(fraud=pl.when(pl.int_range(pl.len()) < 1_900).then(pl.col("fraud")))
    found = told(explored(tmp_path / "p", frame), "label matures late")
    assert len(found) == 1
    assert found[0].startswith("100 % of the rows since")


def test_outcomes_that_are_not_due_yet_are_not_called_late(tmp_path: Path) -> None:
    young = 10 * 2_000 / 60 / 24 - 3  # days before the last row
    frame = payments(2_000).with_columns(
        fraud=pl.when(pl.col("paid_at") < START + timedelta(days=young)).then(pl.col("fraud"))
    )
    where, model = project(tmp_path / "p", frame, more="outcome: {delay: 3d}\n")
    clock = SimulatedClock(START + timedelta(minutes=10 * 2_000))
    assert told(explore(where, model, clock=clock), "label matures late") == []
    _, late = project(tmp_path / "q", frame, more="outcome: {delay: 1d}\n")
    assert len(told(explore(where, late, clock=clock), "label matures late")) == 1


def test_labels_that_are_known_at_once_are_not_called_late(tmp_path: Path) -> None:
    wrong = 0
    for seed in range(6):
        frame = maturing(delay_days=0.0).with_columns(
            fraud=pl.Series((np.random.default_rng(seed).random(6_000) < 0.05).astype(np.int64))
        )
        wrong += len(told(explored(tmp_path / f"p{seed}", frame), "label matures late"))
    assert wrong == 0


def test_features_that_move_together_are_told_and_a_column_with_its_logarithm_is_not(tmp_path: Path) -> None:
    frame = payments(2_000).with_columns(twin=pl.col("v1") * 2 + 0.01 * pl.col("v2"))
    seen = explored(tmp_path / "p", frame)
    assert told(seen, "correlated") == ["v1, twin move in step: one of them may do."]
    assert {group.features for group in seen.groups} == {("v1", "twin"), ("amount", "amount_log")}
