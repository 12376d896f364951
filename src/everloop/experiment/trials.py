"""Trials, and the file they are kept in: a line each, written and synced the moment a trial ends.

A search that was killed finds every trial that had ended; a line that the kill cut in the middle is not one.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from everloop.errors import DataError
from everloop.models import Value
from everloop.stats import Interval

__all__ = ["Trial", "TrialLog"]


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """One fit with its score on the validation rows.

    number: yardsticks and trials count on their own, from 1. hyperparameters: all of them, by canonical name.
    value: the objective at `threshold`, None where the trial failed; interval: its 95 % one.
    metrics: other metrics at the threshold. fit_s: what the fit took; rows: how many it was fitted on.
    rounds: how many trees or epochs were kept, None where the fit did not stop early.
    calibration: the method that its graph ends in, None where none was asked for.
    sentence: why it failed.
    """

    number: int
    kind: Literal["trial", "yardstick"]
    learner: str
    hyperparameters: dict[str, Value]
    status: Literal["done", "failed"]
    value: float | None = None
    interval: dict[str, float] | None = None
    threshold: float | None = None
    metrics: dict[str, float] = {}
    fit_s: float = 0.0
    rows: int = 0
    rounds: int | None = None
    calibration: str | None = None
    sentence: str = ""

    @property
    def name(self) -> str:
        """`y1` for a yardstick, `7` for a trial."""
        return f"y{self.number}" if self.kind == "yardstick" else str(self.number)

    @property
    def range(self) -> Interval | None:
        """The objective's interval on the validation rows."""
        return None if self.interval is None else Interval.from_dict(self.interval)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        record: dict[str, Any] = msgspec.to_builtins(self)
        return record


class _Line(msgspec.Struct, frozen=True, kw_only=True):
    trial: Trial


class TrialLog:
    """The trials of one search on disk, append-only. One process writes."""

    def __init__(self, path: Path) -> None:
        """Open or begin the file; half a last line, left by a kill, is cut off."""
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._trials = _read(path)

    @property
    def trials(self) -> Mapping[tuple[str, int], Trial]:
        """Every trial that has ended, by kind and number."""
        return self._trials

    def append(self, trial: Trial) -> None:
        """Keep `trial`: when this returns, it is on the disk."""
        with self._path.open("ab") as handle:
            handle.write(msgspec.json.encode(_Line(trial=trial)) + b"\n")
            handle.flush()
            os.fsync(handle.fileno())
        self._trials[trial.kind, trial.number] = trial


def _read(path: Path) -> dict[tuple[str, int], Trial]:
    if not path.exists():
        return {}
    data = path.read_bytes()
    whole = data.rfind(b"\n") + 1
    if whole < len(data):
        os.truncate(path, whole)
    found: dict[tuple[str, int], Trial] = {}
    for number, line in enumerate(data[:whole].splitlines(), 1):
        try:
            trial = msgspec.json.decode(line, type=_Line).trial
        except msgspec.MsgspecError as error:
            raise DataError(
                f"{path}:{number}: this line is not a trial ({error}); remove the folder to search anew"
            ) from error
        found[trial.kind, trial.number] = trial
    return found
