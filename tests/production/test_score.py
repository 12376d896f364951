"""Batch scoring: the bytes of the endpoint, whole files or none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from everloop.bundle import Bundle, BundleStore
from everloop.clock import SimulatedClock
from everloop.data import conform
from everloop.errors import ContractViolation, EverloopError, NotEnoughData, UsageError
from everloop.ledger import Ledger
from everloop.production import score_file

from ..experiment.made import payments
from .shop import NOW, shop, train


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    found, _ = shop(tmp_path_factory.mktemp("score") / "shop")
    assert train(found, run_id="r-first").status == "finished"
    with Ledger.open(found, clock=SimulatedClock(NOW)) as ledger:
        return BundleStore(found.paths.bundles).load(ledger.version("fraud", 1).bundle)


@pytest.fixture
def rows() -> pl.DataFrame:
    return payments(700, seed=9).drop("fraud")


def test_a_file_gets_the_bytes_of_a_row_alone(bundle: Bundle, rows: pl.DataFrame, tmp_path: Path) -> None:
    """Law 2: in blocks of 64 or alone, the same bits."""
    rows.write_parquet(tmp_path / "new.parquet")
    done = score_file(
        bundle, 1, str(tmp_path / "new.parquet"), tmp_path / "scored.parquet", root=tmp_path, block_rows=64
    )
    scored = pl.read_parquet(tmp_path / "scored.parquet")
    assert scored.drop("score", "decision", "version").equals(rows)
    assert (done.rows, done.version) == (700, 1)
    names = list(bundle.contract.names_at_prediction())
    for at in (0, 333, 699):
        alone = bundle.score_frame(conform(rows[at : at + 1], bundle.contract, names=names)).score
        assert alone.tobytes() == scored["score"].to_numpy()[at : at + 1].tobytes()
    flagged = scored["decision"] == bundle.manifest.positive
    assert np.array_equal(flagged.to_numpy(), scored["score"].to_numpy() >= np.float32(bundle.threshold))
    assert done.positives == int(flagged.sum())


def test_a_csv_scores_as_its_parquet(bundle: Bundle, rows: pl.DataFrame, tmp_path: Path) -> None:
    rows.write_csv(tmp_path / "new.csv")
    rows.write_parquet(tmp_path / "new.parquet")
    for ending in ("csv", "parquet"):
        score_file(bundle, 1, str(tmp_path / f"new.{ending}"), tmp_path / f"{ending}.out", root=tmp_path)
    one, two = (pl.read_parquet(tmp_path / f"{ending}.out")["score"] for ending in ("csv", "parquet"))
    assert one.equals(two)


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        (lambda rows: rows.drop("v1"), ContractViolation, "lacks v1"),
        (lambda rows: rows.drop("paid_at"), ContractViolation, "lacks paid_at"),
        (lambda rows: rows.with_columns(score=0.5), UsageError, "already has a column 'score'"),
        (lambda rows: rows.clear(), NotEnoughData, "has no rows"),
        (lambda rows: rows.with_columns(amount=pl.lit("ten")), ContractViolation, "amount"),
    ],
)
def test_what_cannot_be_scored_is_one_sentence_and_leaves_no_file(
    bundle: Bundle, rows: pl.DataFrame, tmp_path: Path, change: object, error: type[EverloopError], says: str
) -> None:
    assert callable(change)
    change(rows).write_parquet(tmp_path / "new.parquet")
    target = tmp_path / "scored.parquet"
    target.write_bytes(b"what was there before")
    with pytest.raises(error, match=says):
        score_file(bundle, 1, str(tmp_path / "new.parquet"), target, root=tmp_path)
    assert target.read_bytes() == b"what was there before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new.parquet", "scored.parquet"]


@pytest.mark.parametrize(
    ("source", "target", "says"),
    [
        ("new.parquet", "new.parquet", "would be overwritten"),
        ("*.parquet", "./new.parquet", "would be overwritten"),
        (".", "new.parquet", "would be overwritten"),
        ("new.parquet", "linked.parquet", "would be overwritten"),
        ("new.parquet", "folder", "is a folder"),
        ("new.parquet", "nowhere/scored.parquet", "there is no folder"),
        ("new.parquet", "scored.csv", "scored.parquet"),
    ],
)
def test_a_result_goes_nowhere_where_it_would_do_harm(
    bundle: Bundle, rows: pl.DataFrame, tmp_path: Path, source: str, target: str, says: str
) -> None:
    rows.write_parquet(tmp_path / "new.parquet")
    (tmp_path / "folder").mkdir()
    (tmp_path / "linked.parquet").hardlink_to(tmp_path / "new.parquet")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(UsageError, match=says):
        score_file(bundle, 1, source, tmp_path / target, root=tmp_path)
    assert pl.read_parquet(tmp_path / "new.parquet").equals(rows)
    assert sorted(tmp_path.iterdir()) == before
