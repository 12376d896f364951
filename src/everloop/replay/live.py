"""The live view: the phase, the traffic, the metrics, the rollout, and the story as it unfolds."""

from __future__ import annotations

from collections import deque
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from everloop.ledger import Ledger
from everloop.replay.replay import Replay
from everloop.replay.story import Event, shortened
from everloop.replay.world import WorldPlan

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

__all__ = ["LiveView"]

_BARS: Final = "▁▂▃▄▅▆▇█"
_LOWEST: Final = 0.3
_STORY_LINES: Final = 9
_WIDTH: Final = 80
_BAR_WIDTH: Final = 40
_LABEL_WIDTH: Final = 7
_LINE_WIDTH: Final = _WIDTH - 4
"""Within the panel's border and its padding."""


class LiveView:
    """Redraws itself a few times a second on a terminal while the demo plays; leaves nothing behind."""

    def __init__(self, console: Console) -> None:
        from rich.live import Live

        self._phase = ""
        self._day = 0.0
        self._days = 0
        self._now: datetime | None = None
        self._rows = 0
        self._requests = 0
        self._failed = 0
        self._rates: deque[tuple[float, int]] = deque(maxlen=48)
        self._exposure = "–"
        self._alert = "none"
        self._recall: dict[str, float] = {}
        self._read_day = -1
        self._story: deque[str] = deque(maxlen=_STORY_LINES)
        self._live = Live(
            console=console, refresh_per_second=4, transient=True, get_renderable=self._drawn, redirect_stderr=False
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def phase(self, sentence: str) -> None:
        """Another part of the demo begins."""
        self._phase = sentence

    def happened(self, plan: WorldPlan, event: Event) -> None:
        """A line of the story."""
        day = f"day {plan.day_of(event.at):3.0f}  "
        self._story.append(day + shortened(event.text, _LINE_WIDTH - len(day)))

    def ticked(self, plan: WorldPlan, replay: Replay) -> None:
        """An hour went by."""
        resources, counts = replay.resources, replay.counts
        now = resources.clock.now()
        self._now, self._day, self._days = now, min(plan.day_of(now), plan.days), plan.days
        self._rows, self._requests, self._failed = counts.rows, counts.requests, counts.failed_requests
        self._rates.append((resources.clock.monotonic_s(), counts.rows))
        self._phase = _phase(resources.ledger, replay.model, now >= plan.closes_at)
        if int(self._day) != self._read_day:
            self._read_day = int(self._day)
            self._read(resources.ledger, replay.model)

    def _read(self, ledger: Ledger, model: str) -> None:
        """What the ledger says of exposure, alerts and metrics; once a simulated day."""
        routing = ledger.routing(model)
        if routing is not None:
            tried = [f"v{one.version} in {_share(one.mode, one.share)}" for one in routing.challengers]
            self._exposure = ", ".join([f"v{routing.champion} answers", *tried])
        opened = ledger.alerts(model, open_only=True)
        self._alert = "; ".join(f"{alert.alert} {alert.check}" for alert in opened) or "none"
        for fact in ledger.facts(kind="check.done", subject=model, limit=4, newest_first=True):
            recall = fact.payload["metrics"].get("recall")
            if recall is not None and recall["point"] is not None:
                self._recall[fact.payload["window"]["start"]] = recall["point"]

    def _rate(self) -> float:
        if len(self._rates) < 2:
            return 0.0
        (first_s, first), (last_s, last) = self._rates[0], self._rates[-1]
        return (last - first) / max(last_s - first_s, 1e-9)

    def _drawn(self) -> RenderableType:
        from rich.console import Group
        from rich.panel import Panel
        from rich.table import Table
        from rich.text import Text

        done = 0 if self._days == 0 else int(_BAR_WIDTH * self._day / self._days)
        bar = "█" * done + "░" * (_BAR_WIDTH - done)
        when = "" if self._now is None else f"{self._now:%a %d %b %H:%M}"
        values = [self._recall[key] for key in sorted(self._recall)][-_BAR_WIDTH:]
        newest = f" {values[-1]:.2f}" if values else "no outcome is known yet"
        table = Table.grid(padding=(0, 2, 0, 0))
        table.add_column(style="bold", width=_LABEL_WIDTH)
        table.add_column(overflow="ellipsis", no_wrap=True)
        for name, value in (
            ("phase", self._phase),
            ("day", f"{bar} {self._day:.0f} of {self._days}  {when}"),
            ("traffic", f"{self._rows:,} rows, {self._requests:,} requests, {self._rate():,.0f} rows/s, "
                        f"{self._failed} failed"),
            ("recall", "".join(_block(value) for value in values) + newest),
            ("serving", self._exposure),
            ("alerts", self._alert),
        ):  # fmt: skip
            table.add_row(name, Text(value))
        story = Text("\n".join(["", *self._story]))
        return Panel(Group(table, story), title="everloop demo", width=_WIDTH, padding=(0, 1))


def _phase(ledger: Ledger, model: str, closed: bool) -> str:
    if closed:
        return "waiting for the last outcomes"
    if ledger.rollouts(model, running_only=True):
        return "phase 2: a challenger is tried, step by step"
    if ledger.alerts(model, open_only=True):
        return "phase 4: an alert is being answered"
    return "phase 3: answering, watching"


def _share(mode: Any, share: float) -> str:
    return "the shadow" if mode == "shadow" else f"{share:.3g} of the keys" if share < 0.01 else f"{share:.0%}"


def _block(value: float) -> str:
    """A recall as one character."""
    place = (value - _LOWEST) / (1 - _LOWEST) * len(_BARS)
    return _BARS[max(0, min(len(_BARS) - 1, int(place)))]
