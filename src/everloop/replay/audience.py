"""Whoever watches a demo: nobody, a log of plain lines, or a live screen."""

from __future__ import annotations

from types import TracebackType
from typing import Protocol, Self, TextIO

from everloop.replay.replay import Replay
from everloop.replay.story import Event
from everloop.replay.world import WorldPlan

__all__ = ["Audience", "Lines", "Nobody"]


class Audience(Protocol):
    """Is told what goes on; a context manager around the whole demo."""

    def __enter__(self) -> Self:
        """Begin to watch."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End, and leave the terminal as it was."""
        ...

    def phase(self, sentence: str) -> None:
        """Another part of the demo begins."""
        ...

    def happened(self, plan: WorldPlan, event: Event) -> None:
        """A line of the story."""
        ...

    def ticked(self, plan: WorldPlan, replay: Replay) -> None:
        """An hour went by."""
        ...


class Nobody:
    """Watches nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def phase(self, sentence: str) -> None:
        """Nothing."""

    def happened(self, plan: WorldPlan, event: Event) -> None:
        """Nothing."""

    def ticked(self, plan: WorldPlan, replay: Replay) -> None:
        """Nothing."""


class Lines(Nobody):
    """Plain lines, where there is no terminal: phases, the story, and a count every week."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def phase(self, sentence: str) -> None:
        """A line."""
        self._say(f"          {sentence}")

    def happened(self, plan: WorldPlan, event: Event) -> None:
        """A line with its day."""
        self._say(f"day {plan.day_of(event.at):5.1f} {event.text}")

    def ticked(self, plan: WorldPlan, replay: Replay) -> None:
        """A line a week."""
        now = replay.resources.clock.now()
        if now.hour == 0 and round(plan.day_of(now)) % 7 == 0 and now <= plan.closes_at:
            counts = replay.counts
            self._say(f"day {plan.day_of(now):5.1f} {counts.rows:,} rows in {counts.requests:,} requests answered")

    def _say(self, line: str) -> None:
        self._out.write(line + "\n")
        self._out.flush()
