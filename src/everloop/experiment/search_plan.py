"""What decides a search's trials, and the record of it that a search's folder begins with."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from everloop.errors import DataError
from everloop.experiment.space import LearnerSpace
from everloop.experiment.suggest import Suggestion
from everloop.experiment.trials import Trial
from everloop.models import Learner, fitted_learners, own_content
from everloop.project import FoldsPlan, Objective, SearchMethod, quantile_level

__all__ = ["PLAN_FILE", "KeptPlan", "SearchPlan", "libraries", "read_plan", "write_plan"]

PLAN_FILE: Final = "plan.json"

_LIBRARIES: Final = (
    "everloop",
    "lightgbm",
    "numpy",
    "onnx",
    "onnxmltools",
    "onnxruntime",
    "optuna",
    "scikit-learn",
    "scipy",
    "skl2onnx",
    "xgboost",
    "xgboost-cpu",
)


class KeptPlan(msgspec.Struct, frozen=True, kw_only=True):
    """A search as its folder keeps it: what it takes to find its rows again and to fit any of its trials anew.

    first_calibration: of trial one, where that is the champion.
    as_of: the rows are those whose outcome was due then. data: the hash of rows, features and folds. folds: as they
    were asked for. quantiles: levels that every trial's graph gives. own_learners: the sha256 of the learners.py that
    a learner is defined in, None where none is. libraries: those that decide how a fit comes out, with their versions.
    """

    id: str
    model: str
    task: str
    objective: str
    method: str
    learners: tuple[str, ...]
    folds: str
    seed: int
    fit_rows: int
    as_of: datetime
    data: str
    calibration: str = "none"
    first_calibration: str | None = None
    quantiles: tuple[float, ...] = ()
    own_learners: str | None = None
    trial_limit_s: float | None = None
    libraries: dict[str, str] = {}

    def calibration_of(self, trial: Trial) -> str:
        """What was asked for of its graph."""
        first = self.first_calibration if trial.name == "1" else None
        return self.calibration if first is None else first


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchPlan:
    """Everything that decides what a search's trials are, but for how many there are of them.

    champion: trial one, which has its own calibration.
    """

    objective: Objective
    spaces: dict[str, LearnerSpace]
    said: Mapping[str, Any]
    yardsticks: tuple[Learner, ...]
    method: SearchMethod
    seed: int
    fit_rows: int
    folds: FoldsPlan
    data_hash: str
    model: str
    task: str
    champion: Suggestion | None = None
    champion_calibration: str = "none"
    calibration: str = "none"
    quantiles: tuple[str, ...] = ()
    own: Path | None = None
    time_limit_s: float | None = None

    @property
    def levels(self) -> tuple[float, ...]:
        """Of the quantiles that the objective asks for."""
        return tuple(quantile_level(name) for name in self.quantiles)

    def calibration_of(self, kind: str, number: int) -> str:
        """What the graph of a trial ends in, as the search says it, and for trial one the champion."""
        champions = self.champion is not None and kind == "trial" and number == 1
        return self.champion_calibration if champions else self.calibration

    @property
    def _fitted(self) -> tuple[str, ...]:
        """The learners that its trials are of."""
        first = self.champion
        champion = () if first is None else fitted_learners(first.learner, first.params)
        return tuple(dict.fromkeys((*self.spaces, *champion)))

    @property
    def _own_content(self) -> str | None:
        return own_content(self._fitted, own=self.own)

    @property
    def id(self) -> str:
        """The same for the same plan, data and libraries: a search that was killed is found again by it."""
        champion = self.champion
        plan = {
            "model": self.model,
            "objective": str(self.objective),
            "learners": list(self.spaces),
            "space": self.said,
            "method": self.method,
            "champion": champion and [champion.learner, dict(champion.params), self.champion_calibration],
            "seed": self.seed,
            "fit_rows": self.fit_rows,
            "data": self.data_hash,
            "calibration": self.calibration,
            "quantiles": self.quantiles,
            "own_learners": self._own_content,
            "libraries": libraries(),
        }
        return hashlib.sha256(msgspec.json.encode(plan, order="sorted")).hexdigest()[:12]

    def kept(self, *, as_of: datetime) -> KeptPlan:
        """The record of a search of rows that were known at `as_of`."""
        return KeptPlan(
            id=self.id,
            model=self.model,
            task=self.task,
            objective=str(self.objective),
            method=self.method,
            learners=self._fitted,
            folds=str(self.folds),
            seed=self.seed,
            fit_rows=self.fit_rows,
            as_of=as_of,
            data=self.data_hash,
            calibration=self.calibration,
            first_calibration=None if self.champion is None else self.champion_calibration,
            quantiles=self.levels,
            own_learners=self._own_content,
            trial_limit_s=self.time_limit_s,
            libraries=libraries(),
        )


def libraries() -> dict[str, str]:
    """The versions of what decides what is tried and how a fit comes out, by name; those that are installed."""
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def write_plan(folder: Path, plan: KeptPlan) -> None:
    """Write the record into the search's folder, whole or not at all; a search that goes on writes it anew."""
    from everloop.pages import write_whole

    write_whole(folder / PLAN_FILE, msgspec.json.format(msgspec.json.encode(plan), indent=2).decode() + "\n")


def read_plan(folder: Path) -> KeptPlan:
    """The record of the search that `folder` holds. Raises DataError where it cannot be read."""
    path = folder / PLAN_FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=KeptPlan)
    except (OSError, msgspec.MsgspecError) as error:
        raise DataError(
            f"{path} cannot be read ({error}); run the same search again, it goes on where it was"
        ) from error
