"""What batch scoring costs beside a bare loop: `python -m bench.score --json [--rows N] [--many N] [--pairs N]`.

`everloop score ROWS RESULT`, the whole command, against a script that does the same with a Polars scan, onnxruntime
and a Parquet file (`bench/peers/bare_scoring.py`): the same graph of 200 trees on the same 32 features, of which two
are expressions, and the same columns in the result. Both are whole processes and cold; they take turns, and
`time_ratio` is the median of the pairs' ratios on `rows`. Memory is the largest sum over a process and its children, of
pages counted once (PSS) and looked at all the time; who looks takes of the cores, so it has runs of its own: on `rows`,
and on `many`, where the time is told too and not held. Scores and decisions of both are compared. `run` is what
`everloop score fraud --new` takes for the same rows, watched: it writes a Delta table, and records each row once in the
traffic log with its inputs and features, as if the endpoint had answered it, for which the script has no like.
Held: 1.4 times the time; 1,500 MB on either, and in the run.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any, Final

import polars as pl
from bench.claims import arguments, told, unkept
from bench.pipeline import COLUMNS, PEERS, costs, made_project, made_rows, trained

MOST: Final = {"time_ratio": 1.4, "peak_mb": 1500, "peak_mb_1m": 1500, "peak_mb_run": 1500}
FITTED_ROWS: Final = 100_000
FEATURES: Final = """\
import polars as pl
from everloop.data import features

@features
def signals():
    yield "both", pl.col("x4") * pl.col("x5")
    yield "apart", pl.col("x5") - pl.col("x6").abs()
"""
_SCORE: Final = (str(Path(sys.executable).with_name("everloop")), "score")
_FILE_ROWS: Final = 1_000_000
_RESULTS: Final = {"whole": "whole.parquet", "bare": "bare.parquet"}


def made_shop(folder: Path, *, trees: int, fitted_rows: int) -> None:
    """A project in `folder` whose first version is a graph of so many trees, and what the script is asked for."""
    from everloop.bundle import BundleStore
    from everloop.clock import SystemClock
    from everloop.ledger import Ledger
    from everloop.project import Project

    made_project(folder, fitted_rows, trees=trees, features=FEATURES)
    trained(folder)
    project = Project.open(folder, environment={})
    with Ledger.open(project, clock=SystemClock()) as ledger:
        bundle = BundleStore(project.paths.bundles).load(ledger.version("fraud", 1).bundle)
    asked = {
        "graph": str(project.paths.bundles / "sha256" / bundle.id / "graph.onnx"),
        "columns": [f"x{place}" for place in range(COLUMNS)],
        "threshold": bundle.threshold,
        "positive": bundle.label(True),
        "negative": bundle.label(False),
        "version": 1,
        "target": _RESULTS["bare"],
    }
    (folder / "asked.json").write_text(json.dumps(asked))


def made_source(folder: Path, rows: int) -> str:
    """A folder of so many new rows in files of a million at most; what to say to read them."""
    source = folder / f"rows-{rows}"
    source.mkdir()
    for number, start in enumerate(range(0, rows, _FILE_ROWS)):
        part = made_rows(min(_FILE_ROWS, rows - start), seed=2 + number).drop("fraud")
        part.write_parquet(source / f"{number:03}.parquet")
    return f"{source.name}/*.parquet"


def pair_of(folder: Path, source: str, *, watched: bool = False) -> dict[str, dict[str, Any]]:
    """`whole` and `bare` on a source, as `costs` has them; what they wrote is compared and removed."""
    asked = json.loads((folder / "asked.json").read_text())
    (folder / "request.json").write_text(json.dumps(asked | {"source": source}))
    whole = costs([*_SCORE, source, _RESULTS["whole"]], folder, watched=watched)
    bare = costs([sys.executable, str(PEERS / "bare_scoring.py"), str(folder)], folder, watched=watched)
    compare(folder)
    for result in _RESULTS.values():
        (folder / result).unlink()
    return {"whole": whole, "bare": bare}


def by_run(folder: Path, source: str) -> dict[str, float]:
    """What the durable run takes for the files of a source: wall_s, core_s, peak_mb."""
    with (folder / "fraud" / "model.yaml").open("a") as model:
        model.write(f"score: {{source: {source}, target: scored}}\n")
    taken = costs([*_SCORE, "fraud", "--new"], folder, watched=True)
    return {name: round(value, 2) for name, value in taken.items()}


def compare(folder: Path) -> None:
    """Raises SystemExit unless both results hold the same columns, scores and decisions."""
    found = {name: pl.scan_parquet(folder / result) for name, result in _RESULTS.items()}
    if found["whole"].collect_schema() != found["bare"].collect_schema():
        raise SystemExit(f"the results have other columns: {[one.collect_schema() for one in found.values()]}")
    told = [one.select("score", "decision", "version").collect() for one in found.values()]
    if not told[0].equals(told[1]):
        raise SystemExit("the results have other scores or decisions; what was measured is not the same work")


def both(pair: dict[str, dict[str, Any]], value: str, digits: int) -> dict[str, float]:
    """One value of both, rounded."""
    return {name: round(one[value], digits) for name, one in pair.items()}


def compared(rows: int, many: int, *, trees: int, pairs: int, fitted_rows: int, scratch: Path) -> dict[str, Any]:
    """All that is measured, on new folders below `scratch`."""
    folder = scratch / "shop"
    made_shop(folder, trees=trees, fitted_rows=fitted_rows)
    source = made_source(folder, rows)
    small = pair_of(folder, source, watched=True)  # which is not timed, and warms the page cache
    found = [pair_of(folder, source) for _ in range(pairs)]
    run = by_run(folder, source)
    large = pair_of(folder, made_source(folder, many), watched=True)
    return {
        "time_ratio": round(median(pair["whole"]["wall_s"] / pair["bare"]["wall_s"] for pair in found), 3),
        "peak_mb": round(large["whole"]["peak_mb"]),
        "peak_mb_1m": round(small["whole"]["peak_mb"]),
        "peak_mb_run": round(run["peak_mb"]),
        "ratios": [round(pair["whole"]["wall_s"] / pair["bare"]["wall_s"], 3) for pair in found],
        "wall_s": [both(pair, "wall_s", 2) for pair in found],
        "core_s": [both(pair, "core_s", 2) for pair in found],
        "bare_mb": {"rows": round(small["bare"]["peak_mb"]), "many": round(large["bare"]["peak_mb"])},
        "run": run,
        "many_s": both(large, "wall_s", 1),
    }


def main() -> int:
    """Measure, print one JSON document; 1 where a claim was not kept."""
    parser = arguments("score", __doc__)
    parser.add_argument("--rows", type=int, default=1_000_000, help="of which the time is held")
    parser.add_argument("--many", type=int, default=20_000_000, help="of which the memory is held; 7 GB of disk")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--trees", type=int, default=200, help="of depth 6; how long the graph alone takes")
    parser.add_argument("--fitted", type=int, default=FITTED_ROWS, help="rows that the model is fitted on")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="everloop-bench-") as scratch:
        found = compared(
            given.rows,
            given.many,
            trees=given.trees,
            pairs=given.pairs,
            fitted_rows=given.fitted,
            scratch=Path(scratch),
        )
    sizes = {"rows": given.rows, "many": given.many, "trees": given.trees}
    document: dict[str, Any] = {"bench": "score", **sizes, **found}
    return told(document, unkept(document, at_most=MOST), line=given.json)


if __name__ == "__main__":
    sys.exit(main())
