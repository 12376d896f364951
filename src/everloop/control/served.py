"""Who answered when: what the routing promised, and beside it what the traffic log says was answered."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from everloop.clock import Clock
from everloop.errors import UsageError
from everloop.ledger import Ledger
from everloop.project import Project
from everloop.rollout import ServedPeriod, ServedShare, served_periods
from everloop.traffic import AnsweredRows, TrafficLog, traffic_root

__all__ = ["Served", "ServedVersion", "served_at", "served_between"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedVersion:
    """One version in one period: the share of keys it was to answer, and the rows that it did.

    promised: None of a version that was not to answer in it, and whose answers under the routing before came late.
    fraction: of the period's rows; None where the log has none.
    """

    version: int
    promised: ServedShare | None
    rows: int
    fraction: float | None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        promised = self.promised
        return {
            "version": self.version,
            "role": None if promised is None else promised.role,
            "mode": None if promised is None else promised.mode or None,
            "keys": None if promised is None else promised.keys,
            "rows": self.rows,
            "fraction": self.fraction,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A period and who answered in it. earlier: rows of it that an endpoint still answered by the routing before."""

    period: ServedPeriod
    versions: tuple[ServedVersion, ...]
    rows: int
    earlier: int

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        period = self.period
        return {
            "model": period.model,
            "from": period.start.isoformat(),
            "to": None if period.end is None else period.end.isoformat(),
            "revision": period.revision,
            "by": period.actor or None,
            "reason": period.reason or None,
            "fact": period.seq,
            "rows": self.rows,
            "earlier_routing": self.earlier,
            "versions": [one.to_dict() for one in self.versions],
        }


def served_at(project: Project, ledger: Ledger, clock: Clock, *, model: str | None, at: datetime | None) -> Served:
    """Who answered at an instant (now where None), in the whole period around it.

    Before the first version nobody did, and `versions` is empty. Raises UsageError for a time that is yet to come.
    """
    now = clock.now()
    moment = now if at is None else at
    _refuse_future(moment, now)
    name = project.model(model).name
    (period, *_) = reversed(served_periods(ledger, name, start=moment, end=moment))
    return _with_rows(project, (period,), now=now)[0]


def served_between(
    project: Project, ledger: Ledger, clock: Clock, *, model: str | None, start: datetime, end: datetime | None
) -> tuple[Served, ...]:
    """Who answered in [start, end] (to now where None), period by period, cut to the span.

    Raises UsageError for a span that ends before it begins or goes on after now.
    """
    now = clock.now()
    until = now if end is None else end
    _refuse_future(until, now)
    if start >= until:
        raise UsageError(f"a span from {start:%Y-%m-%d %H:%M} to {until:%Y-%m-%d %H:%M} has no length")
    name = project.model(model).name
    whole = served_periods(ledger, name, start=start, end=until)
    cut = [part for one in whole if (part := one.cut(start, until)) is not None and part.start < until]
    return _with_rows(project, tuple(cut), now=now)


def _refuse_future(at: datetime, now: datetime) -> None:
    if at > now:
        raise UsageError(
            f"{at:%Y-%m-%d %H:%M} UTC is yet to come (now: {now:%Y-%m-%d %H:%M}); nobody has answered then"
        )


def _with_rows(project: Project, periods: tuple[ServedPeriod, ...], *, now: datetime) -> tuple[Served, ...]:
    log = TrafficLog(traffic_root(project), periods[0].model)
    answered = log.answered([(one.start, one.end) for one in periods])
    return tuple(_served(period, rows) for period, rows in zip(periods, answered, strict=True))


def _served(period: ServedPeriod, found: list[AnsweredRows]) -> Served:
    rows: dict[int, int] = {}
    for one in found:
        rows[one.version] = rows.get(one.version, 0) + one.rows
    total = sum(rows.values())
    promised = {one.version: one for one in period.shares}
    versions = [*promised, *sorted(rows.keys() - promised.keys())]
    return Served(
        period=period,
        versions=tuple(
            ServedVersion(
                version=version,
                promised=promised.get(version),
                rows=rows.get(version, 0),
                fraction=rows.get(version, 0) / total if total else None,
            )
            for version in versions
        ),
        rows=total,
        earlier=sum(one.rows for one in found if one.revision < period.revision),
    )
