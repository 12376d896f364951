"""Making a project from a template: whole, or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl

from everloop.clock import Clock, SystemClock
from everloop.data import scan
from everloop.errors import ProjectError
from everloop.project import Project
from everloop.templates.arrival.source import holds_numbers
from everloop.templates.fraud.source import fraud_target
from everloop.templates.registry import get_template
from everloop.templates.template import Description, History

__all__ = ["Created", "create_project"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Created:
    """A new project, the template it was made from, and what its maker should know of the choices that were made."""

    project: Project
    template: str
    notes: tuple[str, ...]


def create_project(
    root: Path,
    *,
    template: str | None = None,
    data: str | Path | None = None,
    target: str | None = None,
    seed: int = 0,
    days: int = 60,
    rows_per_day: int = 11_000,
    start: datetime | None = None,
    clock: Clock | None = None,
    finish: Callable[[Project], None] | None = None,
) -> Created:
    """Make the project in `root`, a folder that is empty or not there yet.

    template: its name; None takes the one for numbers where the target holds some, else fraud.
    data: a file, folder, glob or s3:// address of one's own rows; None generates `days` of history from `seed`.
    target: the column to be known, where its name does not say so.
    start: first midnight (UTC) of generated history; None lets it end with yesterday by `clock`.
    finish: called with the complete project before it is moved to `root` (its own root is still another), such as to
        infer the contract; what it raises leaves nothing behind.

    Raises ProjectError where the folder is in use or cannot be written, NotFound for an unknown template, DataError
    for rows that the template cannot use.
    """
    target_root = root.absolute()
    _refuse_in_use(target_root)
    lazy, source = (None, "") if data is None else _scanned(data)
    chosen = get_template(template if template is not None else _likely(lazy, target=target, source=source))
    history = History(
        seed=seed,
        start=_days_ago(days, SystemClock() if clock is None else clock) if start is None else start,
        days=days,
        rows_per_day=rows_per_day,
    )
    if lazy is None:
        description = chosen.describe_history(history)
    else:
        description = chosen.describe_source(lazy, source=source, target=target)
    staging = target_root.parent / f".{target_root.name}.{os.getpid()}.new"
    try:
        staging.mkdir()
        _write(staging, description)
        if data is None:
            chosen.write_history(history, staging)
        if finish is not None:
            finish(Project.open(staging))
        _move(staging, target_root)
    except OSError as error:
        raise ProjectError(f"the project cannot be written to {target_root}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return Created(project=Project.open(target_root), template=chosen.name, notes=description.notes)


def _refuse_in_use(root: Path) -> None:
    if not root.parent.is_dir():
        raise ProjectError(f"the folder {root.parent} does not exist; make it first, or choose another place")
    if root.exists() and not root.is_dir():
        raise ProjectError(f"{root} is a file; choose another name for the project")
    if root.is_dir() and any(root.iterdir()):
        raise ProjectError(f"{root} is not empty; choose another name, or an empty folder")


def _days_ago(days: int, clock: Clock) -> datetime:
    midnight = clock.now().replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight - timedelta(days=days)


def _scanned(data: str | Path) -> tuple[pl.LazyFrame, str]:
    """The rows, and how model.yaml says where they are."""
    source = str(data)
    if "://" not in source:
        # from wherever the command was given; the project reads it from its own folder
        source = os.path.abspath(Path(source).expanduser())
    return scan(source, root=Path.cwd()), source


def _likely(lazy: pl.LazyFrame | None, *, target: str | None, source: str) -> str:
    """The template that the target asks for: whether it holds numbers, or two classes."""
    if lazy is None:
        return "fraud"
    asked = fraud_target(lazy.collect_schema().names()) if target is None else target
    return "fraud" if holds_numbers(lazy, target=asked, source=source) is None else "arrival"


def _write(folder: Path, description: Description) -> None:
    for name, text in description.files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def _move(staging: Path, root: Path) -> None:
    """The finished folder to its place; into an existing empty folder piece by piece, as a shell may stand in it."""
    if not root.exists():
        staging.rename(root)
        return
    moved: list[Path] = []
    try:
        for child in sorted(staging.iterdir()):
            child.rename(root / child.name)
            moved.append(root / child.name)
    except OSError:
        for path in moved:
            path.rename(staging / path.name)
        raise
