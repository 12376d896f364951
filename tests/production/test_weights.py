"""Weights count everywhere: in the fit, the threshold, the metrics, their intervals, the gates and the baseline."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from everloop.bundle import BundleStore, Graph
from everloop.clock import SimulatedClock
from everloop.data import TARGET, WEIGHT, load_features, read_contract
from everloop.experiment import search
from everloop.project import Model, Project
from everloop.tasks import Evaluation, choose_threshold
from everloop.workflows import RunResult

from ..experiment.made import opened
from .shop import NOW, shop, train

EACH = 4.0
GATES = "gates: [recall >= 0.05, precision >= 0.05]\n"


def weigh(root: Path) -> tuple[Project, Model]:
    """Every legitimate row of the project stands for `EACH`."""
    path = root / "fraud" / "model.yaml"
    path.write_text(path.read_text().replace("  target: fraud\n", f"  target: fraud\n  weight: {{negative: {EACH}}}\n"))
    return opened(root)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Project, RunResult]]:
    """The same rows and spec, as they are and weighted."""
    folder, found = tmp_path_factory.mktemp("weights"), {}
    for name in ("plain", "weighted"):
        project, _ = shop(folder / name, gates=GATES)
        if name == "weighted":
            project, _ = weigh(project.root)
        result = train(project, run_id="r-first")
        assert result.status == "finished", result.sentence
        found[name] = project, result
    return found


def judged(project: Project) -> pl.DataFrame:
    return pl.read_parquet(project.paths.runs / "r-first" / "judged.parquet")


def test_the_fit_is_another(runs: dict[str, tuple[Project, RunResult]]) -> None:
    graphs = {(project.paths.runs / "r-first" / "candidate.onnx").read_bytes() for project, _ in runs.values()}
    assert len(graphs) == 2


def test_the_threshold_is_chosen_by_weight_on_validation_rows(runs: dict[str, tuple[Project, RunResult]]) -> None:
    project, result = runs["weighted"]
    model, folder = project.model(), project.paths.runs / "r-first"
    rows, cut = pl.read_parquet(folder / "snapshot.parquet"), result.state["split"]
    at = pl.col("event_time")
    first, second = (datetime.fromisoformat(cut[name]).astimezone(UTC) for name in ("validation_from", "test_from"))
    part = rows.filter((at >= first) & (at < second))
    tree = load_features(model.features_path, read_contract(model)).tree()
    scores = Graph((folder / "candidate.onnx").read_bytes()).scores(tree.matrix(part))
    y, weight = part[TARGET].to_numpy(), part[WEIGHT].to_numpy()
    assert set(weight[y == 0]) == {EACH}
    assert set(weight[y == 1]) == {1.0}
    assert result.state["threshold"] == choose_threshold(model.objective, y, scores, weight)
    assert result.state["threshold"] > choose_threshold(model.objective, y, scores, None)


def test_metrics_and_their_intervals_are_weighted(runs: dict[str, tuple[Project, RunResult]]) -> None:
    project, result = runs["weighted"]
    frame, metrics = judged(project), result.state["metrics"]
    y, flagged = frame["y"].to_numpy() == 1, frame["candidate"].to_numpy() >= np.float32(result.state["threshold"])
    hits, alarms = (flagged & y).sum(), (flagged & ~y).sum()
    assert alarms > 0
    assert metrics["precision"]["point"] == pytest.approx(hits / (hits + EACH * alarms))
    assert metrics["accuracy"]["point"] == pytest.approx(
        (hits + EACH * (~flagged & ~y).sum()) / (y.sum() + EACH * (~y).sum())
    )
    plain = Evaluation(y=y, score=frame["candidate"].to_numpy(), threshold=result.state["threshold"])
    interval = plain.interval("precision")
    # a few false alarms that weigh much say less than their number: the interval is wider than that of plain rows
    assert metrics["precision"]["high"] - metrics["precision"]["low"] > interval.width
    assert metrics["recall"]["positives"] == y.sum()


def test_gates_yardsticks_and_baseline_are_weighted(runs: dict[str, tuple[Project, RunResult]]) -> None:
    project, result = runs["weighted"]
    by_name = {gate["name"]: gate for gate in result.state["gates"]}
    gate = by_name["precision >= 0.05"]["evidence"]
    assert gate["point"] == result.state["metrics"]["precision"]["point"]
    frame = judged(project)
    thresholds = json.loads((project.paths.runs / "r-first" / "thresholds.json").read_text())
    weighted = Evaluation(
        y=frame["y"].to_numpy(), score=frame["yardstick_logistic"].to_numpy(), weight=frame["weight"].to_numpy(),
        threshold=thresholds["yardstick_logistic"],
    )  # fmt: skip
    said = result.state["yardstick_metrics"]["logistic"]["precision"]["point"]
    assert said == pytest.approx(weighted.value("precision"))
    bundles = {
        name: BundleStore(one.paths.bundles).load(done.state["bundle"]).baseline for name, (one, done) in runs.items()
    }
    rows = pl.read_parquet(project.paths.runs / "r-first" / "snapshot.parquet")
    counted = {name: sum(one.columns[0].counts) + one.columns[0].nulls for name, one in bundles.items()}
    assert counted["plain"] == rows.height
    assert counted["weighted"] == pytest.approx(rows[WEIGHT].sum())


def test_a_search_ranks_by_weight_and_its_spec_promises_it(tmp_path: Path) -> None:
    values: dict[str, Any] = {}
    for name in ("plain", "weighted"):
        project, model = shop(tmp_path / name, gates=GATES, rows=4_000)
        if name == "weighted":
            project, model = weigh(project.root)
        board = search(project, model, clock=SimulatedClock(NOW), trials=2, jobs=1)
        assert board.winner is not None
        values[name] = board
    plain, weighted = values["plain"], values["weighted"]
    assert plain.search != weighted.search
    for one, other in zip(
        sorted(plain.trials, key=lambda trial: trial.name), sorted(weighted.trials, key=lambda trial: trial.name),
        strict=True,
    ):  # fmt: skip
        if one.learner != "constant":
            assert (one.threshold, one.value) != (other.threshold, other.value)
    assert weighted.winner.metrics["precision"].width != plain.winner.metrics["precision"].width
