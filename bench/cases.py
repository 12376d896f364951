"""The data sets of the search's measures, each as an everloop project and as the arrays that its peers get.

Nothing of them is shipped: `--data DIR` says where creditcard, green_taxi and drift_streams lie.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
from bench.elec2 import ORIGIN, STEP

from everloop.data import write_first_contract
from everloop.experiment.rows import SearchRows, load_search_rows
from everloop.project import Model, Project

__all__ = ["CASES", "DATA", "FEW", "Case", "lay_out", "made_project"]

DATA: Final = Path(__file__).resolve().parents[2] / "shared" / "data"
"""Beside this project, where nothing is said."""

FEW: Final = {
    "classification": "logistic, random_forest, xgboost, lightgbm",
    "regression": "linear, random_forest, xgboost, lightgbm",
}
"""The families that every side of a comparison has."""

_ORIGIN: Final = "2013-09-01T00:00Z"
_LONGEST_MIN, _FARTHEST_MILES = 180, 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A data set with what is to be learned from it.

    file: below the data folder. objective: in model.yaml's words; metric: its metric. data: model.yaml's section.
    rows: the file's rows as a project has them.
    """

    name: str
    file: str
    task: str
    objective: str
    data: Mapping[str, Any]
    rows: Callable[[pl.DataFrame], pl.DataFrame]

    def read(self, data: Path) -> pl.DataFrame:
        """The rows. Raises FileNotFoundError that names --data."""
        path = data / self.file
        if not path.exists():
            raise FileNotFoundError(f"{path} does not exist; --data DIR says where {self.file} lies")
        return self.rows(pl.read_parquet(path))


def _cards(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.with_columns(pl.col("Class") == 1)


def _trips(frame: pl.DataFrame) -> pl.DataFrame:
    """Trips that can be: from 1 minute to 3 hours and 0.1 to 60 miles; of each what is known as it begins."""
    start = pl.col("lpep_pickup_datetime")
    minutes = (pl.col("lpep_dropoff_datetime") - start).dt.total_seconds() / 60
    found = frame.select(
        pickup=start.dt.replace_time_zone("UTC"),
        hour=start.dt.hour() + start.dt.minute() / 60,
        weekday=start.dt.weekday().cast(pl.Int64),
        from_zone=pl.col("PULocationID").cast(pl.Int64),
        to_zone=pl.col("DOLocationID").cast(pl.Int64),
        miles=pl.col("trip_distance"),
        passengers=pl.col("passenger_count").cast(pl.Float64),
        rate=pl.col("RatecodeID").cast(pl.Float64),
        vendor=pl.col("VendorID").cast(pl.Int64),
        minutes=minutes,
    )
    possible = pl.col("minutes").is_between(1, _LONGEST_MIN) & pl.col("miles").is_between(0.1, _FARTHEST_MILES)
    return found.filter(possible, pl.col("pickup").dt.year() >= 2021)


def _prices(frame: pl.DataFrame) -> pl.DataFrame:
    times = pl.Series("at", [ORIGIN + row * STEP for row in range(frame.height)], dtype=pl.Datetime("us", "UTC"))
    return (
        frame.drop("date")
        .with_columns(times, day=pl.col("day").cast(pl.Int64), up=pl.col("class") == "UP")
        .drop("class")
    )


CASES: Final[Mapping[str, Case]] = {
    case.name: case
    for case in (
        Case(
            name="creditcard",
            file="creditcard/creditcard.parquet",
            task="classification",
            objective="average_precision",
            # of 284,315 legitimate rows 4,800 are there, drawn at random
            data={
                "time": {"column": "Time", "unit": "s", "origin": _ORIGIN},
                "target": "Class",
                "weight": {"negative": round(284_315 / 4_800, 4)},
            },
            rows=_cards,
        ),
        Case(
            name="green_taxi",
            file="green_taxi/green_taxi.parquet",
            task="regression",
            objective="mae",
            data={"time": "pickup", "target": "minutes"},
            rows=_trips,
        ),
        Case(
            name="elec2",
            file="drift_streams/elec2.parquet",
            task="classification",
            objective="average_precision",
            data={"time": "at", "target": "up"},
            rows=_prices,
        ),
    )
}


def made_project(
    case: Case,
    frame: pl.DataFrame,
    root: Path,
    *,
    learners: str | None = None,
    objective: str | None = None,
    choose: str | None = None,
) -> tuple[Project, Model]:
    """A project in the new folder `root` with `frame` as its source.

    learners, choose: as model.yaml's search says them; None leaves the search its own. objective: the case's where
    None.
    """
    folder = root / case.name
    folder.mkdir(parents=True)
    frame.write_parquet(root / "rows.parquet")
    (root / "everloop.yaml").write_text("{}\n")
    # JSON is YAML
    said: dict[str, Any] = {"task": case.task, "data": {"source": "rows.parquet", **case.data}}
    said["objective"] = case.objective if objective is None else objective
    search = {"learners": learners and [name.strip() for name in learners.split(",")], "choose": choose}
    said["search"] = {name: value for name, value in search.items() if value is not None}
    if case.task == "regression":
        said["quantiles"] = []
    (folder / "model.yaml").write_text(json.dumps(said, indent=1) + "\n")
    write_first_contract(Project.open(root, environment={}).model(), root=root)
    project = Project.open(root, environment={})
    return project, project.model()


def lay_out(project: Project, model: Model, folder: Path, *, seed: int = 0) -> SearchRows:
    """Write what every side of a comparison gets: the search's own rows and features, split as it splits them.

    X.npy: float32, shape (n, k); y.npy, weight.npy: shape (n,), of the oldest rows, on which a side may do as it likes;
    newest.npy: places among them of those that the newest fold is judged by; X_test.npy, y_test.npy, weight_test.npy.
    """
    rows = load_search_rows(model, as_of=project.clock().now(), seed=seed)
    known, test = np.setdiff1d(np.arange(len(rows.y)), rows.folds.test), rows.folds.test
    folder.mkdir(parents=True, exist_ok=True)
    for name, places in (("", known), ("_test", test)):
        np.save(folder / f"X{name}.npy", rows.X[places])
        np.save(folder / f"y{name}.npy", rows.y[places])
        np.save(folder / f"weight{name}.npy", rows.weight[places])
    np.save(folder / "newest.npy", np.searchsorted(known, rows.folds.newest.judged))
    return rows
