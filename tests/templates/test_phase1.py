"""The notebook that a project begins with runs as it is, to the spec."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from everloop.data import write_first_contract
from everloop.project import Project, executed
from everloop.templates import create_project, templates
from everloop.templates.phase1 import PHASE1

for library in ("nbclient", "nbformat", "ipykernel", "sklearn"):
    pytest.importorskip(library, reason="the extras [notebook] and [train] are not installed")

START = datetime(2024, 3, 4, tzinfo=UTC)
SIZES = {"fraud": {"days": 30, "rows_per_day": 800}, "arrival": {"days": 30, "rows_per_day": 80}}


def _contracts(project: Project) -> None:
    for model in project.models.values():
        write_first_contract(model, root=project.root)


def _cells(text: str) -> list[dict[str, Any]]:
    cells: list[dict[str, Any]] = json.loads(text)["cells"]
    return cells


def _made(root: Path, template: str) -> Path:
    create_project(root, template=template, seed=3, start=START, finish=_contracts, **SIZES[template])
    return root / template / "notebooks" / PHASE1


@pytest.mark.parametrize("template", templates())
def test_it_is_shipped_without_results(tmp_path: Path, template: str) -> None:
    cells = _cells(_made(tmp_path / "p", template).read_text())
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells if "outputs" in cell)
    told = "".join(line for cell in cells if cell["cell_type"] == "markdown" for line in cell["source"])
    heads = [line.removeprefix("## ") for line in told.splitlines() if line.startswith("## ")]
    assert [head for head in heads if head in told] == heads
    for part in ("Explore", "Engineer", "Select", "Tune", "Compare", "Hand over"):
        assert f"## {part}" in told


@pytest.mark.slow
@pytest.mark.parametrize("template", templates())
def test_it_runs_from_the_first_look_to_the_spec(tmp_path: Path, template: str) -> None:
    path = _made(tmp_path / "p", template)
    text, problem = executed(path.read_text(), folder=path.parent)
    assert problem is None
    shown = [output for cell in _cells(text) if cell["cell_type"] == "code" for output in cell["outputs"]]
    assert sum("text/html" in output.get("data", {}) for output in shown) >= 8
    model = Project.open(tmp_path / "p").model()
    (spec,) = model.specs()
    assert spec.reason.startswith("the best of a first search (trial ")
    assert "weekend" in spec.features
    assert spec.approval is None
