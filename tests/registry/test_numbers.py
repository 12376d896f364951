"""The card and the diff of a regression: no decision, no positives, an error for each segment."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from everloop.clock import SimulatedClock
from everloop.data import write_first_contract
from everloop.experiment import approve
from everloop.ledger import Ledger
from everloop.production import PipelineResources, start_training, training_workflow
from everloop.project import Spec, write_spec
from everloop.workflows import Engine

from ..cli.terminal import everloop
from ..experiment.made import numeric_project, opened
from ..production.shop import NOW


def test_a_regression_has_a_card_too(tmp_path: Path) -> None:
    found, model = numeric_project(tmp_path / "shop")
    path = found.root / "trips.parquet"
    at = pl.int_range(pl.len())
    pl.read_parquet(path).with_columns(
        town=pl.when(at % 3 == 0).then(pl.lit("Wien")).otherwise(pl.lit("Graz"))
    ).write_parquet(path)
    file = model.folder / "model.yaml"
    text = file.read_text().replace("  target: minutes\n", "  target: minutes\n  segments: [town]\n")
    file.write_text(text + "gates: [beats yardstick]\n")
    (model.folder / "contract.yaml").unlink()
    found, model = opened(found.root)
    write_first_contract(model, root=found.root)
    spec = Spec.new(name="trip-s1", learner="lightgbm", hyperparameters={"n_estimators": 60}, objective="mae")
    write_spec(model.spec_path(1), spec)
    clock, resources = SimulatedClock(NOW), PipelineResources.of(found)
    assert found.state.is_dir()
    with Ledger.open(found, clock=clock) as ledger:
        approve(found, model, "trip-s1", by="alice", ledger=ledger)
        workflows = [training_workflow()]
        with Engine.open(found.paths, ledger=ledger, clock=clock, workflows=workflows, resources=resources) as engine:
            asked = start_training(engine, resources, ledger, model=model, as_of=NOW, actor="alice", run_id="r-1")
            result = engine.wait(asked.run_id)
        assert result.status == "finished", result.sentence
    shown = everloop("model", "show", "v1", "--page", cwd=found.root)
    assert shown.code == 0, shown.err
    text = " ".join(shown.out.split())
    assert "mae per segment of rows mae town Graz 200 1." in text
    assert "positive" not in text
    assert "threshold" not in text
    assert max(len(line) for line in shown.out.splitlines()) <= 80
    same = everloop("model", "diff", "v1", "v1", "--all", cwd=found.root)
    assert same.code == 0, same.err
    assert "trip/v1 and trip/v1 are one bundle, and answer the same" in same.err
    assert "town place in ('Graz', 'Wien')" in " ".join(same.out.split())
