"""What an answer costs: `python -m bench.serving --json [--seconds N] [--repeats N] [--only KEYS]`.

An XGBoost of 100 trees and 30 features of the fraud template is served with capture on, by one process on one core; the
other core has wrk, and the mover, which gives way to it. A request is one row, 20,000 of them in turn, no two alike.
Where two servers are compared they take turns in one run, and a ratio is the median of the turns'. After each load the
mover catches up; after the last one the log is counted: each answer is in it once, or the bench fails.

echo_ratio: requests a second at 64 connections, beside the same server around an app that reads the body and gives as
many bytes as ours. echo_ratio_with_ids: the same with an id of its own in each request, for information.
p50_ms_1: median at one connection. p99_ms_half: at half of its most, sent when it is due by `bench.load` and counted
from then; `late_p99_ms` is how late the generator was itself. echo_...: the bare answer, at the same rate.
vs_mlflow, vs_bentoml: requests a second beside `mlflow models serve` and BentoML with adaptive batching, each with the
same fitted model in an environment of its own, on the same core, asked for the same rows' scores by their features;
that all give XGBoost's own scores is checked. MLflow has the model with a signature and takes frames
(`dataframe_split`), as it advises; vs_mlflow_bare is without either (`inputs`), its quickest, for information.
shadow_ratio: with a second version tried in shadow. two_workers_ratio: two processes and one, where servers and load
share both cores in either case, as there are no more, and the mover rests while there is load; with it, for
information, two_workers_with_mover_ratio. new_connections_ratio: requests a second that each come on a connection of
their own, 64 at once, beside those on 64 that are kept. durability_full_ratio: with `durability: full`, for
information. rest_mb: resident memory of the endpoint's process that answered no one yet (rest_pss_mb: shared pages by
their share). ready_s: from its start to its first 200 of /readyz.
Held: the figures in AT_LEAST and AT_MOST; the exit code is 1 where one is not.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

import psutil
from bench.claims import arguments, refuse_without, told, unkept
from bench.peers.environment import CACHE
from bench.served import FEATURES, TREES, Served, made
from bench.servers import Server, bentoml, echo, endpoint, mlflow, started

AT_LEAST: Final = {
    "echo_ratio": 0.40,
    "vs_mlflow": 80.0,
    "vs_bentoml": 15.0,
    "shadow_ratio": 0.85,
    "two_workers_ratio": 1.4,
    "new_connections_ratio": 0.2,
}
AT_MOST: Final = {"p50_ms_1": 0.6, "p99_ms_half": 5.0, "rest_mb": 250.0, "ready_s": 2.0}
_CLOSE: Final = 1e-5
_WARM_S: Final = 1
_STARTS: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What is served, how long and how often each load is, and folders for what is made."""

    served: Served
    scratch: Path
    cache: Path
    seconds: int
    repeats: int

    def folder(self) -> Path:
        """The path of one that is not there yet."""
        return self.scratch / f"place-{len(list(self.scratch.iterdir()))}"

    def in_turn(self, loads: Mapping[str, Callable[[], float]]) -> dict[str, list[float]]:
        """What each gave, in each of the turns."""
        found: dict[str, list[float]] = {name: [] for name in loads}
        for _ in range(self.repeats):
            for name, load in loads.items():
                found[name].append(load())
        return found

    def compared(self, ours: Server, other: Server) -> dict[str, list[float]]:
        """Requests a second of both, in turn, after a load of each that warms it."""
        for server in (ours, other):
            server.busiest(seconds=_WARM_S)
        return _rounded(self.in_turn({"ours": lambda: self.most(ours), "other": lambda: self.most(other)}), digits=1)

    def most(self, server: Server, *, ids: bool = False) -> float:
        """Requests a second at 64 connections."""
        return server.busiest(seconds=self.seconds, ids=ids).per_s


def beside_echo(bench: Bench) -> dict[str, Any]:
    """echo_ratio and echo_ratio_with_ids."""
    with ExitStack() as stack:
        ours, bare = _with_echo(bench, stack)
        for server in (ours, bare):
            server.busiest(seconds=_WARM_S)
        found = bench.in_turn(
            {
                "everloop": lambda: bench.most(ours),
                "echo": lambda: bench.most(bare),
                "with_ids": lambda: bench.most(ours, ids=True),
            }
        )
        cores = {"everloop": ours.core_s, "echo": bare.core_s}
    return {
        "echo_ratio": _ratio(found["everloop"], found["echo"]),
        "echo_ratio_with_ids": _ratio(found["with_ids"], found["echo"]),
        "echo": {"per_s": _rounded(found), "core_s_per_s": cores},
    }


def latencies(bench: Bench) -> dict[str, Any]:
    """p50_ms_1 and p99_ms_half, beside the bare answer's."""
    with ExitStack() as stack:
        ours, bare = _with_echo(bench, stack)
        most = median(bench.most(ours) for _ in range(bench.repeats))
        bench.most(bare)
        alone = bench.in_turn(
            {
                "everloop": lambda: ours.busiest(seconds=bench.seconds, connections=1).p50_ms,
                "echo": lambda: bare.busiest(seconds=bench.seconds, connections=1).p50_ms,
            }
        )
        half = [
            (ours.steady(rate=most / 2, seconds=bench.seconds), bare.steady(rate=most / 2, seconds=bench.seconds))
            for _ in range(bench.repeats)
        ]
    return {
        "p50_ms_1": round(median(alone["everloop"]), 3),
        "echo_p50_ms_1": round(median(alone["echo"]), 3),
        "p99_ms_half": round(median(one.p99_ms for one, _ in half), 3),
        "echo_p99_ms_half": round(median(one.p99_ms for _, one in half), 3),
        "latency": {
            "p50_ms_1": _rounded(alone, digits=3),
            "most_per_s": round(most),
            "half": {
                name: {
                    key: [round(getattr(pair[at], key), 3) for pair in half]
                    for key in ("p50_ms", "p99_ms", "late_p99_ms")
                }
                for at, name in enumerate(("everloop", "echo"))
            },
        },
    }


def beside_mlflow(bench: Bench) -> dict[str, Any]:
    """vs_mlflow and vs_mlflow_bare."""
    document: dict[str, Any] = {"mlflow": {}}
    for key, signature in (("vs_mlflow", True), ("vs_mlflow_bare", False)):
        with (
            endpoint(bench.served, bench.folder()) as ours,
            mlflow(bench.served, bench.folder(), cache=bench.cache, signature=signature) as theirs,
        ):
            refuse_other_scores(bench.served, ours, lambda told: told["results"][0]["score"])
            refuse_other_scores(bench.served, theirs, lambda told: told["predictions"][0])
            found = bench.compared(ours, theirs)
        document[key] = _ratio(found["ours"], found["other"], digits=1)
        document["mlflow"][key] = {"per_s": found}
    return document


def beside_bentoml(bench: Bench) -> dict[str, Any]:
    """vs_bentoml."""
    with (
        endpoint(bench.served, bench.folder()) as ours,
        bentoml(bench.served, bench.folder(), cache=bench.cache) as theirs,
    ):
        refuse_other_scores(bench.served, ours, lambda told: told["results"][0]["score"])
        refuse_other_scores(bench.served, theirs, lambda told: told[0])
        found = bench.compared(ours, theirs)
    return {"vs_bentoml": _ratio(found["ours"], found["other"], digits=1), "bentoml": {"per_s": found}}


def in_shadow(bench: Bench) -> dict[str, Any]:
    """shadow_ratio."""
    with (
        endpoint(bench.served, bench.folder(), shadow=True) as tried,
        endpoint(bench.served, bench.folder()) as alone,
    ):
        found = bench.compared(tried, alone)
    return {"shadow_ratio": _ratio(found["ours"], found["other"]), "shadow": {"per_s": found}}


def by_two(bench: Bench) -> dict[str, Any]:
    """two_workers_ratio and two_workers_with_mover_ratio."""
    document: dict[str, Any] = {"two_workers": {}}
    for key, moving in (("two_workers_ratio", False), ("two_workers_with_mover_ratio", True)):
        with (
            endpoint(bench.served, bench.folder(), workers=2, moving=moving) as two,
            endpoint(bench.served, bench.folder(), workers=1, moving=moving) as one,
        ):
            found = bench.compared(two, one)
            cores = {"two": two.core_s, "one": one.core_s}
        document[key] = _ratio(found["ours"], found["other"])
        document["two_workers"][key] = {"per_s": found, "core_s_per_s": cores}
    return document


def by_new_connections(bench: Bench) -> dict[str, Any]:
    """new_connections_ratio."""
    with endpoint(bench.served, bench.folder()) as server:
        server.busiest(seconds=_WARM_S)
        found = bench.in_turn(
            {
                "new": lambda: server.busiest(seconds=bench.seconds, keep=False).per_s,
                "kept": lambda: bench.most(server),
            }
        )
    ratio = _ratio(found["new"], found["kept"])
    return {"new_connections_ratio": ratio, "new_connections": {"per_s": _rounded(found)}}


def durable(bench: Bench) -> dict[str, Any]:
    """durability_full_ratio."""
    with (
        endpoint(bench.served, bench.folder(), durability="full") as full,
        endpoint(bench.served, bench.folder()) as usual,
    ):
        found = bench.compared(full, usual)
    return {"durability_full_ratio": _ratio(found["ours"], found["other"]), "durability_full": {"per_s": found}}


def at_rest(bench: Bench) -> dict[str, Any]:
    """rest_mb and ready_s, of new processes alone."""
    folder = bench.folder()
    shutil.copytree(bench.served.folder, folder)
    waits, resident, shared = [], [], []
    for _ in range(_STARTS):
        began_s = time.perf_counter()
        with started(folder) as (process, _):
            waits.append(round(time.perf_counter() - began_s, 3))
            memory = psutil.Process(process.pid).memory_full_info()
            resident.append(round(memory.rss / 1e6, 1))
            shared.append(round(memory.pss / 1e6, 1))
    return {
        "rest_mb": median(resident),
        "rest_pss_mb": median(shared),
        "ready_s": median(waits),
        "rest": {"ready_s": waits, "rss_mb": resident, "pss_mb": shared},
    }


PARTS: Final[Mapping[str, Callable[[Bench], dict[str, Any]]]] = {
    "echo_ratio": beside_echo,
    "echo_ratio_with_ids": beside_echo,
    "p50_ms_1": latencies,
    "p99_ms_half": latencies,
    "vs_mlflow": beside_mlflow,
    "vs_mlflow_bare": beside_mlflow,
    "vs_bentoml": beside_bentoml,
    "shadow_ratio": in_shadow,
    "two_workers_ratio": by_two,
    "two_workers_with_mover_ratio": by_two,
    "new_connections_ratio": by_new_connections,
    "rest_mb": at_rest,
    "ready_s": at_rest,
    "durability_full_ratio": durable,
}
"""Key → what measures it, perhaps with others."""


def refuse_other_scores(served: Served, server: Server, score: Callable[[Any], float]) -> None:
    """Raise RuntimeError where a server gives other scores than XGBoost itself. score: of its answer."""
    for body, expected in zip(server.bodies.read_bytes().splitlines()[:20], served.scores, strict=False):
        given = score(server.answer(body))
        if abs(given - expected) > _CLOSE:
            raise RuntimeError(f"{server.url} scores a row {given}, and XGBoost {expected}")


def broken(document: Mapping[str, Any]) -> list[str]:
    """What of the claims the numbers do not keep; of what was not measured, nothing."""
    return unkept(document, at_least=AT_LEAST, at_most=AT_MOST)


def _with_echo(bench: Bench, stack: ExitStack) -> tuple[Server, Server]:
    """The endpoint, and the bare answer of as many bytes."""
    ours = stack.enter_context(endpoint(bench.served, bench.folder()))
    body = bench.served.everloop.read_bytes().split(b"\n", 1)[0]
    size = len(json.dumps(ours.answer(body), separators=(",", ":")))
    return ours, stack.enter_context(echo(bench.served, bench.folder(), size=size))


def _ratio(ours: list[float], others: list[float], *, digits: int = 3) -> float:
    return round(median(one / other for one, other in zip(ours, others, strict=True)), digits)


def _rounded(found: Mapping[str, list[float]], *, digits: int = 0) -> dict[str, list[float]]:
    return {name: [round(value, digits or None) for value in values] for name, values in found.items()}


def _keys(text: str) -> list[str]:
    keys = [key.strip() for key in text.split(",")]
    unknown = [key for key in keys if key not in PARTS]
    if unknown:
        raise argparse.ArgumentTypeError(f"there is no {', '.join(unknown)}; there are {', '.join(PARTS)}")
    return keys


def main() -> int:
    """Measure, print one JSON document; 1 where a claim was not kept."""
    parser = arguments("serving", __doc__)
    parser.add_argument("--seconds", type=int, default=3, help="of each load")
    parser.add_argument("--repeats", type=int, default=3, help="loads of each kind, in turn")
    parser.add_argument("--only", type=_keys, default=list(PARTS), help=f"of {', '.join(PARTS)}, those, with commas")
    parser.add_argument("--peers", type=Path, default=CACHE, help="where the peers' environments are made")
    given = parser.parse_args()
    refuse_without(parser, {"wrk": "wrk", "taskset": "util-linux"})
    with tempfile.TemporaryDirectory(prefix="everloop-bench-") as name:
        scratch = Path(name)
        (scratch / "served").mkdir()
        served = made(scratch / "served")
        bench = Bench(served=served, scratch=scratch, cache=given.peers, seconds=given.seconds, repeats=given.repeats)
        document: dict[str, Any] = {"bench": "serving", "features": FEATURES, "trees": TREES, "nodes": served.nodes}
        document |= {"seconds": given.seconds, "repeats": given.repeats}
        for part in dict.fromkeys(PARTS[key] for key in given.only):
            print(f"{part.__name__} …", file=sys.stderr, flush=True)
            document |= part(bench)
    return told(document, broken(document), line=given.json)


if __name__ == "__main__":
    sys.exit(main())
