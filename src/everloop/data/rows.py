"""Rows for fitting and judging: read, held against the contract, dated, labelled, weighted, in order of time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl

from everloop.data.contract import Contract
from everloop.data.fingerprint import rows_hash
from everloop.data.source import Options, collect, scan
from everloop.data.translate import EVENT_TIME
from everloop.data.violations import Violation, conform, refuse_violations, without_violations
from everloop.errors import ContractViolation, NotEnoughData

if TYPE_CHECKING:
    from everloop.project import Model

__all__ = ["TARGET", "WEIGHT", "Rows", "is_positive", "load_rows", "rows_of"]

TARGET: Final = "__target"
WEIGHT: Final = "__weight"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Rows in order of event time, and what was left out of them.

    frame: the contract's columns, `event_time`, `__target` (1.0 positive, 0.0 not; of a regression the number itself)
      and `__weight` (> 0).
    left_out: how many rows by reason: `violating` (they break the contract, and a gate says how many may), `untimed`
      (they have no time), `unmatured`, `blocked` (their answer censored their outcome), `unlabelled`, `repeated_id`;
      only reasons that occurred.
    numeric: whether the target is a number, as in a regression, and every row tells as much.
    read: rows before any was left out. broken: what the violating rows break, a sentence per column.
    """

    frame: pl.DataFrame
    left_out: Mapping[str, int]
    source: str
    numeric: bool = False
    read: int = 0
    broken: tuple[str, ...] = ()

    @property
    def y(self) -> np.ndarray:
        """The target: shape (rows,), Float64, 1 where positive, or the number itself."""
        return self.frame[TARGET].to_numpy()

    @property
    def weight(self) -> np.ndarray:
        """The weights: shape (rows,), Float64."""
        return self.frame[WEIGHT].to_numpy()

    @property
    def positives(self) -> int:
        """How many rows are positive; every row where the target is a number."""
        return self.frame.height if self.numeric else int(self.y.sum())

    @property
    def span(self) -> tuple[datetime, datetime]:
        """The first and the last event time."""
        times = self.frame[EVENT_TIME]
        return times[0], times[-1]

    @property
    def content(self) -> str:
        """The content hash of the rows."""
        return rows_hash(self.frame)


def load_rows(
    model: Model,
    contract: Contract,
    *,
    start: datetime | None = None,
    end: datetime | None = None,
    as_of: datetime | None = None,
    both_classes: bool = True,
    storage_options: Options | None = None,
) -> Rows:
    """The source's labelled rows with `start ≤ event_time < end` whose outcome was due at `as_of`.

    as_of: only rows with `event_time + delay ≤ as_of`; None takes all as matured.
    both_classes: refuse rows of one class, or of a regression rows with one outcome: nothing is learned from them.
    Raises SourceError, ContractViolation, NotEnoughData (no row, or one class only where both are needed).
    """
    source = model.data.source
    lazy = scan(source, root=model.folder.parent, storage_options=storage_options)
    names = lazy.collect_schema().names()
    wanted = [column.name for column in contract.kept_columns if column.name in names]
    read = [collect(lazy.select(wanted), source).rechunk()]
    return _rows_of(read, model, contract, start=start, end=end, as_of=as_of, both_classes=both_classes, source=source)


def rows_of(
    frame: pl.DataFrame,
    model: Model,
    contract: Contract,
    *,
    source: str,
    start: datetime | None = None,
    end: datetime | None = None,
    as_of: datetime | None = None,
    both_classes: bool = True,
) -> Rows:
    """As `load_rows`, of a frame that is already read: a file's or the traffic log's rows."""
    return _rows_of(
        [frame], model, contract, source=source, start=start, end=end, as_of=as_of, both_classes=both_classes
    )


def _rows_of(
    given: list[pl.DataFrame],
    model: Model,
    contract: Contract,
    *,
    source: str,
    start: datetime | None,
    end: datetime | None,
    as_of: datetime | None,
    both_classes: bool,
) -> Rows:
    """given: the frame, which is let go once it was read, for its rows may be most of what this machine can hold."""
    frame = given.pop()
    read = frame.height
    if read == 0:
        raise NotEnoughData(f"{source} has no rows; check data.source in {model.name}/model.yaml")
    left_out: dict[str, int] = {}
    frame, broken = _keeping(frame, model, contract, source, left_out)
    rows = conform(frame, contract)
    del frame
    rows = _kept(rows, pl.col(EVENT_TIME).is_not_null(), left_out, "untimed")
    if start is not None:
        rows = rows.filter(pl.col(EVENT_TIME) >= start)
    if end is not None:
        rows = rows.filter(pl.col(EVENT_TIME) < end)
    rows = _kept(rows, _matured(model, as_of), left_out, "unmatured")
    rows = _kept(rows, _unblocked(model, contract), left_out, "blocked")
    numeric = model.task == "regression"
    rows = rows.with_columns(_number(contract, model) if numeric else _target(rows, model, contract))
    rows = _kept(rows, pl.col(TARGET).is_not_null(), left_out, "unlabelled")
    rows = _ordered(rows, contract, left_out)
    rows = rows.with_columns(_weight(model, contract))
    _refuse_too_little(rows, contract, left_out, source, both_classes=both_classes and not numeric)
    if numeric and both_classes:
        _refuse_one_outcome(rows, model.data.target)
    return Rows(
        frame=rows.rechunk(),
        left_out=left_out,
        source=source,
        numeric=numeric,
        read=read,
        broken=tuple(violation.sentence for violation in broken),
    )


def _keeping(
    frame: pl.DataFrame, model: Model, contract: Contract, source: str, left_out: dict[str, int]
) -> tuple[pl.DataFrame, list[Violation]]:
    """The rows that keep the contract: all of them, or ContractViolation, unless a gate says how many may break it."""
    if not model.tolerates_violations:
        remedy = f"correct the rows, or what {model.name}/contract.yaml asks of them"
        refuse_violations(frame, contract, source=source, remedy=remedy)
        return frame, []
    kept, broken = without_violations(frame, contract, source=source)
    if kept.height < frame.height:
        left_out["violating"] = frame.height - kept.height
    return kept, broken


def _kept(rows: pl.DataFrame, condition: pl.Expr | None, left_out: dict[str, int], reason: str) -> pl.DataFrame:
    """The rows of which it holds; where it is true of all, the very same ones, for a filter would copy them."""
    if condition is None:
        return rows
    holds = rows.select(condition.alias("holds"))["holds"]
    kept = int(holds.sum())
    if kept == rows.height:
        return rows
    left_out[reason] = rows.height - kept
    return rows.filter(holds)


def _matured(model: Model, as_of: datetime | None) -> pl.Expr | None:
    delay: timedelta = model.outcome.delay
    return None if as_of is None else pl.col(EVENT_TIME) <= as_of - delay


def _unblocked(model: Model, contract: Contract) -> pl.Expr | None:
    """Rows whose answer let their outcome happen; the random holdout is among them, since it was let through."""
    acts = model.outcome.acts
    if acts is None:
        return None
    blocked = [str(value) for value in acts.blocked]
    return ~pl.col(contract.column(acts.column).name).cast(pl.String).is_in(blocked).fill_null(False)


def _number(contract: Contract, model: Model) -> pl.Expr:
    """The target as it is; what is missing or not finite is unlabelled."""
    column = contract.column(model.data.target)
    if column.type not in ("float", "int"):
        raise ContractViolation(
            f"target {column.name!r} is of type {column.type}, and a regression learns numbers; make such a column, "
            f"or set task: classification in {model.name}/model.yaml"
        )
    value = pl.col(column.name).cast(pl.Float64)
    return pl.when(value.is_finite()).then(value).alias(TARGET)


def _target(rows: pl.DataFrame, model: Model, contract: Contract) -> pl.Series:
    column = contract.column(model.data.target)
    if column.type != "string" and isinstance(contract.positive, str):
        raise ContractViolation(
            f"target {column.name!r} is of type {column.type}, and data.positive is {contract.positive!r}"
        )
    label = is_positive(rows[column.name], contract).cast(pl.Float64)
    if model.outcome.absent == "negative":
        label = label.fill_null(0.0)
    return label.alias(TARGET)


def is_positive(values: pl.Series, contract: Contract) -> pl.Series:
    """Which of the target's values are the positive class, null where there is none: texts as texts, else numbers."""
    positive = 1 if contract.positive is None else contract.positive
    if isinstance(positive, str) or not (values.dtype.is_numeric() or values.dtype == pl.Boolean):
        return values.cast(pl.String) == str(positive)
    return values.cast(pl.Float64) == float(positive)


def _ordered(rows: pl.DataFrame, contract: Contract, left_out: dict[str, int]) -> pl.DataFrame:
    """By event time, ties by id, so that the order of the files does not matter; of one id the earliest row stays."""
    identity = contract.only("id")
    if identity is None:
        return rows if rows[EVENT_TIME].is_sorted() else rows.sort(EVENT_TIME, maintain_order=True)
    rows = rows.sort(EVENT_TIME, identity.name, maintain_order=True)
    first = pl.col(identity.name).is_first_distinct() | pl.col(identity.name).is_null()
    return _kept(rows, first, left_out, "repeated_id")


def _weight(model: Model, contract: Contract) -> pl.Expr:
    weight = model.data.weight
    if weight is None:
        return pl.lit(1.0).alias(WEIGHT)
    found = pl.lit(1.0) if weight.column is None else pl.col(contract.column(weight.column).name).cast(pl.Float64)
    if weight.negative is not None:
        found = pl.when(pl.col(TARGET) == 0).then(found * weight.negative).otherwise(found)
    return found.alias(WEIGHT)


def _refuse_too_little(
    rows: pl.DataFrame, contract: Contract, left_out: Mapping[str, int], source: str, *, both_classes: bool
) -> None:
    without = "".join(f", {count:,} {reason.replace('_', ' ')}" for reason, count in left_out.items())
    if rows.height == 0:
        raise NotEnoughData(f"no row of {source} is left in the span asked for{without}")
    low = rows[WEIGHT].min()
    if rows[WEIGHT].null_count() or (isinstance(low, float) and low <= 0):
        column = contract.only("weight")
        raise ContractViolation(
            f"weight column {column.name if column else ''!r} must be above 0 in every row, and is not"
        )
    target = contract.only("target")
    share = float(rows[TARGET].mean())  # type: ignore[arg-type]
    if both_classes and share in (0.0, 1.0) and target is not None:
        only = "no row is" if share == 0 else "every row is"
        raise NotEnoughData(
            f"target {target.name!r}: {only} {contract.positive!r}, the positive class, in {rows.height:,} rows"
            f"{without}; both classes are needed: check data.target, data.positive and the span"
        )


def _refuse_one_outcome(rows: pl.DataFrame, target: str) -> None:
    if rows[TARGET].min() == rows[TARGET].max():
        raise NotEnoughData(
            f"target {target!r}: every one of {rows.height:,} rows is {rows[TARGET][0]:g}, and there is nothing to "
            "learn: check data.target and the span"
        )
