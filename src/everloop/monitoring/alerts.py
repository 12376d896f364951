"""When a failed check becomes an alert, and when an alert needs nobody any more. Pure decisions over what is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from everloop.ids import new_run_id
from everloop.ledger import AlertOpened, AlertState
from everloop.ledger import Window as LedgerWindow
from everloop.monitoring.labelled import SHARES, Counted, as_before
from everloop.monitoring.reading import window_name
from everloop.monitoring.reference import Expected
from everloop.monitoring.report import PastWindow, WindowReport
from everloop.project import METRICS

__all__ = ["Closing", "alert_id", "alerts_to_close", "alerts_to_open"]

# Windows in a row that a check must pass on the same version before its alert closes by itself.
PASSED_IN_A_ROW: Final = 7
PASSED_BY_THE_NEXT: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Closing:
    """An alert to close, and why."""

    alert: str
    reason: str


def alert_id(model: str, check: str, version: int | None, start: str) -> str:
    """`a-` and six letters, the same for the same check of the same version and window."""
    return "a" + new_run_id(f"{model}:{check}:{version}:{start}")[1:]


def alerts_to_open(report: WindowReport, open_alerts: Sequence[AlertState], *, policy: str) -> list[AlertOpened]:
    """One alert per failed check, unless one of that check is open for this version already."""
    taken = {(alert.check, alert.record.get("version")) for alert in open_alerts}
    return [
        AlertOpened(
            alert=alert_id(report.model, check.name, report.version, window_name(report.window)),
            model=report.model,
            check=check.name,
            window=LedgerWindow(start=report.window.start, end=report.window.end),
            sentence=check.verdict.sentence,
            evidence_kind="labels" if check.name in METRICS else "no labels",
            evidence=dict(check.verdict.evidence),
            version=report.version,
            policy=policy,
        )
        for check in report.failed
        if (check.name, report.version) not in taken
    ]


def alerts_to_close(
    report: WindowReport, open_alerts: Sequence[AlertState], past: Sequence[PastWindow]
) -> list[Closing]:
    """The alerts that this window, after the earlier ones, shows to be over.

    Of labels: where the windows after the alert's, of the champion that followed or of the same one, show no drop
    from what was expected when it was opened. So an alert that was answered by half a repair stays open.
    Without labels: where the next champion passed the check once, or the same one passed it seven times in a row.
    past: all judged windows of the model, the reported one included, oldest first.
    """
    found = []
    for alert in open_alerts:
        outcomes = {check.name: check.verdict.outcome for check in report.checks}
        if alert.check not in outcomes or report.window.start <= _start(alert):
            continue
        since = [one for one in past if one.window.start > _start(alert) and alert.check in one.outcomes]
        mine = [one for one in since if one.version == report.version]
        of_labels = alert.evidence_kind == "labels"
        reason = (_over_with_labels if of_labels else _over_without)(alert, mine, report.version)
        if reason:
            found.append(Closing(alert=alert.alert, reason=reason))
    return found


def _start(alert: AlertState) -> datetime:
    return datetime.fromisoformat(alert.window["start"])


def _over_with_labels(alert: AlertState, mine: Sequence[PastWindow], version: int | None) -> str:
    changed = version != alert.record.get("version")
    if alert.check not in SHARES:
        return _over_without(alert, mine, version)
    expected = _expected(alert.evidence)
    seen = counted(alert.check, mine)[-PASSED_IN_A_ROW:]
    if expected is None or (not changed and len(seen) < PASSED_IN_A_ROW) or not as_before(seen, expected):
        return ""
    caught, of = sum(one.successes for one in seen), sum(one.n for one in seen)
    rate = f"{alert.check} {caught / of:.2f} ({caught:,.0f} of {of:,.0f}) where {expected.point:.2f} was expected"
    return f"v{version} restored it: {rate}" if changed else f"it came back by itself: {rate}"


def _expected(evidence: Mapping[str, Any]) -> Expected | None:
    point, n = evidence.get("expected"), evidence.get("expected_n")
    return None if point is None or n is None else Expected(successes=point * n, n=n)


def _over_without(alert: AlertState, mine: Sequence[PastWindow], version: int | None) -> str:
    changed = version != alert.record.get("version")
    needed = PASSED_BY_THE_NEXT if changed else PASSED_IN_A_ROW
    newest = [one.outcomes[alert.check] for one in mine[-needed:]]
    if len(newest) < needed or any(outcome != "passed" for outcome in newest):
        return ""
    return f"v{version} passes {alert.check}" if changed else f"{alert.check} passed in {needed} windows in a row"


def counted(name: str, past: Sequence[PastWindow]) -> list[Counted]:
    """A share's counts in those windows that have them, oldest first."""
    found = []
    for one in past:
        counts = one.numbers.get("shares", {}).get(name)
        if counts is not None:
            found.append(Counted(window=one.window, successes=counts[0], n=counts[1]))
    return found
