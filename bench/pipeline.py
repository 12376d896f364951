"""What a training costs beside a bare script: `python -m bench.pipeline --json [--rows N] [--pairs N]`.

The pipeline, snapshot to registered version with yardsticks, intervals, baseline and gates, against a script that
reads, fits and evaluates the same XGBoost on the same 1,000,000 x 30 rows (`bench/peers/bare_training.py`). Both are
whole processes and cold; they take turns, and `time_ratio` is the median of the pairs' ratios, as a machine that is
slower for a while is so for both of a pair. `fixed_s` is the difference on 1,000 rows, where the script also imports
every library that the pipeline's process does. Memory is the largest sum over a process and its children, of pages
counted once (PSS) and looked at all the time; who looks takes of the cores, so memory has runs of its own. What a pair
has read and written is removed before the next, so that all find as much of the memory free.
Held: 1.25 times the time, 1.3 times the memory, 2 s.
"""

from __future__ import annotations

import importlib.util
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from statistics import median
from typing import Any, Final

import numpy as np
import polars as pl
import psutil
from bench.claims import arguments, told, unkept

MOST: Final = {"time_ratio": 1.25, "memory_ratio": 1.3, "fixed_s": 2.0}
HYPERPARAMETERS: Final = {"max_depth": 6, "learning_rate": 0.1}
COLUMNS: Final = 30
RULES: Final = "train: {holdout: 10%}\nsearch: {calibration: none}\n"
STABLE: Final = ", recall stable within 0.10 over 3 seeds"
PEERS: Final = Path(__file__).parent / "peers"
_EVERY_S: Final = 0.01


def made_rows(rows: int, *, seed: int = 1) -> pl.DataFrame:
    """Rows of `at`, `x0` to `x29` and `fraud`: 2 % positives, of few rows 300, that five columns tell of together."""
    random = np.random.default_rng(seed)
    X = random.standard_normal((rows, COLUMNS), dtype=np.float32)
    signal = X[:, 0] * X[:, 1] + X[:, 2] - np.abs(X[:, 3]) + 0.5 * X[:, 4] + random.standard_normal(rows) * 0.5
    fraud = signal > np.quantile(signal, 1 - max(0.02, 300 / rows))
    start = np.datetime64("2024-01-01", "us")
    times = start + (np.arange(rows) * (90 * 86_400_000_000 // rows)).astype("timedelta64[us]")
    columns = {f"x{place}": X[:, place] for place in range(COLUMNS)}
    return pl.DataFrame({"at": times, **columns, "fraud": fraud})


def made_project(folder: Path, rows: int, *, trees: int, gates: str = "", features: str = "") -> None:
    """A project on these rows with an approved spec of so many trees.

    gates: further ones, as model.yaml has them. features: what features.py holds, where there is to be one.
    """
    from everloop.clock import SystemClock
    from everloop.data import write_first_contract
    from everloop.experiment import approve
    from everloop.ledger import Ledger
    from everloop.project import Project, Spec, write_spec

    (folder / "fraud").mkdir(parents=True)
    made_rows(rows).write_parquet(folder / "rows.parquet")
    (folder / "everloop.yaml").write_text("{}\n")
    data = "{source: rows.parquet, time: {column: at}, target: fraud}"
    outcome = "outcome: {delay: 0d, absent: negative}"
    text = f"task: classification\ndata: {data}\n{outcome}\nobjective: recall at precision >= 0.80\n{RULES}"
    text += f"gates: [recall >= 0.10, beats yardstick, not worse than champion by 0.02{gates}]\n"
    (folder / "fraud" / "model.yaml").write_text(text)
    if features:
        (folder / "fraud" / "features.py").write_text(features)
    write_first_contract(Project.open(folder, environment={}).model(), root=folder)
    project = Project.open(folder, environment={})
    model = project.model()
    spec = Spec.new(
        name="fraud-s1",
        learner="xgboost",
        hyperparameters=HYPERPARAMETERS | {"n_estimators": trees},
        objective=str(model.objective),
        reason="a bench's own",
    )
    write_spec(model.spec_path(1), spec)
    assert project.state.is_dir()
    with Ledger.open(project, clock=SystemClock()) as ledger:
        approve(project, model, "fraud-s1", by="bench", ledger=ledger)


def measured(script: str, folder: Path, *, watched: bool) -> dict[str, Any]:
    """Run one of the peers on a folder: as `costs` has it, and what it says itself."""
    taken = costs([sys.executable, str(PEERS / f"{script}.py"), str(folder)], folder, watched=watched)
    return taken | json.loads((folder / "result.json").read_text())


def costs(command: list[str], folder: Path, *, watched: bool) -> dict[str, Any]:
    """Run a command in a folder, which must end well: wall_s, core_s, and peak_mb where it is watched."""
    os.sync()  # what was written before is no work of this one's
    began_s, before_s = time.perf_counter(), _children_core_s()
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL)
    peak, done = [0], threading.Event()
    watcher = threading.Thread(target=_watch, args=(process.pid, peak, done))
    if watched:
        watcher.start()
    code = process.wait()
    wall_s = time.perf_counter() - began_s
    if watched:
        done.set()
        watcher.join()
    if code:
        raise SystemExit(f"{' '.join(command)} ended with {code}")
    return {"wall_s": wall_s, "core_s": _children_core_s() - before_s, "peak_mb": peak[0] / 1e6}


def _children_core_s() -> float:
    """What all processes took of the cores that have ended, and that were waited for, with theirs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _watch(pid: int, peak: list[int], done: threading.Event) -> None:
    while not done.wait(_EVERY_S):
        try:
            root = psutil.Process(pid)
            tree = [root, *root.children(recursive=True)]
            peak[0] = max(peak[0], sum(one.memory_full_info().pss for one in tree))
        except psutil.Error:
            continue  # one of them has just ended


def compared(rows: int, *, trees: int, pairs: int, scratch: Path) -> dict[str, Any]:
    """Both in turn on new folders: once watched, which is not timed and warms the page cache, then `pairs` times."""
    watched = pair_of(rows, trees=trees, scratch=scratch, watched=True)
    return timed(rows, trees=trees, pairs=pairs, scratch=scratch) | {
        "whole_mb": round(watched["whole"]["peak_mb"]),
        "bare_mb": round(watched["bare"]["peak_mb"]),
    }


def timed(rows: int, *, trees: int, pairs: int, scratch: Path, same_imports: bool = False) -> dict[str, Any]:
    """Both in turn on new folders, `pairs` times: seconds, core-seconds, ratios, and of the last steps and metrics."""
    found = [pair_of(rows, trees=trees, scratch=scratch, same_imports=same_imports) for _ in range(pairs)]
    return {
        "whole_s": [round(pair["whole"]["wall_s"], 2) for pair in found],
        "bare_s": [round(pair["bare"]["wall_s"], 2) for pair in found],
        "ratios": [round(pair["whole"]["wall_s"] / pair["bare"]["wall_s"], 3) for pair in found],
        "whole_core_s": [round(pair["whole"]["core_s"], 2) for pair in found],
        "bare_core_s": [round(pair["bare"]["core_s"], 2) for pair in found],
        "steps": found[-1]["whole"]["steps"],
        "metrics": {name: one["metrics"] for name, one in found[-1].items()},
    }


def pair_of(
    rows: int, *, trees: int, scratch: Path, watched: bool = False, same_imports: bool = False
) -> dict[str, dict[str, Any]]:
    """`whole` and `bare`, as `measured` has them. same_imports: the script loads what the pipeline's process did."""
    folder = scratch / "pair"
    made_project(folder, rows, trees=trees)
    whole = trained(folder, watched=watched)
    modules = _libraries(whole["modules"]) if same_imports else []
    asked = {"hyperparameters": HYPERPARAMETERS | {"n_estimators": trees}, "modules": modules}
    (folder / "request.json").write_text(json.dumps(asked))
    bare = measured("bare_training", folder, watched=watched)
    shutil.rmtree(folder)
    return {"whole": whole, "bare": bare}


def trained(folder: Path, *, watched: bool = False) -> dict[str, Any]:
    """One run of the pipeline, which must end well."""
    whole = measured("whole_training", folder, watched=watched)
    if whole["status"] != "finished":
        raise SystemExit(f"the pipeline {whole['status']}: {whole['sentence']}")
    return whole


def stability(rows: int, *, trees: int, scratch: Path) -> dict[str, Any]:
    """What the gate costs that fits two more seeds, which is in none of the ratios."""
    folder = scratch / "stable"
    made_project(folder, rows, trees=trees, gates=STABLE)
    whole = trained(folder)
    return {"whole_s": round(whole["wall_s"], 2), "refit_s": round(whole["steps"]["refit"], 2)}


def _libraries(loaded: list[str]) -> list[str]:
    """Of the modules that the pipeline loaded, the packages that are not everloop's and not Python's."""
    tops = {name for name in loaded if "." not in name} - set(sys.stdlib_module_names)
    return sorted(name for name in tops - {"everloop", "bench"} if not name.startswith("_") and _is_there(name))


def _is_there(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ValueError:
        return False


def main() -> int:
    """Measure, print one JSON document; 1 where a claim was not kept."""
    parser = arguments("pipeline", __doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--trees", type=int, default=200, help="of depth 6; how long the fit alone takes")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="everloop-bench-") as scratch:
        place, rows, trees, pairs = Path(scratch), given.rows, given.trees, given.pairs
        large = compared(rows, trees=trees, pairs=pairs, scratch=place)
        small = timed(1_000, trees=trees, pairs=pairs, scratch=place, same_imports=True)
        stable = stability(rows, trees=trees, scratch=place)
    document: dict[str, Any] = {
        "bench": "pipeline",
        "rows": rows,
        "trees": trees,
        "time_ratio": median(large["ratios"]),
        "memory_ratio": round(large["whole_mb"] / large["bare_mb"], 3),
        "fixed_s": round(median(small["whole_s"]) - median(small["bare_s"]), 2),
        "large": large,
        "small": small,
        "stability": stable,
    }
    return told(document, unkept(document, at_most=MOST), line=given.json)


if __name__ == "__main__":
    sys.exit(main())
