"""How long a first look takes, and in how much memory: `python -m bench.explore --json [--rows N]`.

Rows of the size and the columns of Kaggle's card file (284,807 × 31), and a source too large for memory (20 million
rows × 12 columns of Parquet), which is read in a stream. Each is looked at in a process of its own that imports first;
`plain_s` is what Polars alone takes to read and describe the same file. Held, for the first: 3 s and 1 GB on 2 cores,
the very first page of a user (`first_page_s`), for which the charts' scripts are made, included.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl

CARD_ROWS: Final = 284_807
STREAM_ROWS: Final = 20_000_000
LONGEST_S, MOST_MB, CORES = 3.0, 1000.0, 2
_FRAUD_SHARE: Final = 492 / CARD_ROWS
_PART_ROWS: Final = 1_000_000
_MODELS: Final = {
    "card": {
        "data": {
            "source": "rows.parquet",
            "time": {"column": "Time", "unit": "s", "origin": "2013-09-01T00:00Z"},
            "target": "Class",
        },
    },
    "stream": {"data": {"source": "rows/*.parquet", "time": "at", "id": "id", "target": "fraud"}},
}


def cards(rows: int, *, seed: int = 0) -> pl.DataFrame:
    """Two days of card payments: `Time`, `V1` … `V28`, `Amount`, `Class`, in which a few columns tell of fraud."""
    rng = np.random.default_rng(seed)
    fraud = rng.random(rows) < _FRAUD_SHARE
    parts = {f"V{at}": rng.standard_normal(rows) - (3.0 if at in (10, 12, 14) else 0.0) * fraud for at in range(1, 29)}
    return pl.DataFrame(
        {
            "Time": np.sort(rng.integers(0, 172_800, rows)).astype(np.float64),
            **parts,
            "Amount": np.round(rng.lognormal(3, 1.2, rows), 2),
            "Class": fraud.astype(np.int64),
        }
    )


def write_stream(folder: Path, rows: int, *, seed: int = 0) -> int:
    """Payments over a year in parts of a million rows, 12 columns; gives their bytes on disk."""
    folder.mkdir(parents=True)
    rng, start = np.random.default_rng(seed), np.datetime64("2024-01-01T00:00:00", "us")
    step_us = 365 * 86_400_000_000 // rows
    for first in range(0, rows, _PART_ROWS):
        count = min(_PART_ROWS, rows - first)
        places = np.arange(first, first + count)
        fraud = rng.random(count) < 0.01
        part = pl.DataFrame(
            {
                "id": places,
                "at": pl.Series(start + places * step_us).dt.replace_time_zone("UTC"),
                "country": rng.choice(np.array(["AT", "CH", "DE", "FR", "IT"]), count),
                "amount": np.round(rng.lognormal(3, 1.2, count), 2).astype(np.float32),
                **{f"v{at}": (rng.standard_normal(count) + (at == 3) * fraud).astype(np.float32) for at in range(7)},
                "fraud": fraud,
            }
        )
        part.write_parquet(folder / f"{first // _PART_ROWS:04}.parquet")
    return sum(path.stat().st_size for path in folder.iterdir())


def _project(root: Path, kind: str) -> None:
    (root / "fraud").mkdir(parents=True, exist_ok=True)
    (root / "everloop.yaml").write_text("{}\n")
    said = {"task": "classification", **_MODELS[kind], "objective": "average_precision"}
    (root / "fraud" / "model.yaml").write_text(json.dumps(said))  # JSON is YAML


def look(root: Path) -> dict[str, Any]:
    """In the child: import, then explore, page and all."""
    import altair
    import lightgbm  # noqa: F401
    import sklearn.ensemble  # noqa: F401

    from everloop.experiment import explore, html, page  # noqa: F401
    from everloop.project import Project

    del altair
    project = Project.open(root, environment={})
    imported_mb = _peak_mb()
    began_s = time.perf_counter()
    found = explore(project, project.model(), out=root / "page.html", threads=CORES)
    seconds = time.perf_counter() - began_s
    told = {"rows": found.rows, "seconds": round(seconds, 2), "streamed": found.looked.streamed}
    return told | {"peak_mb": round(_peak_mb(), 1), "imported_mb": round(imported_mb, 1)}


def plain(root: Path, kind: str) -> dict[str, Any]:
    """In the child: Polars reads and describes the same file, and nothing else."""
    began_s = time.perf_counter()
    lazy = pl.scan_parquet(root / str(_MODELS[kind]["data"]["source"]))
    lazy.describe()
    return {"seconds": round(time.perf_counter() - began_s, 2), "peak_mb": round(_peak_mb(), 1)}


def _peak_mb() -> float:
    """The most memory that this process has had, in MB (10^6 bytes).

    Linux tells it of the program since it began; `ru_maxrss` also knows the process that started this one.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024 / 1e6
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def _in_child(root: Path, *said: str) -> dict[str, Any]:
    # the number of threads must be known before Polars is imported
    threads = {"POLARS_MAX_THREADS": str(CORES), "OMP_NUM_THREADS": str(CORES)}
    environment = {**os.environ, **threads, "HOME": str(root.parent)}
    command = [sys.executable, "-m", "bench.explore", "--child", str(root), *said]
    folder = Path(__file__).resolve().parents[1]
    done = subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def measured(scratch: Path, *, rows: int, stream_rows: int, runs: int) -> dict[str, Any]:
    """Both sources; the first once, and then `runs` times, of which the middle one counts."""
    root = scratch / "card"
    _project(root, "card")
    cards(rows).write_parquet(root / "rows.parquet")
    first = _in_child(root)
    looks = sorted((_in_child(root) for _ in range(runs)), key=lambda one: float(one["seconds"]))
    middle, alone = looks[len(looks) // 2], _in_child(root, "--plain", "card")
    found: dict[str, Any] = {
        "rows": rows,
        "seconds": middle["seconds"],
        "first_page_s": first["seconds"],
        "peak_mb": max(one["peak_mb"] for one in looks),
        "imported_mb": middle["imported_mb"],
        "plain_s": alone["seconds"],
        "plain_ratio": round(middle["seconds"] / alone["seconds"], 1),
    }
    if stream_rows:
        root = scratch / "stream"
        _project(root, "stream")
        found["stream_rows"] = stream_rows
        found["stream_disk_mb"] = round(write_stream(root / "rows", stream_rows) / 1e6, 1)
        told, alone = _in_child(root), _in_child(root, "--plain", "stream")
        found["streamed"] = told["streamed"]
        found["stream_rows_per_s"] = round(told["rows"] / told["seconds"])
        found["stream_peak_mb"] = told["peak_mb"]
        found["stream_plain_s"], found["stream_plain_peak_mb"] = alone["seconds"], alone["peak_mb"]
    return found


def broken(document: dict[str, Any]) -> list[str]:
    """What of the claims the numbers do not keep."""
    said = []
    slowest_s = max(document["seconds"], document["first_page_s"])
    if slowest_s > LONGEST_S:
        said.append(f"{document['rows']:,} rows took {slowest_s} s")
    if document["peak_mb"] > MOST_MB:
        said.append(f"{document['rows']:,} rows took {document['peak_mb']} MB")
    if not document.get("streamed", True):
        said.append("the large source was not read in a stream")
    return said


def main() -> int:
    """Measure, print one JSON document; 1 where a claim was not kept."""
    parser = argparse.ArgumentParser(prog="python -m bench.explore", description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout, and nothing else")
    parser.add_argument("--rows", type=int, default=CARD_ROWS, help="of the first source")
    parser.add_argument("--stream-rows", type=int, default=STREAM_ROWS, help="of the second; 0 leaves it out")
    parser.add_argument("--runs", type=int, default=3, help="looks at the first source")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--plain", choices=tuple(_MODELS), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child is not None:
        print(json.dumps(look(given.child) if given.plain is None else plain(given.child, given.plain)))
        return 0
    with tempfile.TemporaryDirectory(prefix="everloop-bench-") as name:
        began = datetime.now(UTC)
        document = {
            "bench": "explore",
            **measured(Path(name), rows=given.rows, stream_rows=given.stream_rows, runs=given.runs),
        }
        document["took_s"] = round((datetime.now(UTC) - began).total_seconds(), 1)
    document["broken"] = broken(document)
    print(json.dumps(document) if given.json else json.dumps(document, indent=2))
    return 1 if document["broken"] else 0


if __name__ == "__main__":
    sys.exit(main())
