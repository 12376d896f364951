"""`ev.check`: past predictions of any model judged in a notebook, as `everloop check FILE` judges them. No project."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from everloop.errors import UsageError
from everloop.monitoring import FileCheck, check_file
from everloop.notebook.frame import AnyFrame, as_polars
from everloop.project import Budget, parse_duration

__all__ = ["check"]


def check(
    frame: AnyFrame | str | Path,
    *,
    time: str,
    score: str,
    outcome: str,
    positive: object = None,
    threshold: float | None = None,
    every: str | timedelta | None = None,
    delay: str | timedelta = "0d",
    false_alarms: str = "1 per 10y",
    reference: float = 0.3,
    columns: Sequence[str] = (),
    timezone: str = "UTC",
    time_unit: str | None = None,
    time_origin: str | None = None,
    absent_negative: bool = False,
) -> FileCheck:
    """When monitoring would have alerted on these predictions, and what it cost until then.

    frame: pandas, Polars, or the path of a CSV, Parquet or Delta file. time, score, outcome: names of its columns.
    positive: the outcome that counts as positive; None for 1, true, yes. threshold: a score from it on is a positive
    decision, or of numbers how near is near; None chooses one. every: a window, such as "1d"; None chooses one.
    delay: how long after a prediction its outcome was known. false_alarms: over everything together. reference: the
    share of the span, at its start, that the rest is held against. columns: inputs to watch for drift as well.
    absent_negative: whether a missing outcome means negative.
    The result displays itself: `.sentence`, `.alerts`, `.windows` and `.to_dict()` are what is in it.
    Raises UsageError, SourceError, ContractViolation, NotEnoughData, each one sentence.
    """
    return check_file(
        frame if isinstance(frame, str | Path) else as_polars(frame),
        time=time,
        score=score,
        outcome=outcome,
        positive=None if positive is None else str(positive),
        threshold=threshold,
        every=None if every is None else _span(every, "every"),
        delay=_span(delay, "delay"),
        false_alarms=_budget(false_alarms),
        reference_share=reference,
        columns=(columns,) if isinstance(columns, str) else tuple(columns),
        timezone=timezone,
        time_unit=time_unit,
        time_origin=time_origin,
        absent_negative=absent_negative,
    )


def _span(said: str | timedelta, name: str) -> timedelta:
    if isinstance(said, timedelta):
        return said
    try:
        return parse_duration(said)
    except ValueError as error:
        raise UsageError(f"{name}={said!r}: {error}") from error


def _budget(said: str) -> Budget:
    try:
        return Budget.parse(said)
    except ValueError as error:
        raise UsageError(f"false_alarms={said!r}: {error}") from error
