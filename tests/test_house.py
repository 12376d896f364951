"""The house rules that a program can hold: where things are, how large they are, what a room's door says."""

from __future__ import annotations

import ast
import importlib
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "everloop"
ROOMS = sorted(path.parent.name for path in SOURCE.glob("*/__init__.py"))
LINES_OF_A_MODULE, LINES_OF_A_BODY = 700, 80


def modules() -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted(SOURCE.rglob("*.py")):
        yield path, ast.parse(path.read_text())


def test_tests_mirror_the_source() -> None:
    folders = {path.name for path in (ROOT / "tests").iterdir() if path.is_dir() and any(path.glob("test_*.py"))}
    assert folders == {*ROOMS, "docs"}
    leaves = {path.stem for path in SOURCE.glob("*.py")} - {"__init__", "__main__"}
    files = {path.stem.removeprefix("test_") for path in (ROOT / "tests").glob("test_*.py")}
    assert leaves <= files


@pytest.mark.parametrize("room", ROOMS)
def test_a_door_is_sorted_and_opens(room: str) -> None:
    door = importlib.import_module(f"everloop.{room}")
    names = getattr(door, "__all__", [])
    assert list(names) == sorted(names, key=_as_ruff_sorts)
    for name in names:
        assert getattr(door, name) is not None


def _as_ruff_sorts(name: str) -> tuple[int, str]:
    """Constants, classes, the rest."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2, name)


def test_modules_and_functions_stay_small() -> None:
    large = []
    for path, tree in modules():
        where = path.relative_to(SOURCE)
        lines = path.read_text().count("\n")
        large += [f"{where}: {lines} lines"] if lines > LINES_OF_A_MODULE else []
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                first = node.body[1:] if ast.get_docstring(node) is not None else node.body
                length = 1 + (node.end_lineno or 0) - first[0].lineno if first else 0
                large += [f"{where}: {node.name}: {length} lines"] if length > LINES_OF_A_BODY else []
    assert large == []


def test_there_is_no_drawer_for_everything() -> None:
    assert not [path for path, _ in modules() if path.stem in ("utils", "helpers", "common", "misc")]


# Who names the environment without asking it anything: for a library that looks there when it loads, or for a child.
SETTERS = {
    "integrations/mlflow/connection.py",
    "quick_start.py",
    "replay/endpoint.py",
    "serving/__init__.py",
    "serving/__main__.py",
}


def test_one_module_alone_reads_the_environment() -> None:
    naming = set()
    for path, tree in modules():
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv"):
                naming.add(path.relative_to(SOURCE).as_posix())
    assert naming - SETTERS == {"project/settings.py"}


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-dev.lock"])
def test_a_lock_holds_hashes_and_names_no_index(name: str) -> None:
    text = (ROOT / name).read_text()
    assert not re.search(r"https?://|--(?:extra-)?index-url|--find-links|--trusted-host|^-[if] ", text, re.MULTILINE)
    pinned = re.findall(r"^([a-z0-9][\w.-]*)==(\S+)", text, re.MULTILINE)
    entries = re.split(r"\n(?=[a-z0-9])", text)
    assert len(pinned) == sum("--hash=sha256:" in entry for entry in entries) > 50


def test_the_locks_agree_and_hold_what_is_asked_for() -> None:
    base, dev = (
        dict(re.findall(r"^([a-z0-9][\w.-]*)==(\S+)", (ROOT / name).read_text(), re.MULTILINE))
        for name in ("requirements.lock", "requirements-dev.lock")
    )
    assert base.items() <= dev.items()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = project["project"]["optional-dependencies"]
    asked = [*project["project"]["dependencies"], *(text for name in extras if name != "all" for text in extras[name])]
    names = {re.match(r"[\w.-]+", text)[0].lower() for text in asked}  # type: ignore[index]
    assert names <= base.keys()
    tools = {re.match(r"[\w.-]+", text)[0].lower() for text in project["dependency-groups"]["dev"]}  # type: ignore[index]
    assert tools <= dev.keys()
