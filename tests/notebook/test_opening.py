"""A model is opened by its name or by a folder, from wherever a notebook lies; what is not there is said."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import everloop as ev
from everloop.errors import ConfigurationError, EverloopError, NotFound, ProjectNotFound
from tests.experiment.made import payments, project


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project with two models, fraud and refund."""
    project(tmp_path / "shop", payments(300))
    shutil.copytree(tmp_path / "shop" / "fraud", tmp_path / "shop" / "refund")
    (tmp_path / "shop" / "fraud" / "notebooks").mkdir()
    return tmp_path / "shop"


@pytest.mark.parametrize("inside", [".", "fraud", "fraud/notebooks", "refund"])
def test_by_name_from_anywhere_in_the_project(root: Path, inside: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root / inside)
    opened = ev.open("fraud")
    assert (opened.root, opened.name) == (root, "fraud")


def test_by_folder_from_elsewhere(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root.parent)
    assert ev.open("shop", model="refund").name == "refund"
    assert ev.open(root, model="fraud").name == "fraud"
    assert ev.open("shop/fraud").name == "fraud"
    assert ev.open(root / "fraud" / "notebooks").name == "fraud"


def test_a_notebook_in_a_models_folder_needs_no_name(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root / "fraud" / "notebooks")
    assert ev.open().name == "fraud"


@pytest.mark.parametrize(
    ("what", "error", "sentence"),
    [
        ("frud", NotFound, "there is no model 'frud' in shop; did you mean 'fraud'"),
        (".", NotFound, "has several models; say which: fraud, refund"),
        ("nowhere/else", NotFound, "there is no folder nowhere/else; give the project's, or a model's name"),
    ],
)
def test_what_is_not_there_is_said(
    root: Path, what: str, error: type[EverloopError], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root)
    with pytest.raises(error, match=sentence):
        ev.open(what)


def test_without_a_project_or_with_a_mistake_in_it(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root.parent)
    with pytest.raises(ProjectNotFound, match=r"no everloop\.yaml in .* or above"):
        ev.open("fraud")
    (root / "fraud" / "model.yaml").write_text("objective: nothing\n")
    with pytest.raises(ConfigurationError, match=r"fraud/model\.yaml:1"):
        ev.open(root, model="fraud")
