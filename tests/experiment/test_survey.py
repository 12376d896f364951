"""A source read in a stream is counted as one read at once, in blocks of any size; what is kept of it is a sample."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from everloop.data import read_contract, scan
from everloop.experiment import explore
from everloop.experiment.overtime import periods
from everloop.experiment.survey import Survey, survey
from tests.experiment.made import START, opened, payments, project

LATER = START + timedelta(days=400)


def surveyed(root: Path, **options: int) -> Survey:
    _, model = opened(root)
    lazy = scan("payments.parquet", root=root)
    return survey(lazy, model, read_contract(model), as_of=LATER, **options)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Payments out of order, some twice, some without an outcome."""
    folder = tmp_path_factory.mktemp("survey") / "p"
    frame = payments(5_000)
    frame = pl.concat([frame[2_500:], frame[:2_500], frame[:50]])
    gone = pl.int_range(pl.len()) % 100 == 7
    project(folder, frame.with_columns(fraud=pl.when(~gone).then(pl.col("fraud"))))
    return folder


@pytest.mark.parametrize("block_rows", [313, 1_000, 100_000])
def test_every_count_is_that_of_the_whole_source_whatever_the_blocks(root: Path, block_rows: int) -> None:
    whole = surveyed(root)
    streamed = surveyed(root, memory_bytes=0, sample_rows=1_000, block_rows=block_rows)
    assert (whole.streamed, streamed.streamed) == (False, True)
    for name in ("rows", "span", "time_missing", "backward", "unmatured", "blocked", "duplicates", "repeated_ids"):
        assert getattr(streamed, name) == getattr(whole, name), name
    assert whole.duplicates == 50
    assert whole.backward == 2
    assert [(c.name, c.missing, c.distinct, c.minimum, c.maximum) for c in streamed.columns] == [
        (c.name, c.missing, c.distinct, c.minimum, c.maximum) for c in whole.columns
    ]
    assert streamed.target is not None
    assert whole.target is not None
    assert (streamed.target.positives, streamed.target.missing) == (whole.target.positives, whole.target.missing)


def test_volume_over_time_counts_every_row_once(root: Path) -> None:
    streamed = surveyed(root, memory_bytes=0, sample_rows=500, block_rows=700)
    assert streamed.buckets is not None
    # of a repeated id both count where they stand in different blocks; 50 rows carry no outcome and are left out
    assert abs(sum(period.rows for period in periods(streamed.buckets)) - 5_000) <= 60


def test_the_sample_is_the_seeds_and_not_the_blocks(root: Path) -> None:
    kept = [surveyed(root, memory_bytes=0, sample_rows=800, block_rows=rows).frame for rows in (313, 5_000)]
    assert kept[0].equals(kept[1])
    assert 650 < kept[0].height < 950
    other = surveyed(root, memory_bytes=0, sample_rows=800, block_rows=313, seed=1).frame
    assert not other.equals(kept[0])


def test_a_violation_in_a_late_block_is_found_and_counted(tmp_path: Path) -> None:
    folder = tmp_path / "p"
    project(folder, payments(3_000))
    broken = payments(3_000).with_columns(v1=pl.when(pl.int_range(pl.len()) < 2_500).then(pl.col("v1")))
    broken.write_parquet(folder / "payments.parquet")
    found = surveyed(folder, memory_bytes=0, block_rows=400)
    assert found.usable is None
    assert len(found.problems) == 1
    assert "'v1' is null" in found.problems[0]
    assert "(500 rows in all)" in found.problems[0]


def test_what_is_found_in_a_stream_says_so(root: Path) -> None:
    where, model = opened(root)
    seen = explore(where, model, memory_bytes=0)
    assert seen.looked.streamed
    assert seen.associations
    assert [finding.kind for finding in seen.findings if finding.kind == "duplicates"] == ["duplicates"]
    assert next(f for f in seen.findings if f.kind == "duplicates").sentence.startswith("About 50 rows")


def test_an_id_is_found_also_where_different_values_are_only_estimated(tmp_path: Path) -> None:
    frame = payments(120_000).with_columns(number=pl.int_range(pl.len()).shuffle(seed=1))
    where, model = project(tmp_path / "p", frame)
    assert explore(where, model).column("number").distinct == 120_000
    streamed = explore(where, model, memory_bytes=0)
    assert streamed.column("number").distinct == pytest.approx(120_000, rel=0.1)
    assert [one.column for one in streamed.findings if one.kind == "id as feature"] == ["number"]


def test_a_frame_is_looked_at_in_place_of_the_source(root: Path) -> None:
    where, model = opened(root)
    seen = explore(where, model, frame=payments(700))
    assert seen.rows == 700
    assert seen.source == "the frame given"
