"""Errors examined: what the rows have in common that the champion gets wrong, and since when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Literal, TypeAlias

import numpy as np
import polars as pl

from everloop.data import EVENT_TIME
from everloop.improvement.change import Change, rate_change
from everloop.improvement.compared import Compared, daily
from everloop.improvement.pattern import find_rule
from everloop.improvement.rule import Rule

__all__ = ["Examined", "Focus", "RuleCounts", "examine", "rule_counts"]

Focus: TypeAlias = Literal["missed", "false alarms", "large errors"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleCounts:
    """How much of what went wrong a rule holds, in rows.

    errors, covered: the errors since the change, and those inside the rule. precision: of all rows inside since the
    change, the share that are what is looked for (positives, or false alarms). lift: precision over the share among
    all rows. rows_before, rows_after: rows inside per day; hits_before, hits_after: those that are looked for.
    """

    errors: int
    covered: int
    precision: float
    lift: float
    rows_before: float
    rows_after: float
    hits_before: float
    hits_after: float

    @property
    def coverage(self) -> float:
        """The share of the errors inside."""
        return self.covered / self.errors if self.errors else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return {item.name: getattr(self, item.name) for item in fields(self)} | {"coverage": self.coverage}


@dataclass(frozen=True, slots=True, kw_only=True)
class Examined:
    """rule: what the errors have in common, None where nothing readable. change: since when; of the rule's hits where
    there is a rule and they rose, else of the errors. is_new: whether the rule's hits rose.
    by_day: `day`, `positives`, `errors`, `inside` (looked-for rows inside the rule), `volume`.
    """

    focus: Focus
    rule: Rule | None
    change: Change | None
    is_new: bool
    by_day: pl.DataFrame


def examine(compared: Compared, *, focus: Focus, fresh_from: datetime, begin: datetime) -> Examined:
    """What changed in the champion's errors.

    fresh_from: rows before it may have been fitted on, and errors among them are fewer than they would be.
    begin: where to look from if the errors' own days do not say since when: the start of the alert's window.
    """
    errors = compared.false_alarms if focus == "false alarms" else compared.missed
    looked_for = errors if focus == "false alarms" else compared.positive
    rough = _errors_change(compared, errors, focus, fresh_from)
    rule, change, since = None, None, begin if rough is None else rough.low
    for _ in range(2):  # the rule's own days date the change better than all errors do; then the rule is found anew
        found = _found(compared, errors, since, focus)
        if found is None:
            break
        rose = _rule_change(compared, found, looked_for)
        rule, change = found, rose
        if rose is None or rose.at == since:
            break
        since = rose.at
    inside = np.zeros(len(errors), dtype=bool) if rule is None else rule.holds(compared.frame)
    by_day = daily(compared.frame[EVENT_TIME], compared.positive, errors, inside & looked_for, compared.weight).rename(
        {"0": "positives", "1": "errors", "2": "inside", "3": "volume"}
    )
    return Examined(
        focus=focus, rule=rule, change=rough if change is None else change, is_new=change is not None, by_day=by_day
    )


def _found(compared: Compared, errors: np.ndarray, since: datetime, focus: Focus) -> Rule | None:
    """What the errors since a time have in common, among all rows; large errors, which are many, among those since.

    Else what is the same for all rows of a day, such as its rain, would tell the days apart and no more.
    """
    after = compared.since(since)
    if focus != "large errors":
        return find_rule(compared.frame, compared.columns, errors & after, weight=compared.weight)
    return find_rule(compared.frame.filter(after), compared.columns, errors[after], weight=compared.weight[after])


def _errors_change(compared: Compared, errors: np.ndarray, focus: Focus, fresh_from: datetime) -> Change | None:
    fresh = compared.since(fresh_from)
    if not fresh.any():
        return None
    exposed = compared.positive if focus == "missed" else compared.weight
    table = daily(compared.frame.filter(fresh)[EVENT_TIME], errors[fresh], exposed[fresh])
    return rate_change(_days(table), table["0"].to_numpy(), table["1"].to_numpy())


def _rule_change(compared: Compared, rule: Rule, looked_for: np.ndarray) -> Change | None:
    inside = rule.holds(compared.frame) & looked_for
    table = daily(compared.frame[EVENT_TIME], inside, compared.weight)
    volume = table["1"].to_numpy() / max(1.0, float(table["1"].mean() or 1.0))  # type: ignore[arg-type]
    return rate_change(_days(table), table["0"].to_numpy(), volume)


def _days(table: pl.DataFrame) -> Sequence[datetime]:
    days: list[datetime] = table["day"].to_list()
    return days


def rule_counts(rule: Rule, compared: Compared, rows: pl.DataFrame, *, focus: Focus, since: datetime) -> RuleCounts:
    """The rule's counts.

    rows: all that is known, with the rule's columns and `event_time`: what `rows_before` and `rows_after` count.
    """
    errors = compared.false_alarms if focus == "false alarms" else compared.missed
    looked_for = errors if focus == "false alarms" else compared.positive
    inside, after = rule.holds(compared.frame), compared.since(since)
    weight = compared.weight
    hits, held = float((inside & looked_for & after).sum()), float(weight[inside & after].sum())
    share = float(weight[looked_for & after].sum()) / max(1e-12, float(weight[after].sum()))
    precision = min(1.0, hits / held) if held else 0.0
    times = rows[EVENT_TIME]
    kept = rows.filter(rule.expression())[EVENT_TIME]
    days = _spans(times[0], times[-1], since)
    return RuleCounts(
        errors=int((errors & after).sum()),
        covered=int((errors & after & inside).sum()),
        precision=precision,
        lift=precision / share if share else 0.0,
        rows_before=float((kept < since).sum()) / days[0],
        rows_after=float((kept >= since).sum()) / days[1],
        hits_before=float((inside & looked_for & ~after).sum()) / days[0],
        hits_after=hits / days[1],
    )


def _spans(first: datetime, last: datetime, since: datetime) -> tuple[float, float]:
    """Days before and after the change, at least an hour each."""
    hour = 1 / 24
    before, after = (since - first).total_seconds() / 86_400, (last - since).total_seconds() / 86_400
    return max(before, hour), max(after, hour)
