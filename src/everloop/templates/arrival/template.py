"""The arrival template: how many minutes a trip will take, or any other number."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import polars as pl

from everloop.templates.arrival.generator import Trips
from everloop.templates.arrival.source import NumericShape, numeric_shape_of
from everloop.templates.columns import days, indented, quoted
from everloop.templates.phase1 import PHASE1, phase1_notebook
from everloop.templates.template import Description, History

__all__ = ["ArrivalTemplate", "trips"]

_GENERATED: Final = "data/trips.parquet"
_WORTH_WEEKS: Final = timedelta(days=21)
_MOST_ROWS: Final = 2_000  # a town has fewer deliveries a day than a bank has payments
_ORIGIN: Final = "1970-01-01T00:00Z"
_EVERLOOP_YAML: Final = """\
# Where this project runs. Every key is optional; `everloop init --explain` prints them all.
endpoint: {host: 127.0.0.1, port: 8080}
"""
_GITIGNORE: Final = """\
.everloop/
data/
__pycache__/
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Choices:
    """What differs between one source and another in model.yaml; a line that is empty is left out.

    bound: of mae, as the first gate has it. margin: in the target's unit.
    """

    source: str
    time: str
    target: str
    bound: str
    margin: str
    delay: str
    train: str
    id: str = ""
    entity: str = ""
    segments: str = ""


class ArrivalTemplate:
    """Arrival times in minutes, with p10, p50 and p90 beside each; adapts to any file with a number to predict."""

    name = "arrival"
    model = "arrival"
    summary = "deliveries and how many minutes they take; a number with p10, p50 and p90, known as soon as it is over"

    def describe_history(self, history: History) -> Description:
        """The files for generated history."""
        choices = _Choices(
            source=_GENERATED,
            time="left_at",
            id="id: trip_id                          # the caller's own; a retry with the same id counts once",
            entity="entity: driver                       # the sticky side of a rollout",
            target="minutes",
            segments="segments: [zone]",
            bound="4",
            margin="0.1",
            delay="delay: 6h                            # nothing younger is trained on or judged",
            train="{window: 60d, holdout: 10%, rows: 150000, schedule: weekly}",
        )
        return _description(choices, weeks=True)

    def write_history(self, history: History, folder: Path) -> None:
        """`data/trips.parquet`."""
        path = folder / _GENERATED
        path.parent.mkdir(parents=True, exist_ok=True)
        trips(history).frame().write_parquet(path, compression="lz4")

    def describe_source(self, lazy: pl.LazyFrame, *, source: str, target: str | None) -> Description:
        """The files for a person's own rows; what the source does not have is left out, and said."""
        shape = numeric_shape_of(lazy, source=source, target=target)
        choices, notes = _adapted(shape)
        made = _description(choices, weeks=shape.span >= _WORTH_WEEKS)
        return Description(files=made.files, notes=notes)


def trips(history: History, *, slower_at: datetime | None = None, days: int | None = None) -> Trips:
    """The generator behind generated history, which may go on beyond it for `days` in all."""
    return Trips(
        seed=history.seed,
        start=history.start,
        days=history.days if days is None else days,
        rows_per_day=min(history.rows_per_day, _MOST_ROWS),
        slower_at=slower_at,
    )


def _adapted(shape: NumericShape) -> tuple[_Choices, tuple[str, ...]]:
    notes = [
        f"{shape.source}: {shape.rows:,} rows over {days(shape.span)}; {shape.target} is {shape.middle:.4g} in the "
        f"middle, and on average {shape.off:.4g} away from it",
        f"the gate mae <= {_rounded(shape.off)} is what always answering the middle comes to; tighten it once a search "
        "has shown what can be reached",
        "columns that are only known afterwards must not be features: give them role: ignored in contract.yaml",
    ]
    time = quoted(shape.time)
    if shape.numeric_time:
        time = f"{{column: {time}, unit: s, origin: {_ORIGIN}}}   # check the origin: seconds since when?"
        notes.append(f"{shape.time} is read as seconds since {_ORIGIN}; change data.time.origin if it is not")
    left_out = [what for what, column in (("id", shape.id), ("entity", shape.entity)) if column is None]
    if left_out:
        notes.append(f"left out of model.yaml, as the source has no such column: {', '.join(left_out)}")
    long = shape.span >= _WORTH_WEEKS
    choices = _Choices(
        source=shape.source,
        time=time,
        target=shape.target,
        bound=_rounded(shape.off),
        margin=_rounded(shape.off / 50),
        delay="delay: 0d                            # how long after the row the number is known, such as 6h",
        train="{window: 60d, holdout: 10%, rows: 150000, schedule: weekly}"
        if long
        else "{holdout: 10%}                  # with weeks of data: window: 60d, schedule: weekly",
        id="# id: COLUMN                         # the source has none; an id makes a retry count once"
        if shape.id is None
        else f"id: {quoted(shape.id)}",
        entity="# entity: COLUMN                     # the source has none; a driver or customer keeps a rollout sticky"
        if shape.entity is None
        else f"entity: {quoted(shape.entity)}",
    )
    return choices, tuple(notes)


def _rounded(value: float) -> str:
    """Two digits, the last one rounded up; never 0."""
    step = 10.0 ** (math.floor(math.log10(value)) - 1)
    return f"{math.ceil(round(value / step, 6)) * step:.12g}"


def _description(choices: _Choices, *, weeks: bool) -> Description:
    files = {
        "everloop.yaml": _EVERLOOP_YAML,
        ".gitignore": _GITIGNORE,
        "arrival/model.yaml": _model_yaml(choices),
        "arrival/features.py": _FEATURES + (_FEATURES_WEEK if weeks else ""),
        "arrival/specs/.gitkeep": "",
        f"arrival/notebooks/{PHASE1}": phase1_notebook("arrival", numeric=True),
    }
    return Description(files=files)


def _model_yaml(choices: _Choices) -> str:
    data = [f"source: {quoted(choices.source)}", f"time: {choices.time}", choices.id, choices.entity]
    data += [f"target: {quoted(choices.target)}", choices.segments]
    return _MODEL_YAML.format(
        data=indented(data),
        delay=choices.delay,
        train=choices.train,
        bound=choices.bound,
        margin=choices.margin,
    )


_MODEL_YAML: Final = """\
# What this model is, along a row's life. `everloop init --explain` prints every key with its default.
task: regression
about: {{purpose: "", not for: [], owner: ""}}   # what it is for, as 'everloop model show' tells who must answer for it
timezone: UTC
data:
{data}
outcome:
  {delay}
objective: mae                           # or mape, rmse, r2, pinball
quantiles: [p10, p50, p90]               # answered beside the score: one outcome in ten lies below p10
search: {{learners: [linear, random_forest, xgboost, lightgbm, neural_network], trials: 40}}
train: {train}
gates:
  - mae <= {bound}
  - beats yardstick                      # always answering the middle, and a linear regression
  - not worse than champion by {margin}, undecided passes   # surely worse is refused; the rollout tells the rest
  # of the rows, too: rows within 50% of usual, newest row within 3d, drift < 0.2; all: everloop init --explain
rollout:
  steps: [shadow 1d, 1%, 10%, 50%, 100%]
  stop if: [errors, latency p99 > 100ms]
  least gain: 0.01                       # of the champion's loss, for a replacement that no alert asked for
monitor:
  every: 1d
  false_alarms: 1 per 10y                # over all columns, checks and windows together
  checks: [schema, drift, score, mae]
on_alert: propose                        # notify | propose | rollout
"""

_FEATURES: Final = '''\
"""The features of the model arrival: expressions over one row, the same in training and when a row is answered.

The contract's numeric columns are features as they are; here is what is made of them.
"""

import polars as pl

from everloop import features


@features
def trip():
    # The time column has the role `time` and is no feature. `event_time` is: everloop adds it to every row, as a
    # datetime in the model's time zone, whatever the time column looks like.
    yield "hour", pl.col("event_time").dt.hour() + pl.col("event_time").dt.minute() / 60
'''
_FEATURES_WEEK: Final = """\
    yield "day_of_week", pl.col("event_time").dt.weekday()
"""
