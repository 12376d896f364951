"""The driver: a project played on a simulated calendar, an hour at a time, its endpoint a real process.

In a tick the clock moves to the hour's end, the hour's rows go to the endpoint over HTTP, and so does what turned out
to be true by then. Where control is to look, everything is first waited for: the spool is moved to the log, control
does all that is to be done (trainings are waited for), and the endpoint serves the routing the ledger holds. Only then
the clock moves on; so a seed gives one history on any machine, however slow.

Control looks every `control_every`, laid out from midnight, and every hour while a rollout is in its first step, where
a poisoned challenger must be caught soon. Between looks nothing reads the log, so the mover takes what waits while the
endpoint computes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec
import polars as pl

from everloop.clock import SimulatedClock
from everloop.control import Controller, Resources
from everloop.errors import EverloopError
from everloop.replay.client import Client, Response
from everloop.replay.feed import Feed, Requests, requests_of
from everloop.rollout import load_rollout
from everloop.traffic import Mover

__all__ = ["TICK", "Counts", "Replay"]

TICK: Final = timedelta(hours=1)
_MIDNIGHT: Final = datetime(1970, 1, 1, tzinfo=UTC)
_ALL_GOOD: Final = b'"errors":[]}'
_OUTCOMES_PER_REQUEST: Final = 1000
_SERVED_WITHIN_S: Final = 60.0


@dataclass(slots=True)
class Counts:
    """What was sent so far, and what came back.

    acknowledged: the ids of rows with an answer, hour by hour. failed_requests: those without a good answer to every
    row. outcomes: told to the endpoint, and accepted.
    """

    requests: int = 0
    rows: int = 0
    failed_requests: int = 0
    outcomes: int = 0
    acknowledged: list[pl.Series] = field(default_factory=list)

    @property
    def answered(self) -> int:
        """Rows with an answer."""
        return sum(len(ids) for ids in self.acknowledged)


class Replay:
    """One project, its traffic and its control, played together. `play` may be called again to go on.

    model: the one whose traffic is played. on_tick: called at the end of every tick. on_act: called with each sentence
    that control says.
    """

    def __init__(
        self,
        *,
        resources: Resources,
        clock: SimulatedClock,
        feed: Feed,
        client: Client,
        mover: Mover,
        model: str,
        rows_per_request: int = 20,
        control_every: timedelta = timedelta(hours=6),
        on_tick: Callable[[Replay], None] = lambda replay: None,
        on_act: Callable[[str], None] = lambda sentence: None,
    ) -> None:
        self.counts = Counts()
        self._resources = resources
        self._clock = clock
        self._feed = feed
        self._client = client
        self._mover = mover
        self.model = model
        self._rows_per_request = rows_per_request
        self._control_every = control_every
        self._on_tick = on_tick
        self._on_act = on_act
        self._controller = Controller(resources, wait=True)
        self._path = f"/v1/models/{model}"
        self._next: tuple[datetime, Requests] | None = None
        self._revision = 0
        self._first_step = False
        self._last_end: datetime | None = None

    @property
    def resources(self) -> Resources:
        """What control works with."""
        return self._resources

    def play(self, until: datetime, *, traffic_until: datetime | None = None) -> None:
        """Tick until the clock reads `until`. After `traffic_until` no rows are sent, only outcomes of earlier ones."""
        self._last_end = until if traffic_until is None else traffic_until
        while self._clock.now() < until:
            self._tick()
            self._on_tick(self)

    def _tick(self) -> None:
        start = self._clock.now()
        end = start + TICK
        requests = self._requests(start)
        outcomes = self._feed.outcomes(start, end)
        self._clock.set(end)
        self._send(requests, then=end)
        self._tell(outcomes)
        if self._control_looks(end):
            self.settle()
            self.control()

    def _control_looks(self, at: datetime) -> bool:
        if (at - _MIDNIGHT) % self._control_every == timedelta(0):
            return True
        return self._first_step

    def _requests(self, start: datetime) -> Requests:
        """The hour's requests, made ahead while the endpoint was at work."""
        if self._next is None or self._next[0] != start:
            self._prepare(start)
        assert self._next is not None
        return self._next[1]

    def _prepare(self, start: datetime) -> None:
        end = start + TICK if self._last_end is None else min(start + TICK, self._last_end)
        rows = self._feed.rows(start, max(start, end))
        self._next = (start, requests_of(rows, rows_per_request=self._rows_per_request))

    def _send(self, requests: Requests, *, then: datetime) -> None:
        def meanwhile() -> None:
            self._prepare(then)
            if (then - _MIDNIGHT) % self._control_every == timedelta(0):
                self._mover.move_once()

        answers = self._client.post(f"{self._path}/predict", requests.bodies, meanwhile=meanwhile)
        self.counts.requests += len(answers)
        self.counts.rows += requests.rows
        for answer, ids in zip(answers, requests.ids, strict=True):
            good = _acknowledged(answer, ids)
            self.counts.failed_requests += len(good) < len(ids)
            self.counts.acknowledged.append(good)

    def _tell(self, outcomes: pl.DataFrame) -> None:
        if outcomes.is_empty():
            return
        requests = requests_of(outcomes, rows_per_request=_OUTCOMES_PER_REQUEST)
        answers = self._client.post(f"{self._path}/outcomes", requests.bodies)
        self.counts.requests += len(answers)
        for answer, ids in zip(answers, requests.ids, strict=True):
            if answer.status == 200:
                self.counts.outcomes += len(ids)
            else:
                self.counts.failed_requests += 1

    def settle(self) -> None:
        """Move all that waits in the spool to the log."""
        while self._mover.pending():
            self._mover.move_once()

    def control(self) -> None:
        """Let control do all there is to do now, then wait until the endpoint serves what follows from it."""
        for sentence in self._controller.tick():
            self._on_act(sentence)
        rollout = load_rollout(self._resources.ledger, self.model)
        self._first_step = rollout is not None and rollout.index == 0
        self.follow()

    def follow(self) -> None:
        """Wait until the endpoint serves the ledger's routing. Raises EverloopError where it does not."""
        wanted = self._resources.ledger.routing_revision(self.model)
        if wanted == self._revision:
            return
        for ready in self._ready():
            served = ready["models"][self.model]
            if served["revision"] >= wanted and served["current"]:
                break
            if served["problem"] is not None:
                raise EverloopError(
                    f"the endpoint does not serve routing {wanted} of {self.model}: {served['problem']}"
                )
        self._revision = wanted

    def _ready(self) -> Iterator[dict[str, dict[str, dict[str, Any]]]]:
        """The endpoint's own words on what it serves, again and again."""
        from time import sleep

        deadline_s = self._clock.monotonic_s() + _SERVED_WITHIN_S
        while self._clock.monotonic_s() < deadline_s:
            answer = self._client.get("/readyz")
            if answer.status not in (200, 503):
                raise EverloopError(f"the endpoint gives no answer: {answer.body.decode(errors='replace')}")
            yield msgspec.json.decode(answer.body)
            sleep(0.02)
        raise EverloopError(f"the endpoint did not follow the ledger's routing within {_SERVED_WITHIN_S:.0f} s")


def _acknowledged(answer: Response, ids: pl.Series) -> pl.Series:
    """The ids of a request's rows that have an answer."""
    if answer.status == 200 and answer.body.endswith(_ALL_GOOD):
        return ids
    if answer.status != 200:
        return ids.clear()
    results = msgspec.json.decode(answer.body)["results"]
    return pl.Series(ids.name, [result["id"] for result in results], dtype=pl.String)
