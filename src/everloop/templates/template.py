"""What a template is: a name, what it makes of a source, and history to start from where there is none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

import polars as pl

__all__ = ["Description", "History", "Template"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """The files that a template makes for one source, by path below the project, and what it found out on the way."""

    files: Mapping[str, str]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """What generated history starts from: the seed, its first midnight (UTC), its days and rows per day."""

    seed: int
    start: datetime
    days: int
    rows_per_day: int


class Template(Protocol):
    """An example project that runs as it is, and adapts to a file with columns like its own."""

    @property
    def name(self) -> str:
        """What `everloop init --template` calls it."""
        ...

    @property
    def model(self) -> str:
        """The name of the model it makes."""
        ...

    @property
    def summary(self) -> str:
        """One line for people who choose."""
        ...

    def describe_history(self, history: History) -> Description:
        """The project's files for generated history."""
        ...

    def write_history(self, history: History, folder: Path) -> None:
        """Write the generated rows into `folder`."""
        ...

    def describe_source(self, lazy: pl.LazyFrame, *, source: str, target: str | None) -> Description:
        """The project's files for a person's own rows. Raises DataError with what is missing there."""
        ...
