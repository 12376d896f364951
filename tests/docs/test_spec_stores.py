"""The calls that the page on spec stores shows, made as they stand there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from everloop.project import Project, parse_model, read_spec

from ..cli.terminal import everloop
from ..object_store import KEYS, aws
from ..production.shop import shop

PAGE = (Path(__file__).parents[2] / "docs" / "spec-stores.md").read_text()
ROWS = "data: {source: past.parquet, time: paid_at, target: fraud}\nobjective: recall at precision >= 0.80\n"


def blocks(language: str, first: str) -> list[str]:
    found = re.findall(rf"```{language}\n(.*?)```", PAGE, re.S)
    return [block for block in found if block.startswith(first)]


def test_every_model_yaml_of_the_page_is_one() -> None:
    shown = blocks("yaml", "# fraud/model.yaml")
    assert len(shown) == 3
    for block in shown:
        model, mistakes = parse_model(ROWS + block, name="fraud")
        assert model is not None, mistakes


def test_the_notebooks_parameters_are_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the notebook's own calls to a version whose run says where each value came from."""
    found, _ = shop(tmp_path / "shop", rows=5_000, gates="gates: [accuracy >= 0.5]\n")
    path = found.root / "fraud" / "model.yaml"
    (specs,) = (block for block in blocks("yaml", "# fraud/model.yaml") if "ssm:" in block)
    path.write_text(path.read_text() + specs)
    (notebook,) = blocks("python", "import boto3")
    with aws() as url:
        said = {**KEYS, "aws_endpoint_url": url, "aws_default_region": "eu-west-1"}
        variables = {name.upper(): value for name, value in said.items()}
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        exec(notebook, {})
        refused = everloop("train", cwd=found.root, **variables)
        assert refused.code == 3
        assert "fraud-s2, which arrived from ssm:/fraud-detection, version h2-" in refused.err
        assert "is not approved; review it and run 'everloop approve fraud-s2 --by NAME'" in refused.err
        assert everloop("approve", "fraud-s2", "--by", "alice", cwd=found.root).code == 0
        trained = everloop("train", "--json", cwd=found.root, **variables)
        assert trained.code == 0, trained.err
    spec = read_spec(found.root / "fraud" / "specs" / "fraud-s2.yaml")
    assert (spec.hyperparameters["max_depth"], spec.hyperparameters["learning_rate"]) == (7, 0.15)
    configured: dict[str, Any] = everloop("audit", "list", "--kind", "run.configured", "--json", cwd=found.root).json[0]
    assert configured["payload"]["spec"] == "fraud-s2"
    assert configured["payload"]["parts"]["hyperparameters/max_depth"]["version"] == "1"
    version = everloop("model", "show", "v1", "--json", cwd=found.root).json
    assert version["spec"] == "fraud-s2"
    assert Project.open(found.root).model().spec_store.learner == "xgboost"
