"""What `rollout plan` shows on a terminal, in 80 columns: the verdict, what it takes, and days over shares."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

from everloop.experiment.online_plan import Course, OnlinePlan, cells, lasting, percent, plain

if TYPE_CHECKING:
    from rich.console import Group, RenderableType

__all__ = ["days_plot", "online_screen"]

_WIDTH: Final = 62
_HEIGHT: Final = 12
_LEFT: Final = 9
_TICKS_DAYS: Final = (
    (1, "1 day"),
    (7, "1 week"),
    (30, "30 days"),
    (365, "1 year"),
    (3650, "10 years"),
    (36500, "100 y"),
)
_TICKS_SHARE: Final = (0.001, 0.01, 0.1, 0.5)


def online_screen(plan: OnlinePlan) -> Group:
    """The plan for a terminal, 80 columns wide."""
    from rich.console import Group
    from rich.text import Text

    title = Text.assemble((plan.model, "bold"), f"  {plan.source}", overflow="ellipsis", no_wrap=True)
    parts: list[RenderableType] = [title, _listed(_head(plan)), Text(), _needs(plan), Text()]
    parts += [Text(line, no_wrap=True) for line in days_plot(plan)]
    parts += [Text(), Text(plan.sentence, style="green" if plan.enough else "bold red"), Text()]
    parts += [_listed([("·", note) for note in plan.notes])]
    if plan.page is not None:
        parts += [Text(), Text(f"page: {plan.page}")]
    return Group(*parts)


def _head(plan: OnlinePlan) -> Iterator[tuple[str, str]]:
    base, seen, asked, effect = plan.baseline, plan.volume, plan.asked, plan.effect
    part = "" if base.part == 1 else f" ({percent(base.part)} of the rows)"
    yield "today", f"{base.metric} {plain(base.value)}: {base.origin}; over {base.counted}{part}"
    relative = "" if effect.relative is None else f", {percent(effect.relative)} of it"
    yield "to see", f"{plain(effect.absolute)}{relative}: {effect.origin}"
    users = "" if seen.users_per_day is None else f" of {plain(seen.users_per_day)} users ({seen.entity})"
    yield "traffic", f"{plain(seen.rows_per_day)} rows a day{users}, the median day of {lasting(seen.span_days)}"
    late = f", with outcomes after {lasting(asked.delay_days)}" if asked.delay_days else ""
    share = f"{percent(asked.share)} of {seen.users} ({asked.share_origin})"
    yield "asked", f"{share}, an answer within {lasting(asked.days)}{late}"


def _listed(items: Iterable[tuple[str, str]]) -> RenderableType:
    """A word and what is said of it, a line or more each."""
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 1, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, said in items:
        table.add_row(Text(name), Text(said))
    return table


def _needs(plan: OnlinePlan) -> RenderableType:
    from rich.table import Table

    asked = plan.asked
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column(f"{plan.baseline.counted} needed", no_wrap=True)
    for name in ("challenger", "champion", "rows in all", "takes"):
        table.add_column(name, justify="right", no_wrap=True)
    courses: list[tuple[str, Course]] = [(f"A/B at {percent(asked.share)}", plan.arms)]
    courses += [] if plan.paired is None else [("paired", plan.paired)]
    for name, course in courses:
        ways = (("judged once", course.once), ("any time, 1 in 2", course.half), ("any time, 9 in 10", course.most))
        for at, (way, need) in enumerate(ways):
            table.add_row(f"{name if at == 0 else '':<11} {way}", *cells(need))
    return table


def days_plot(plan: OnlinePlan) -> list[str]:
    """Days over shares, both logarithmic: `●` judged once, `○` nine in ten, `─` the limit, `┊` the asked share."""
    once = [(point.share, point.once) for point in plan.curve]
    most = [(point.share, point.most) for point in plan.curve if point.most is not None]
    days = [day for _, day in (*once, *most)] + [plan.asked.days]
    paired = None if plan.paired is None or plan.paired.most is None else plan.paired.most.days
    days += [] if paired is None else [paired]
    canvas = _Canvas(shares=(plan.curve[0].share, plan.curve[-1].share), days=(min(days), min(max(days), 1e6)))
    canvas.across(plan.asked.days, "─")
    if paired is not None:
        canvas.across(paired, "·")
    canvas.down(plan.asked.share, "┊")
    canvas.curve(most, "○")
    canvas.curve(once, "●")
    legend = "● A/B judged once  ○ A/B any time, 9 in 10"
    legend += "" if paired is None else "  · paired, 9 in 10"
    return ["days until the answer, by the share of users that see the challenger", *canvas.lines(),
            f"{legend}  ─ limit"]  # fmt: skip


class _Canvas:
    """Characters over two logarithmic axes. shares, days: lowest and highest, above 0."""

    def __init__(self, *, shares: tuple[float, float], days: tuple[float, float]) -> None:
        self._shares = shares
        self._days = days[0] / 1.2, days[1] * 1.2
        self._cells = [[" "] * _WIDTH for _ in range(_HEIGHT)]

    def _column(self, share: float) -> int:
        return round(_place(share, self._shares) * (_WIDTH - 1))

    def _row(self, days: float) -> int:
        return _HEIGHT - 1 - round(_place(days, self._days) * (_HEIGHT - 1))

    def across(self, days: float, mark: str) -> None:
        """A line over every share."""
        self._cells[self._row(days)] = [mark] * _WIDTH

    def down(self, share: float, mark: str) -> None:
        """A line over every number of days."""
        for row in self._cells:
            row[self._column(share)] = mark

    def curve(self, points: Sequence[tuple[float, float]], mark: str) -> None:
        """A mark in every column between the first point and the last."""
        if not points:
            return
        columns = {self._column(share): self._row(days) for share, days in points}
        known = sorted(columns)
        for column in range(known[0], known[-1] + 1):
            left = max(one for one in known if one <= column)
            right = min(one for one in known if one >= column)
            part = 0.0 if right == left else (column - left) / (right - left)
            self._cells[round(columns[left] + part * (columns[right] - columns[left]))][column] = mark

    def lines(self) -> list[str]:
        """The rows from above, each with its tick, and the axis of shares below."""
        names = {self._row(day): name for day, name in _TICKS_DAYS if self._days[0] <= day <= self._days[1]}
        drawn = [f"{names.get(at, ''):>{_LEFT}} {'┤' if at in names else '│'}{''.join(row)}".rstrip()
                 for at, row in enumerate(self._cells)]  # fmt: skip
        axis, texts = ["─"] * _WIDTH, [" "] * (_WIDTH + 4)
        for share in _TICKS_SHARE:
            if self._shares[0] <= share <= self._shares[1]:
                column, text = self._column(share), percent(share)
                axis[column] = "┬"
                start = max(0, column - len(text) // 2)
                texts[start : start + len(text)] = text
        return [*drawn, f"{'':>{_LEFT}} └{''.join(axis)}", f"{'':>{_LEFT}}  {''.join(texts)}".rstrip()]


def _place(value: float, ends: tuple[float, float]) -> float:
    """Where a value lies between the ends, in [0, 1], on a logarithmic scale."""
    whole = math.log(ends[1] / ends[0])
    return min(max(math.log(max(value, 1e-12) / ends[0]) / whole, 0.0), 1.0) if whole > 0 else 0.5
