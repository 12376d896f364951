"""The fraud template: which payments are not the customer's own."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import polars as pl

from everloop.templates.columns import days, indented, quoted
from everloop.templates.fraud.generator import HOLDOUT, Payments
from everloop.templates.fraud.source import SourceShape, shape_of
from everloop.templates.phase1 import PHASE1, phase1_notebook
from everloop.templates.template import Description, History

__all__ = ["FraudTemplate"]

_DELAY: Final = timedelta(days=7)
_WORTH_WAITING: Final = timedelta(days=21)
"""A source shorter than this would lose too much of itself to the outcome delay."""
_GENERATED: Final = "data/payments.parquet"
_KAGGLE_ORIGIN: Final = "2013-09-01T00:00Z"

_TRAIN: Final = "{window: 60d, holdout: 10%, rows: 150000, schedule: weekly}"
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
    """What differs between one source and another in model.yaml; a line that is empty is left out."""

    source: str
    time: str
    target: str
    delay: str
    id: str = ""
    entity: str = ""
    weight: str = ""
    acts: str = ""
    train: str = _TRAIN
    on_alert: str = "propose"
    absent: str = "absent: unknown                      # a row without an outcome is left out"


class FraudTemplate:
    """Card fraud, with the columns of the Kaggle credit card data."""

    name = "fraud"
    model = "fraud"
    summary = "card payments, 0.2 % fraud, outcomes a week late"

    def describe_history(self, history: History) -> Description:
        """The files for generated history."""
        choices = _Choices(
            source=_GENERATED,
            time=f"{{column: Time, unit: s, origin: {_minute(history.start)}}}",
            id="id: id                               # the caller's own; a retry with the same id counts once",
            entity="entity: customer                     # the sticky side of a rollout",
            target="Class",
            delay=f"delay: {_DELAY.days}d                            # nothing younger is trained on or judged",
            absent="absent: negative                     # a week of silence means legitimate",
            acts=f"acts: {{column: action, blocked: [declined], holdout: {HOLDOUT:.0%}}}"
            "   # what was declined is never known",
            on_alert="rollout",
        )
        return _description(choices, amount=True, weeks=True)

    def write_history(self, history: History, folder: Path) -> None:
        """`data/payments.parquet`, a row group per day or so."""
        path = folder / _GENERATED
        path.parent.mkdir(parents=True, exist_ok=True)
        payments(history).frame().write_parquet(path, compression="lz4")

    def describe_source(self, lazy: pl.LazyFrame, *, source: str, target: str | None) -> Description:
        """The files for a person's own payments; what the source does not have is left out, and said."""
        shape = shape_of(lazy, source=source, target=target)
        choices, notes = _adapted(shape)
        made = _description(choices, amount=shape.amount, weeks=not _is_short(shape))
        return Description(files=made.files, notes=notes)


def payments(history: History, *, change_at: datetime | None = None, days: int | None = None) -> Payments:
    """The generator behind generated history, which may go on beyond it for `days` in all."""
    return Payments(
        seed=history.seed,
        start=history.start,
        days=history.days if days is None else days,
        rows_per_day=history.rows_per_day,
        change_at=change_at,
    )


def _minute(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%MZ")


def _adapted(shape: SourceShape) -> tuple[_Choices, tuple[str, ...]]:
    notes = [f"{shape.source}: {shape.rows:,} rows, {shape.positives:,} of them fraud, over {days(shape.span)}"]
    time = quoted(shape.time)
    if shape.numeric_time:
        time = f"{{column: {time}, unit: s, origin: {_KAGGLE_ORIGIN}}}   # check the origin: seconds since when?"
        notes.append(f"{shape.time} is read as seconds since {_KAGGLE_ORIGIN}; change data.time.origin if it is not")
    delay = f"delay: {_DELAY.days}d                            # nothing younger is trained on or judged"
    if _is_short(shape):
        delay = f"delay: 0d                            # the source is only {days(shape.span)} long; in production: 7d"
        notes.append(f"the source is {days(shape.span)} long, so outcomes count as known at once (outcome.delay: 0d)")
    weight = ""
    if shape.negative_weight is not None:
        weight = f"weight: {{negative: {shape.negative_weight:g}}}          # its legitimate rows are a sample"
        notes.append(f"one legitimate row stands for {shape.negative_weight:g} of Kaggle's file (data.weight)")
    left_out = [what for what, column in _wanted(shape).items() if column is None]
    if left_out:
        notes.append(f"left out of model.yaml, as the source has no such column: {', '.join(left_out)}")
    choices = _Choices(
        source=shape.source,
        time=time,
        target=shape.target,
        delay=delay,
        train="{holdout: 10%}                  # with weeks of data: window: 60d, schedule: weekly"
        if _is_short(shape)
        else _TRAIN,
        weight=weight,
        id="# id: COLUMN                         # the source has none; an id makes a retry count once"
        if shape.id is None
        else f"id: {quoted(shape.id)}",
        entity="# entity: COLUMN                     # the source has none; a customer or card keeps a rollout sticky"
        if shape.entity is None
        else f"entity: {quoted(shape.entity)}",
        acts="# acts: {column: action, blocked: [declined], holdout: 0.5%}   # if answers censor their outcome"
        if shape.action is None
        else "acts: {column: action, blocked: [declined], holdout: 0%}",
    )
    return choices, tuple(notes)


def _is_short(shape: SourceShape) -> bool:
    return shape.span < _WORTH_WAITING


def _wanted(shape: SourceShape) -> dict[str, str | None]:
    return {"id": shape.id, "customer": shape.entity, "action": shape.action}


def _description(choices: _Choices, *, amount: bool, weeks: bool) -> Description:
    files = {
        "everloop.yaml": _EVERLOOP_YAML,
        ".gitignore": _GITIGNORE,
        "fraud/model.yaml": _model_yaml(choices),
        "fraud/features.py": _features_py(amount=amount, weeks=weeks),
        "fraud/specs/.gitkeep": "",
        f"fraud/notebooks/{PHASE1}": phase1_notebook("fraud", numeric=False),
    }
    return Description(files=files)


def _model_yaml(choices: _Choices) -> str:
    data = [f"source: {quoted(choices.source)}", f"time: {choices.time}", choices.id, choices.entity]
    data += [f"target: {quoted(choices.target)}", "decision: {positive: fraud, negative: legitimate}", choices.weight]
    outcome = [choices.delay, choices.absent, choices.acts]
    return _MODEL_YAML.format(
        data=indented(data), outcome=indented(outcome), train=choices.train, on_alert=choices.on_alert
    )


_MODEL_YAML: Final = """\
# What this model is, along a row's life. `everloop init --explain` prints every key with its default.
task: classification
about: {{purpose: "", not for: [], owner: ""}}   # what it is for, as 'everloop model show' tells who must answer for it
timezone: UTC
data:
{data}
outcome:
{outcome}
objective: recall at precision >= 0.80   # of the payments called fraud, four in five are
search: {{learners: [logistic, random_forest, xgboost, lightgbm, neural_network], trials: 40}}
train: {train}
gates:
  - accuracy >= 0.90
  - beats yardstick                      # calling nothing fraud has 0.998 accuracy
  - recall >= 0.60                       # the point estimate; "at 95%" asks it of the interval's lower end
  - not worse than champion by 0.02, undecided passes   # surely worse is refused; the rollout tells the rest
  # of the rows, too: rows within 50% of usual, newest row within 3d, drift < 0.2; all: everloop init --explain
rollout:
  steps: [shadow 1d, 1%, 10%, 50%, 100%]
  stop if: [errors, latency p99 > 100ms, decision share moves > 0.5%]   # 0.5 %: one payment in 200
  least gain: 0.02                   # what recall must surely gain for a replacement that no alert asked for
monitor:
  every: 1d
  false_alarms: 1 per 10y                # over all columns, checks and windows together
  checks: [schema, drift, score, recall, precision]
on_alert: {on_alert:<30} # notify | propose | rollout
"""

_FEATURES_HEAD: Final = '''\
"""The features of the model fraud: expressions over one row, the same in training and when a payment is answered.

The contract's numeric columns (V1 to V28 and the like) are features as they are; here is what is made of them.
"""

import polars as pl

from everloop import features


@features
def payment():
'''
_FEATURES_AMOUNT: Final = """\
    yield "amount_log", pl.col("Amount").log1p()
    yield "amount_cents", pl.col("Amount") - pl.col("Amount").floor()
"""
_FEATURES_TIME: Final = """\
    # The time column has the role `time` and is no feature. `event_time` is: everloop adds it to every row, as a
    # datetime in the model's time zone, whatever the time column looks like.
    yield "hour", pl.col("event_time").dt.hour()
    yield "night", pl.col("event_time").dt.hour().is_between(0, 5)
"""
_FEATURES_WEEK: Final = """\
    yield "day_of_week", pl.col("event_time").dt.weekday()
"""


def _features_py(*, amount: bool, weeks: bool) -> str:
    """weeks: whether the source is long enough for a weekday to mean anything."""
    return _FEATURES_HEAD + (_FEATURES_AMOUNT if amount else "") + _FEATURES_TIME + (_FEATURES_WEEK if weeks else "")
