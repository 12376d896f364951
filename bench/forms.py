"""What the forms of asking cost: `python -m bench.forms --json [--repeats N]`.

10,000 payments of 30 columns go to a real endpoint as JSON and as Arrow, in turn, each under ids of its own: from a
data frame until the answers are values again (`whole`), and the wait for the reply alone (`reply`): medians, seconds.
Held: the table is answered in at most half the time. And one row, plain and with `explain=5`, in turn, in microseconds;
`reasons_us` is what reasons take within the endpoint's process. Held: 1,000 µs.
"""

from __future__ import annotations

import io
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any, Final

import httpx
import polars as pl
from bench.claims import arguments, told, unkept
from bench.served import Served, made
from bench.servers import started

from everloop.bundle import BundleStore
from everloop.clock import SystemClock
from everloop.data import decode_rows
from everloop.data.decoder import Decoder
from everloop.ledger import Ledger
from everloop.project import Project
from everloop.serving.reasons import reasons_of, typical_of

ROWS: Final = 10_000
LEAST_RATIO: Final = 2.0
MOST_REASONS_US: Final = 1_000.0
_ARROW: Final = "application/vnd.apache.arrow.stream"


def as_json(http: httpx.Client, url: str, frame: pl.DataFrame) -> float:
    """Seconds that the reply took."""
    body = json.dumps({"rows": frame.to_dicts()}).encode()
    reply, took_s = _posted(http, url, body, "application/json")
    assert len(reply.json()["results"]) == frame.height
    return took_s


def as_arrow(http: httpx.Client, url: str, frame: pl.DataFrame) -> float:
    """Seconds that the reply took."""
    body = io.BytesIO()
    frame.write_ipc_stream(body)
    reply, took_s = _posted(http, url, body.getvalue(), _ARROW)
    assert pl.read_ipc_stream(reply.content)["error"].null_count() == frame.height
    return took_s


def bulk(http: httpx.Client, url: str, frames: Iterator[pl.DataFrame], repeats: int) -> dict[str, Any]:
    """Both forms in turn, after one of each."""
    ways: dict[str, Callable[[httpx.Client, str, pl.DataFrame], float]] = {"json": as_json, "arrow": as_arrow}
    whole: dict[str, list[float]] = {name: [] for name in ways}
    reply: dict[str, list[float]] = {name: [] for name in ways}
    for n in range(repeats + 1):
        for name, way in ways.items():
            frame = next(frames)
            began_s = time.perf_counter()
            took_s = way(http, url, frame)
            if n:
                whole[name].append(time.perf_counter() - began_s)
                reply[name].append(took_s)
    found: dict[str, Any] = {}
    for what, times in (("whole", whole), ("reply", reply)):
        found |= {f"{name}_{what}_s": round(median(values), 4) for name, values in times.items()}
        pairs = zip(times["json"], times["arrow"], strict=True)
        found[f"{what}_ratio"] = round(median(one / other for one, other in pairs), 2)
    return found


def explained(http: httpx.Client, url: str, rows: list[dict[str, Any]], repeats: int) -> dict[str, Any]:
    """One row, plain and explained, in turn."""
    times: dict[str, list[float]] = {"": [], "?explain=5": []}
    ids = count()
    for n in range(repeats * 20):
        for query, found in times.items():
            body = json.dumps(rows[n % len(rows)] | {"id": f"x{next(ids)}"}).encode()
            found.append(_posted(http, url + query, body, "application/json")[1] * 1e6)
    return {"row_us": round(median(times[""])), "explained_row_us": round(median(times["?explain=5"]))}


def reasons_us(served: Served, rows: list[dict[str, Any]]) -> float:
    """Microseconds that reasons take for one row whose features are there: the median of 200."""
    project = Project.open(served.folder)
    with Ledger.open(project, clock=SystemClock()) as ledger:
        name = project.model().name
        bundle = BundleStore.of(project).load(ledger.version(name, 1).bundle)
    typical = typical_of(bundle)
    assert typical is not None
    times = []
    for n in range(200):
        decoded = Decoder(bundle.contract).decode([rows[n]])
        frame, _ = decode_rows(bundle.contract, [rows[n]])
        X = bundle.features.matrix(frame)
        began_s = time.perf_counter()
        list(reasons_of(bundle, typical, X, decoded, 5))
        times.append((time.perf_counter() - began_s) * 1e6)
    return round(median(times), 1)


def _posted(http: httpx.Client, url: str, body: bytes, content_type: str) -> tuple[httpx.Response, float]:
    began_s = time.perf_counter()
    reply = http.post(url, content=body, headers={"content-type": content_type})
    took_s = time.perf_counter() - began_s
    reply.raise_for_status()
    return reply, took_s


def measured(scratch: Path, repeats: int) -> dict[str, Any]:
    """All of it, of an endpoint that is made and started here."""
    served = made(scratch, rows_per_day=2_000)
    rows = [json.loads(line)["rows"][0] for line in served.everloop.read_text().splitlines()]
    base = pl.DataFrame(rows).head(ROWS)
    numbers = count()
    frames = (base.with_columns(id=pl.format("b{}-{}", pl.lit(n), pl.int_range(ROWS))) for n in numbers)
    found = {"rows": ROWS, "columns": base.width, "reasons_us": reasons_us(served, rows)}
    with started(served.folder) as (_, url), httpx.Client(timeout=60) as http:
        name = Project.open(served.folder).model().name
        predict = f"{url}/v1/models/{name}/predict"
        return found | bulk(http, predict, frames, repeats) | explained(http, predict, rows, repeats)


def main() -> int:
    """Measure, print one JSON document; 1 where a claim was not kept."""
    parser = arguments("forms", __doc__)
    parser.add_argument("--repeats", type=int, default=15, help="bodies of each form")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        document: dict[str, Any] = {"bench": "forms", **measured(Path(scratch), given.repeats)}
    broken = unkept(document, at_least={"whole_ratio": LEAST_RATIO}, at_most={"reasons_us": MOST_REASONS_US})
    return told(document, broken, line=given.json)


if __name__ == "__main__":
    sys.exit(main())
