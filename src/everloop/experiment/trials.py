"""Trials, and the file they are kept in: a line each, written and synced the moment a trial ends.

A search that was killed finds every trial that had ended; a line that the kill cut in the middle is not one.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np

from everloop.errors import DataError, StorageFull, no_room
from everloop.models import Value
from everloop.stats import Interval

__all__ = ["Bound", "Cause", "FoldScore", "Trial", "TrialLog", "combined", "mean_interval_of", "read_trials"]

Cause = Literal["worker lost", "out of memory", "too long"]
"""Why a trial failed, where that was no doing of its configuration alone."""


class FoldScore(msgspec.Struct, frozen=True, kw_only=True):
    """What a trial's fit on one fold was worth on its judged rows.

    value: the objective at `threshold`; interval: its 95 % one. worth: how much the fold counts in the trial's value.
    metrics: the others at the threshold. fit_s: what the fit took.
    rows: how many it was fitted on. rounds: trees or epochs that were kept, None where the fit did not stop early.
    """

    value: float
    interval: dict[str, float]
    worth: float
    threshold: float | None
    metrics: dict[str, float]
    fit_s: float
    rows: int
    rounds: int | None = None


class Bound(msgspec.Struct, frozen=True, kw_only=True):
    """What the folds so far must reach together for the next to be worth a fit, and why: the end of a sentence."""

    value: float
    why: str


def mean_interval_of(parts: Sequence[Interval], worth: Sequence[float]) -> Interval:
    """The mean of the parts' points by what each is worth, and its interval.

    Their rows are different ones, so the distances from the points to the ends add up as independent errors do.
    """
    share = np.array(worth) / np.sum(worth)
    point = float(share @ np.array([part.point for part in parts]))
    below = float(np.sqrt(((share * np.array([part.point - part.low for part in parts])) ** 2).sum()))
    above = float(np.sqrt(((share * np.array([part.high - part.point for part in parts])) ** 2).sum()))
    return Interval(low=point - below, point=point, high=point + above, level=parts[0].level)


def combined(folds: Sequence[FoldScore]) -> tuple[float, Interval]:
    """What a trial is worth over these folds, with its 95 % interval."""
    found = mean_interval_of([Interval.from_dict(fold.interval) for fold in folds], [fold.worth for fold in folds])
    return found.point, found


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """One configuration, fitted and judged on each fold.

    kind: `own` is a model that someone fitted and brought, judged once on the newest fold's rows.
    number: yardsticks, trials and own ones count on their own, from 1. hyperparameters: all of them, by canonical name.
    status: `pruned` where it was so far behind after the folds it has that the others were spared.
    value: the objective, the folds' mean by what they are worth, None where the trial failed; interval: its 95 % one.
    threshold, rows, rounds: of the newest fold, whose model the trial's graph is. metrics: the folds' means.
    fit_s: of all folds. us_per_row: what a row costs through the graph, in µs; graph_bytes: how large the graph is.
    calibration: the method that its graph ends in, None where none was asked for.
    sentence: why it failed, or was given up. cause: of a failure that need not be one the next time; limit_s: how long
    the trial was given, where it took too long.
    """

    number: int
    kind: Literal["trial", "yardstick", "own"]
    learner: str
    hyperparameters: dict[str, Value]
    status: Literal["done", "failed", "pruned"]
    value: float | None = None
    interval: dict[str, float] | None = None
    threshold: float | None = None
    metrics: dict[str, float] = {}
    folds: tuple[FoldScore, ...] = ()
    fit_s: float = 0.0
    us_per_row: float = 0.0
    graph_bytes: int = 0
    rows: int = 0
    rounds: int | None = None
    calibration: str | None = None
    sentence: str = ""
    cause: Cause | None = None
    limit_s: float | None = None

    @property
    def name(self) -> str:
        """`y1` for a yardstick, `m1` for someone's own, `7` for a trial."""
        return {"yardstick": "y", "own": "m", "trial": ""}[self.kind] + str(self.number)

    @property
    def range(self) -> Interval | None:
        """The objective's interval on the judged rows."""
        return None if self.interval is None else Interval.from_dict(self.interval)

    def meets(self, other: Trial) -> bool:
        """Whether the intervals of the two meet, so that the data may not tell them apart."""
        mine, theirs = self.range, other.range
        return mine is not None and theirs is not None and mine.low <= theirs.high and theirs.low <= mine.high

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        record: dict[str, Any] = msgspec.to_builtins(self)
        return record


class _Line(msgspec.Struct, frozen=True, kw_only=True):
    trial: Trial


class TrialLog:
    """The trials of one search on disk, append-only. One process writes."""

    def __init__(self, path: Path) -> None:
        """Open or begin the file; half a last line, left by a kill or a full disk, is cut off."""
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._trials = read_trials(path)
        _cut(path)

    @property
    def trials(self) -> Mapping[tuple[str, int], Trial]:
        """Every trial that has ended, by kind and number."""
        return self._trials

    def append(self, trial: Trial) -> None:
        """Keep `trial`: when this returns, it is on the disk. Raises StorageFull, and the trials before it stay."""
        try:
            with self._path.open("ab") as handle:
                handle.write(msgspec.json.encode(_Line(trial=trial)) + b"\n")
                handle.flush()
                os.fsync(handle.fileno())
        except OSError as error:
            if no_room(error):
                raise StorageFull(
                    f"the disk of {self._path.parent} is full; {len(self._trials)} trials are kept there: make room "
                    "and run the same search again, it goes on where it was"
                ) from error
            raise
        self._trials[trial.kind, trial.number] = trial


def _cut(path: Path) -> None:
    """Cut off half a last line."""
    data = path.read_bytes() if path.exists() else b""
    whole = data.rfind(b"\n") + 1
    if whole < len(data):
        os.truncate(path, whole)


def read_trials(path: Path) -> dict[tuple[str, int], Trial]:
    """Every trial in the file that has ended, by kind and number, also while another process writes.

    Raises DataError for a line that is no trial.
    """
    if not path.exists():
        return {}
    data = path.read_bytes()
    whole = data.rfind(b"\n") + 1
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
