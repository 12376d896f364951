"""A file check as people read it on a terminal: 80 columns, the answer first."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from everloop.monitoring.file_check import FileAlert, FileCheck, FileWindow
from everloop.monitoring.labelled import NEAR, SHARES
from everloop.project import format_duration

__all__ = ["file_check_screen"]

_BAR = 18
_MOST_LINES = 40


def file_check_screen(check: FileCheck) -> RenderableType:
    """The answer, the alerts with what they cost, and the windows one by one."""
    parts: list[RenderableType] = [Text(check.sentence, style="bold"), Text("")]
    parts += [Text(line) for line in _facts(check)]
    for alert in check.alerts:
        parts += [Text(""), *_alert(alert)]
    parts += [Text(""), _windows(check)]
    return Group(*parts)


def _facts(check: FileCheck) -> Iterator[str]:
    numeric, span = NEAR in check.expected, f"{check.start:%Y-%m-%d} to {check.end:%Y-%m-%d}"
    if numeric:
        yield f"{check.path}: {check.rows:,} predictions of a number,"
        yield f"{span}; near is within {check.threshold:.4g} ({check.threshold_from})"
    else:
        yield f"{check.path}: {check.rows:,} predictions, {check.positives:,} positives,"
        yield f"{span}; threshold {check.threshold:.4g} ({check.threshold_from})"
    shares = ", ".join(f"{name} {interval:.2f}" for name, interval in check.expected.items())
    yield f"reference until {check.reference_end:%Y-%m-%d}: {shares}"
    yield (
        f"windows of {format_duration(check.every)}, outcomes {format_duration(check.delay)} late, "
        f"false alarms {check.false_alarms} over everything"
    )
    yield from check.notes


def _alert(alert: FileAlert) -> Iterator[Text]:
    kind = "on outcomes" if alert.evidence_kind == "labels" else "no label needed"
    yield Text(f"alert {alert.at:%Y-%m-%d %H:%M} UTC ({alert.check}, {kind})", style="bold red")
    yield Text(f"  {alert.sentence}")
    yield Text(
        f"  {alert.until_alert} until it came, {alert.until_end.excess:,.0f} by the end of the file", style="dim"
    )


def _windows(check: FileCheck) -> Table:
    """A line per window; of many, every second, third … and all that failed."""
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    names = ("mean error", NEAR) if NEAR in check.expected else ("positives", *SHARES)
    for name in ("window from", "rows", *names):
        table.add_column(name, justify="left" if name == "window from" else "right", no_wrap=True)
    table.add_column("", no_wrap=True)
    step = -(-len(check.windows) // _MOST_LINES)
    raised = {alert.window for alert in check.alerts}
    for place, one in enumerate(check.windows):
        if place % step == 0 or one.window in raised:
            table.add_row(*_cells(one), "◀ alert" if one.window in raised else _failed(one))
    return table


def _cells(one: FileWindow) -> list[str]:
    at, numeric = f"{one.window.start:%Y-%m-%d %H:%M}", NEAR in one.counts
    names = (NEAR,) if numeric else SHARES
    shares = [f"{one.shares[name].point:.2f}" if name in one.shares else "–" for name in names]
    error = "–" if one.mean_error is None else f"{one.mean_error:.4g}"
    return [at, f"{one.rows:,}", error if numeric else f"{one.positives:,}", *shares]


def _failed(one: FileWindow) -> str:
    names = [check.name for check in one.checks if check.verdict.is_failed]
    said = ", ".join(names)
    return said if len(said) <= _BAR else f"{names[0]}, {len(names) - 1} more"
