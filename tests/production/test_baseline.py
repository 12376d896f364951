"""A run's baseline: the same bytes whether its columns were summed up beside the fit's end or when it is asked for."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from everloop.bundle import BundleStore
from everloop.clock import SimulatedClock
from everloop.data import SCORE, BaselineSums
from everloop.ledger import Ledger
from everloop.production import baseline as tested
from everloop.production.baseline import baseline_of, begin_baseline
from everloop.production.run_state import run_rows
from everloop.project import Project
from everloop.workflows import RunContext, State

from .shop import NOW, run_context, shop, train

FEATURES = """
from everloop import features
import polars as pl

@features
def rounded():
    yield "amount_squared", pl.col("amount") * pl.col("amount")
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, State]:
    found, model = shop(tmp_path_factory.mktemp("trained") / "shop", rows=6_000)
    model.features_path.write_text(FEATURES)
    result = train(found, run_id="r-first")
    assert result.status == "finished", result.sentence
    return found, result.state


@pytest.fixture
def context(trained: tuple[Project, State]) -> Iterator[RunContext]:
    with Ledger.open(trained[0], clock=SimulatedClock(NOW)) as ledger:
        yield run_context(trained[0], ledger, step="package", workdir=trained[0].paths.runs / "r-first")


@pytest.fixture
def packaged(trained: tuple[Project, State]) -> bytes:
    project, state = trained
    return BundleStore(project.paths.bundles).load(state["bundle"]).baseline.to_json()


@pytest.fixture
def summed(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The columns of each addition to a baseline."""
    said: list[list[str]] = []

    class Sums(BaselineSums):
        def add(self, frame: pl.DataFrame, **rest: Any) -> None:
            said.append(frame.columns)
            super().add(frame, **rest)

    monkeypatch.setattr(tested, "BaselineSums", Sums)
    return said


def test_what_was_begun_is_used_and_gives_the_same_bytes(
    trained: tuple[Project, State], context: RunContext, packaged: bytes, summed: list[list[str]]
) -> None:
    state = trained[1]
    begin_baseline(context, state, run_rows(context))
    assert baseline_of(context, state).to_json() == packaged
    names = [name for names in summed for name in names]
    assert names[-1] == SCORE
    assert "amount_squared" in names
    assert len(names) == len(set(names)), "nothing was summed up twice"


def test_without_a_beginning_it_is_all_summed_up_when_it_is_asked_for(
    trained: tuple[Project, State], context: RunContext, packaged: bytes
) -> None:
    assert baseline_of(context, trained[1]).to_json() == packaged


def test_of_a_contract_that_was_changed_meanwhile_it_is_summed_up_anew(
    trained: tuple[Project, State], context: RunContext, tmp_path: Path, summed: list[list[str]]
) -> None:
    project, state = trained
    begin_baseline(context, state, run_rows(context))
    begun: Any = context.at_hand.look("baseline")
    begun.sums()
    path = project.model().contract_path
    kept = shutil.copy(path, tmp_path / "contract.yaml")
    try:
        text = path.read_text()
        changed = text.replace("v0:\n    type: float\n    role: feature", "v0:\n    type: float\n    role: ignored")
        assert changed != text
        path.write_text(changed)
        found = baseline_of(context, state)
    finally:
        shutil.copy(kept, path)
    names = [name for names in summed for name in names]
    assert (names.count("v0"), names.count("amount")) == (1, 2)
    assert "v0" not in found.names


def test_what_is_not_asked_for_ends_with_the_run(trained: tuple[Project, State], context: RunContext) -> None:
    begin_baseline(context, trained[1], run_rows(context))
    context.at_hand.close()
    assert context.at_hand.take("baseline") is None
