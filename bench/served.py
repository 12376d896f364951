"""What a serving bench serves: a project with two versions of a fraud model, and the first as peers read it.

The project is the fraud template's on generated payments without V25 to V28, so that its graphs have 30 features: 24
components, the amount, and the five that features.py makes. A model is fitted once, as XGBoost; everloop serves the
graph that is made of it, peers the file that XGBoost saves.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl

from everloop.bundle import BundleParts, BundleStore
from everloop.clock import SystemClock
from everloop.data import (
    EVENT_TIME,
    Baseline,
    Contract,
    FeatureTree,
    Rows,
    load_features,
    load_rows,
    read_contract,
    write_first_contract,
)
from everloop.ledger import Ledger, VersionRegistered
from everloop.models import brought_graph
from everloop.project import Model, Project
from everloop.rollout import deploy
from everloop.templates import create_project
from everloop.templates.fraud import Payments

__all__ = ["FEATURES", "TREES", "Served", "made"]

FEATURES: Final = 30
TREES: Final = 100
_DAYS: Final = 30
_LEFT_OUT: Final = ("V25", "V26", "V27", "V28")
_UNSENT: Final = ("id", "Class", "action")
_ASKED: Final = 20_000
_COMPARED: Final = 5_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """The first version is the champion, the second is registered beside it.

    folder: the project, to be copied. model: the champion as XGBoost saves it. nodes: of its trees.
    everloop, frames, inputs, rows: the same requests of one row as everloop, MLflow in two ways and BentoML take them,
    one a line; no two alike. features: the names of the graph's.
    scores: what XGBoost says of those rows, shape (n,).
    """

    folder: Path
    model: Path
    everloop: Path
    frames: Path
    inputs: Path
    rows: Path
    features: tuple[str, ...]
    scores: np.ndarray
    nodes: int


def made(scratch: Path, *, rows_per_day: int = 11_000, trees: int = TREES) -> Served:
    """Generate 30 days, fit twice, register both, deploy the first; all of it below `scratch`. trees: of each fit."""
    frame = _payments(rows_per_day)
    frame.write_parquet(scratch / "payments.parquet")
    project = create_project(
        scratch / "project", template="fraud", data=scratch / "payments.parquet", target="Class", finish=_write_contract
    ).project
    model = project.model()
    contract = read_contract(model)
    tree, rows = load_features(model.features_path, contract).tree(), load_rows(model, contract)
    assert len(tree.names) == FEATURES, tree.names
    X = tree.matrix(rows.frame)
    champion, challenger = (_fitted(X, rows.y, seed=seed, trees=trees) for seed in range(2))
    assert project.state.is_dir()
    with Ledger.open(project, clock=SystemClock()) as ledger:
        for classifier in (champion, challenger):
            _register(ledger, project, contract, tree, rows, X, classifier)
        deploy(ledger, model.name, 1, actor="bench", reason="a bench's own")
    booster = champion.get_booster()
    booster.save_model(scratch / "model.json")
    asked = X[-_ASKED:]
    sent = rows.frame.select("id").tail(_ASKED).join(frame, on="id", how="left", maintain_order="left")
    return Served(
        folder=project.root,
        model=scratch / "model.json",
        everloop=_lines(scratch / "everloop.jsonl", ({"rows": [row]} for row in sent.drop(_UNSENT).to_dicts())),
        frames=_lines(scratch / "frames.jsonl", ({"dataframe_split": _split(tree, row)} for row in asked.tolist())),
        inputs=_lines(scratch / "inputs.jsonl", ({"inputs": [row]} for row in asked.tolist())),
        rows=_lines(scratch / "rows.jsonl", ({"rows": [row]} for row in asked.tolist())),
        features=tree.names,
        scores=booster.inplace_predict(asked),
        nodes=sum(len(one.splitlines()) for one in booster.get_dump()),
    )


def _payments(rows_per_day: int) -> pl.DataFrame:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    return Payments(seed=0, start=start, days=_DAYS, rows_per_day=rows_per_day).frame().drop(_LEFT_OUT)


def _write_contract(project: Project) -> None:
    write_first_contract(project.model(), root=project.root)


def _fitted(X: np.ndarray, y: np.ndarray, *, seed: int, trees: int) -> Any:
    """An XGBoost; the first sees every row, the others parts of them."""
    from xgboost import XGBClassifier

    subsample = 1.0 if seed == 0 else 0.8
    return XGBClassifier(
        n_estimators=trees, max_depth=6, learning_rate=0.1, subsample=subsample, random_state=seed
    ).fit(X, y)


def _register(
    ledger: Ledger, project: Project, contract: Contract, tree: FeatureTree, rows: Rows, X: np.ndarray, classifier: Any
) -> None:
    model: Model = project.model()
    graph = brought_graph(
        classifier, features=tree.names, fitted=X, compared=X[-_COMPARED:], y=rows.y, task=model.task
    ).graph
    parts = BundleParts(
        graph=graph,
        features=tree,
        contract=contract,
        baseline=Baseline.build(rows.frame.select(EVENT_TIME, "Amount"), window=timedelta(days=1)),
        threshold=0.5,
        metrics={},
        spec_hash="bench",
        model=model.name,
        learner="xgboost",
        target=model.data.target,
        positive=model.positive_label,
        negative=model.negative_label,
    )
    bundle = BundleStore(project.paths.bundles).write(parts)
    said = VersionRegistered(model=model.name, bundle=bundle, run="bench", spec="fraud-s1", spec_hash="bench")
    ledger.register_version(model.name, said, actor="bench")


def _split(tree: FeatureTree, row: list[float]) -> dict[str, Any]:
    """As pandas writes a frame of one row."""
    return {"columns": tree.names, "data": [row]}


def _lines(path: Path, bodies: Iterable[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(body, separators=(",", ":")) + "\n" for body in bodies))
    return path
