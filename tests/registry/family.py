"""A trained family: v1 of s1, v2 of s2 which came from s1, on rows with a country each."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from everloop.data import write_first_contract
from everloop.project import Project

from ..experiment.made import opened, payments, project
from ..production.shop import GATES, add_spec, train

ABOUT = """\
about:
  purpose: Stops card payments that look stolen; the fraud desk calls the customer.
  not for: [Decisions about credit., Merchants that are new.]
  owner: the fraud desk, fraud@example.com
"""


def trained_family(root: Path) -> Project:
    """v1 answers; v2, larger and without one feature, waits."""
    rows = payments(10_000)
    country = pl.when(pl.int_range(pl.len()) % 7 == 0).then(pl.lit("SE")).otherwise(pl.lit("NO"))
    _, model = project(root, rows.with_columns(country=country), objective="f1")
    path = model.folder / "model.yaml"
    text = path.read_text().replace("  target: fraud\n", "  target: fraud\n  segments: [country]\n")
    path.write_text(text + GATES + ABOUT)
    found, model = opened(root)
    write_first_contract(model, root=found.root)
    add_spec(model, 1)
    assert train(found, run_id="r-first").status == "finished"
    features = ["amount", "amount_log", "v0", "v1", "v2", "v3"]
    add_spec(
        model,
        2,
        hyperparameters={"n_estimators": 140, "num_leaves": 15},
        features=features,
        parent="fraud-s1",
        diff={"n_estimators": {"from": 100, "to": 140}},
    )
    assert train(found, run_id="r-second", spec="fraud-s2").status == "finished"
    return found
