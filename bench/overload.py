"""What three times too much does to the endpoint: `python -m bench.overload --json [--minutes N]`.

A model of 2,000 trees is served by one process on one core, so that the load, on the other core with the mover, can
send three times what it answers. `bench.flood` sends when requests are due, on 5,000 connections that come again at
once when they are turned away. Beside it `/healthz` is asked, and the endpoint's memory looked at, twice a second.

saturated_per_s: answers at 64 connections that wait for each other (wrk), before and after. accepted_share: those
accepted under the flood, of these; accepted, turned_away, held: requests, of those due (see `bench.flood`).
p99_of_bound: the 99th percentile of the accepted, from sending to the whole answer, as a part of what they may wait:
the second that a connection rests which was turned away, and two times the `endpoint.queue` (2,000 requests) at the
rate of their answers, one that is read while the one before it is answered.
health_ms: the longest that `/healthz` took. growth_mb: of the endpoint's own memory after the first half, or after the
first minute where it takes longer than two: the most afterwards less the most before. Own is what is resident and not
shared: the tables of ids (16 MB each, two at most) are files that all workers map; rss_mb has them as well.
Each accepted request is looked for in the log: it is there once, or the bench fails.
Held: the figures in AT_LEAST and AT_MOST; the exit code is 1 where one is not.
"""

from __future__ import annotations

import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import mean
from typing import Any, Final

import psutil
from bench.claims import arguments, refuse_without, told, unkept
from bench.flood import Flood, flood
from bench.served import made
from bench.servers import Server, endpoint

from everloop.project import Project
from everloop.serving.resting import REST_S
from everloop.serving.rounds import Rounds

AT_LEAST: Final = {"accepted_share": 0.6, "turned_away": 1}
AT_MOST: Final = {"p99_of_bound": 1.0, "other": 0, "broken": 0, "growth_mb": 16.0, "health_ms": 1_000.0}
TREES: Final = 2_000
TIMES: Final = 3.0
CONNECTIONS: Final = 5_000
_SATURATED_S: Final = 5
_WARM_S: Final = 60.0
_LOAD_CORE: Final = 1


@dataclass
class Watched:
    """What was seen of the endpoint: at which second, its resident and its own memory; how long `/healthz` took."""

    at_s: list[float] = field(default_factory=list)
    rss_mb: list[float] = field(default_factory=list)
    own_mb: list[float] = field(default_factory=list)
    health_ms: list[float] = field(default_factory=list)

    def growth_mb(self, *, warm_s: float) -> float:
        """The most of its own memory after `warm_s`, less the most before."""
        before = [size for at, size in zip(self.at_s, self.own_mb, strict=True) if at <= warm_s]
        after = [size for at, size in zip(self.at_s, self.own_mb, strict=True) if at > warm_s]
        return max(after) - max(before)


@contextmanager
def watched(server: Server) -> Iterator[Watched]:
    """Look twice a second until the context ends."""
    seen, began_s = Watched(), time.monotonic()
    process, health = psutil.Process(server.process.pid), server.url.partition("/v1/")[0] + "/healthz"

    def look() -> None:
        asked_s = time.perf_counter()
        with urllib.request.urlopen(health, timeout=30) as told:
            told.read()
        seen.health_ms.append((time.perf_counter() - asked_s) * 1e3)
        memory = process.memory_info()
        seen.at_s.append(time.monotonic() - began_s)
        seen.rss_mb.append(memory.rss / 1e6)
        seen.own_mb.append((memory.rss - memory.shared) / 1e6)

    looks = Rounds(look, name="watched", every_s=0.5)
    looks.start()
    try:
        yield seen
    finally:
        looks.stop()


def overloaded(server: Server, *, seconds: float) -> dict[str, Any]:
    """Saturate, flood, saturate again."""
    server.busiest(seconds=1)
    saturated = [server.busiest(seconds=_SATURATED_S).per_s]
    rate = TIMES * saturated[0]
    with watched(server) as seen:
        found = flood(server.url, server.bodies, rate=rate, connections=CONNECTIONS, seconds=seconds, core=_LOAD_CORE)
    server.answers += found.accepted
    saturated.append(server.busiest(seconds=_SATURATED_S).per_s)
    return figures(found, seen, saturated=saturated, queue=_queue(server))


def figures(found: Flood, seen: Watched, *, saturated: list[float], queue: int) -> dict[str, Any]:
    """The document's figures."""
    accepted_per_s = found.accepted / found.seconds
    bound_ms = (REST_S + 2 * queue / accepted_per_s) * 1e3
    return asdict(found) | {
        "saturated_per_s": [round(one) for one in saturated],
        "accepted_per_s": round(accepted_per_s),
        "accepted_share": round(accepted_per_s / mean(saturated), 3),
        "offered": round(found.sent / found.seconds / mean(saturated), 2),
        "bound_ms": round(bound_ms),
        "p99_of_bound": round(found.p99_ms / bound_ms, 3),
        "health_ms": round(max(seen.health_ms), 1),
        "growth_mb": round(seen.growth_mb(warm_s=min(_WARM_S, found.seconds / 2)), 1),
        "rss_mb": round(max(seen.rss_mb), 1),
        "own_mb": [round(one) for one in seen.own_mb[:: max(1, len(seen.own_mb) // 20)]],
    }


def broken(document: Mapping[str, Any]) -> list[str]:
    """What of the claims the numbers do not keep."""
    return unkept(document, at_least=AT_LEAST, at_most=AT_MOST)


def _queue(server: Server) -> int:
    assert server.folder is not None
    return Project.open(server.folder).settings.endpoint.queue


def main() -> int:
    """Measure, print one JSON document; 1 where a claim was not kept."""
    parser = arguments("overload", __doc__)
    parser.add_argument("--minutes", type=float, default=1.0, help="of the flood")
    given = parser.parse_args()
    refuse_without(parser, {"wrk": "wrk", "taskset": "util-linux"})
    with tempfile.TemporaryDirectory(prefix="everloop-bench-") as name:
        scratch = Path(name)
        (scratch / "served").mkdir()
        served = made(scratch / "served", rows_per_day=1_100, trees=TREES)
        document: dict[str, Any] = {"bench": "overload", "trees": TREES, "connections": CONNECTIONS, "times": TIMES}
        with endpoint(served, scratch / "place") as server:
            document |= overloaded(server, seconds=60.0 * given.minutes)
    return told(document, broken(document), line=given.json, name="broken_claims")


if __name__ == "__main__":
    sys.exit(main())
