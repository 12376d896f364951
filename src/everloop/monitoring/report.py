"""What was judged: one window, its verdicts and metrics; and how it is kept in and read back from the ledger."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from everloop.ledger import CheckDone, Estimate, Fact, VerdictRecord
from everloop.ledger import Window as LedgerWindow
from everloop.monitoring.reading import window_name
from everloop.stats import Interval, Verdict
from everloop.traffic import Window

__all__ = ["Check", "DueWindow", "Kind", "PastWindow", "WindowReport", "past_windows"]

Kind = Literal["traffic", "outcomes"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DueWindow:
    """A window to judge: its traffic alone once it is over, its outcomes once its whole cohort has matured."""

    kind: Kind
    window: Window
    due_at: datetime

    @property
    def name(self) -> str:
        """`traffic:2026-01-05T00:00Z`: one per model, and judged once."""
        return f"{self.kind}:{window_name(self.window)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A question asked of a window, such as `drift` or `recall`, and its answer."""

    name: str
    verdict: Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowReport:
    """A judged window.

    rows: of the window; matured: those whose outcome is known; positives: of these. metrics: by name, with intervals
    where there are any. numbers: what later windows need of this one. seq: of the fact, 0 before it is written.
    opened, closed: alerts.
    """

    model: str
    kind: Kind
    window: Window
    version: int | None
    rows: int
    checks: tuple[Check, ...]
    metrics: Mapping[str, Estimate] = field(default_factory=dict)
    numbers: Mapping[str, Any] = field(default_factory=dict)
    matured: int = 0
    positives: int = 0
    seq: int = 0
    opened: tuple[str, ...] = ()
    closed: tuple[str, ...] = ()

    @property
    def failed(self) -> tuple[Check, ...]:
        """The checks that failed."""
        return tuple(check for check in self.checks if check.verdict.is_failed)

    @property
    def name(self) -> str:
        """As `DueWindow.name`."""
        return f"{self.kind}:{window_name(self.window)}"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return {
            "model": self.model,
            "kind": self.kind,
            "start": self.window.start.isoformat(),
            "end": self.window.end.isoformat(),
            "version": self.version,
            "rows": self.rows,
            "matured": self.matured,
            "positives": self.positives,
            "metrics": {name: estimate_dict(one) for name, one in self.metrics.items()},
            "checks": [{"check": check.name, **check.verdict.to_dict()} for check in self.checks],
            "alerts_opened": list(self.opened),
            "alerts_closed": list(self.closed),
        }

    def payload(self) -> CheckDone:
        """What the ledger keeps of it."""
        return CheckDone(
            model=self.model,
            window=LedgerWindow(start=self.window.start, end=self.window.end),
            verdicts=[verdict_record(check) for check in self.checks],
            version=self.version,
            rows=self.rows,
            matured=self.matured,
            positives=float(self.positives),
            metrics=dict(self.metrics),
            details={"kind": self.kind, "numbers": dict(self.numbers)},
        )


def verdict_record(check: Check) -> VerdictRecord:
    """A check as the ledger keeps it."""
    verdict = check.verdict
    return VerdictRecord(
        name=check.name, outcome=verdict.outcome, sentence=verdict.sentence, evidence=dict(verdict.evidence)
    )


def estimate(value: float | Interval, *, rows: float | None = None, positives: float | None = None) -> Estimate:
    """A number, with its interval where it has one, as the ledger keeps it."""
    if isinstance(value, Interval):
        low, point, high = value.low, value.point, value.high
        return Estimate(point=point, low=low, high=high, level=value.level, rows=rows, positives=positives)
    return Estimate(point=value, rows=rows, positives=positives)


def estimate_dict(one: Estimate) -> dict[str, Any]:
    """Plain JSON of it."""
    names = ("point", "low", "high", "level", "rows", "positives")
    return {name: getattr(one, name) for name in names}


@dataclass(frozen=True, slots=True, kw_only=True)
class PastWindow:
    """A judged window, read back from its fact. outcomes: check → passed, failed or undecided."""

    seq: int
    kind: Kind
    window: Window
    version: int | None
    rows: int
    outcomes: Mapping[str, str]
    numbers: Mapping[str, Any]

    @property
    def name(self) -> str:
        """As `DueWindow.name`."""
        return f"{self.kind}:{window_name(self.window)}"


def past_windows(facts: Iterable[Fact]) -> Sequence[PastWindow]:
    """The judged windows of `check.done` facts, in their order; facts of other makers are passed over."""
    found = []
    for fact in facts:
        payload, kind = fact.payload, fact.payload.get("details", {}).get("kind")
        if kind not in ("traffic", "outcomes"):
            continue
        start, end = (datetime.fromisoformat(payload["window"][side]) for side in ("start", "end"))
        found.append(
            PastWindow(
                seq=fact.seq,
                kind=kind,
                window=Window(start=start, end=end),
                version=payload["version"],
                rows=payload["rows"],
                outcomes={one["name"]: one["outcome"] for one in payload["verdicts"]},
                numbers=payload["details"].get("numbers", {}),
            )
        )
    return found
