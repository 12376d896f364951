"""Requests as they were answered, counted: by route, model and status, by problem, and by how long they took."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from everloop.serving.histogram import Histogram

if TYPE_CHECKING:
    from everloop.serving.batcher import Reply
    from everloop.serving.counters import SlotRecord
    from everloop.serving.histogram import Bins

__all__ = ["DURATION_EDGES_S", "Requests"]

DURATION_EDGES_S: Final = (
    *(0.0005, 0.001, 0.002, 0.005, 0.01, 0.015, 0.02, 0.03, 0.05),
    *(0.075, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0),
)


class Requests:
    """A worker's requests. Written by the event loop alone, read by any thread.

    A key is names with spaces between: model, route, and status or kind of problem.
    """

    def __init__(self, before: SlotRecord | None = None) -> None:
        """before: what the slot's last worker left."""
        self._answered: dict[tuple[str, str, int], Histogram] = {}
        self._problems: dict[tuple[str, str, str], int] = {}
        self._refused_rows: dict[tuple[str, str], int] = {}
        self._before = before

    def answered(self, route: str, model: str, reply: Reply, *, took_s: float) -> None:
        """Count a request that was answered."""
        key = (model, route, reply.status)
        durations = self._answered.get(key)
        if durations is None:
            durations = self._answered[key] = Histogram(DURATION_EDGES_S)
        durations.add(took_s)
        if reply.problem is not None:
            problem = (model, route, reply.problem)
            self._problems[problem] = self._problems.get(problem, 0) + 1
        if reply.refused:
            where = (model, route)
            self._refused_rows[where] = self._refused_rows.get(where, 0) + reply.refused

    def statuses(self) -> dict[str, int]:
        """Requests by model, route and status."""
        counts = {" ".join(map(str, key)): sum(found.bins().counts) for key, found in list(self._answered.items())}
        return _added({} if self._before is None else self._before.requests, counts)

    def problems(self) -> dict[str, int]:
        """Requests that were answered with a problem, by model, route and kind."""
        counts = {" ".join(key): count for key, count in list(self._problems.items())}
        return _added({} if self._before is None else self._before.problems, counts)

    def refused_rows(self) -> dict[str, int]:
        """Rows that were not taken, by model and route."""
        counts = {" ".join(key): count for key, count in list(self._refused_rows.items())}
        return _added({} if self._before is None else self._before.refused_rows, counts)

    def durations(self) -> dict[str, Bins]:
        """Seconds from a request's head to its answer, by model and route."""
        before = {} if self._before is None else self._before.durations
        # what was counted with other edges is left out
        told = {key: bins for key, bins in before.items() if len(bins.counts) == len(DURATION_EDGES_S) + 1}
        for (model, route, _), found in list(self._answered.items()):
            key = f"{model} {route}"
            told[key] = told[key] + found.bins() if key in told else found.bins()
        return told


def _added(before: Mapping[str, int], counts: Mapping[str, int]) -> dict[str, int]:
    return {key: before.get(key, 0) + counts.get(key, 0) for key in {**before, **counts}}
