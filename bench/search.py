"""What the search is worth: `python -m bench.search --json [--part grid|peers|jobs] [--seeds N] [--minutes M]`.

grid: on the card data the search as it is by default, with as many trials as 5 % of the fits allow (yardsticks
counted), against the well-known 576-point XGBoost grid on the same folds. Held: a value within the interval of the
grid's best.
peers: at the same wall time with two jobs, on creditcard, green_taxi and elec2, the objective on the newest 15 % of the
rows, which no side sees: everloop less FLAML (in an environment of its own) and less plain Optuna (the same learners
and spaces, one fit a trial), which get the time that everloop took in all. Average precision, in elec2 of the class
UP; in green_taxi the mean absolute error of the minutes, as the share that everloop's is below the other's. Each side
hands over its best by number (`choose: best`), fitted on the oldest 85 %; `..._cheapest` is the trial that everloop
hands over where nobody says so. Held: no upper end below 0 and no point below -0.01.
jobs: the same search of taxi trips (the set whose fits take longest, so that a search is more than its start and end)
with one process and with two. Held: 1.7 times as fast, and the same trials.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final

import numpy as np
from bench.cases import CASES, DATA, FEW, Case, lay_out, made_project
from bench.difference import difference
from bench.peers.environment import CACHE, FLAML, peer_python, ran

from everloop.experiment.judging import better_by, evaluated, judged
from everloop.experiment.rows import SearchRows
from everloop.experiment.trials import mean_interval_of
from everloop.models import learners
from everloop.project import Objective

GRID_FITS: Final = 576 * 5
MOST_FITS, LEAST_SPEEDUP, LEAST_POINT = 0.05, 1.7, -0.01
_ENDLESS: Final = 1_000_000
"""Trials of a search that only its minutes end."""


def grid(data: Path, scratch: Path, *, points: int | None) -> dict[str, Any]:
    """The default search and the grid on the same rows and folds; points: of each of the grid's lists, None for all."""
    case = CASES["creditcard"]
    project, model = made_project(case, case.read(data), scratch / "project")
    rows = lay_out(project, model, scratch / "rows")
    assert rows.folds.by_time, "the places of the folds are those of the oldest rows"
    folder = scratch / "grid"
    folder.mkdir()
    parts = {f"{kind}-{at}": getattr(fold, kind) for at, fold in enumerate(rows.folds.folds) for kind in _KINDS}
    parts["worth"] = np.array([fold.worth for fold in rows.folds.folds])
    np.savez(folder / "folds.npz", **parts)
    theirs = ran("run_grid", {"rows": str(scratch / "rows"), "jobs": 2, "points": points}, folder)
    _say(f"grid: {theirs['value']:.4f} after {theirs['fits']:,} fits in {theirs['wall_s']:.0f} s")
    affordable = int(MOST_FITS * GRID_FITS) // len(rows.folds.folds)
    trials = affordable - sum(item.yardstick for item in learners(case.task).values())
    ours = ran("run_everloop", _request(scratch, seed=0, jobs=2, trials=trials), scratch / "everloop")
    store = project.state / "searches" / ours["search"] / "predictions"
    places = {"best": "best", "cheapest": "winner"}
    said = {name: np.load(store / f"{ours[place]['number']}.npy")[:, 0] for name, place in places.items()}
    compared = _on_folds(model.objective, rows, np.load(folder / "predictions.npy"), said)
    _say(f"search: {ours['best']['value']:.4f} after {ours['fits']} fits in {ours['wall_s']:.0f} s")
    return {
        "fits_ratio": round(ours["fits"] / GRID_FITS, 4),
        "score_minus_grid_best": compared["best"],
        "cheapest_minus_grid_best": compared["cheapest"],
        "grid_best": compared["grid"],
        "seconds_ratio": round(ours["wall_s"] / theirs["wall_s"], 4),
        "grid": theirs,
        "search": ours,
    }


_KINDS: Final = ("fitted", "judged")


def _on_folds(objective: Objective, rows: SearchRows, grid: np.ndarray, ours: dict[str, np.ndarray]) -> dict[str, Any]:
    """The grid's best with its interval, and by how much ours are better on the same rows, fold by fold."""
    start, best, worth = 0, [], []
    gaps: dict[str, list[Any]] = {name: [] for name in ours}
    for fold in rows.folds.folds:
        part, place = rows.part(fold.judged), slice(start, start + fold.judged.size)
        start += fold.judged.size
        theirs = evaluated(objective, part.y, grid[place], part.weight, threshold=None)
        best.append(judged(objective, part.y, grid[place], part.weight, seed=0).interval)
        worth.append(fold.worth)
        for name, scores in ours.items():
            mine = evaluated(objective, part.y, scores[place], part.weight, threshold=None)
            gaps[name].append(better_by(objective, mine, theirs, seed=0))
    found = {"grid": best, **gaps}
    return {name: _rounded(mean_interval_of(parts, worth).to_dict()) for name, parts in found.items()}


def _rounded(interval: dict[str, float]) -> dict[str, float]:
    return {name: round(interval[name], 5) for name in ("point", "low", "high")}


def peers(
    data: Path, scratch: Path, cache: Path, *, cases: Sequence[str], seeds: int, minutes: float
) -> dict[str, Any]:
    """Every side on every data set and seed, one after another."""
    python = peer_python(FLAML, cache)
    found: dict[str, Any] = {"vs_flaml": {}, "vs_optuna": {}, "vs_flaml_cheapest": {}, "vs_optuna_cheapest": {}}
    found["runs"] = []
    for name in cases:
        case, frame = CASES[name], CASES[name].read(data)
        metric = Objective.parse(case.objective).metric
        scores: dict[str, list[np.ndarray]] = {"everloop": [], "cheapest": [], "flaml": [], "optuna": []}
        rows = scratch / name / "rows"
        for seed in range(seeds):
            root = scratch / name / str(seed)
            project, model = made_project(case, frame, root / "project", learners=FEW[case.task])
            if seed == 0:
                lay_out(project, model, rows)
            request = _request(root, seed=seed, jobs=2, minutes=minutes, rows=rows)
            request |= {"task": case.task, "metric": metric, "learners": FEW[case.task].split(", ")}
            for side, interpreter in (("everloop", None), ("flaml", python), ("optuna", None)):
                told = ran(f"run_{side}", request, root / side, python=interpreter)
                if side == "everloop":
                    request["minutes"] = told["wall_s"] / 60
                scores[side].append(np.load(root / side / "scores.npy"))
                found["runs"].append({"data": name, "seed": seed, "side": side, **told})
                _say(f"{name} seed {seed} {side}: {told['trials']} trials in {told['wall_s']:.0f} s")
            scores["cheapest"].append(np.load(root / "everloop" / "scores-winner.npy"))
        y, weight = np.load(rows / "y_test.npy"), np.load(rows / "weight_test.npy")
        for ours, suffix in (("everloop", ""), ("cheapest", "_cheapest")):
            for side in ("flaml", "optuna"):
                found[f"vs_{side}{suffix}"][name] = difference(metric, y, weight, scores[ours], scores[side])
        _say(f"{name}: vs FLAML {found['vs_flaml'][name]}, vs Optuna {found['vs_optuna'][name]}")
    return found


def jobs(data: Path, scratch: Path, *, case: Case, repeats: int, trials: int | None) -> dict[str, Any]:
    """One process and two, in turn; every search from nothing, its workers' start counted."""
    frame, walls, told = case.read(data), {1: [], 2: []}, []
    for at in range(repeats):
        for count in (1, 2) if at % 2 == 0 else (2, 1):
            root = scratch / f"{at}-{count}"
            made_project(case, frame, root / "project")
            found = ran("run_everloop", _request(root, seed=0, jobs=count, trials=trials), root / "everloop")
            walls[count].append(found["wall_s"])
            told.append({"jobs": count, **found})
            _say(f"{count} jobs: {found['wall_s']:.1f} s, {found['fit_share']:.0%} of it fits")
    return {
        "speedup_2_jobs": round(median(walls[1]) / median(walls[2]), 3),
        "wall_s": {str(count): [round(wall, 1) for wall in found] for count, found in walls.items()},
        "fit_share": {str(count): max(one["fit_share"] for one in told if one["jobs"] == count) for count in (1, 2)},
        "same_best": len({json.dumps(one["best"], sort_keys=True) for one in told}) == 1,
        "data": case.name,
        "trials": told[0]["trials"],
    }


def _request(
    root: Path,
    *,
    seed: int,
    jobs: int,
    trials: int | None = None,
    minutes: float | None = None,
    rows: Path | None = None,
) -> dict[str, Any]:
    """What `run_everloop` is asked; rows: those that the winner is fitted on again, None for no such fit."""
    return {
        "project": str(root / "project"),
        "rows": None if rows is None else str(rows),
        "refit": rows is not None,
        "seed": seed,
        "jobs": jobs,
        "minutes": minutes,
        "trials": _ENDLESS if minutes is not None and trials is None else trials,
    }


def broken(document: dict[str, Any]) -> list[str]:
    """What of the claims the numbers do not keep."""
    said = []
    if document.get("fits_ratio", 0.0) > MOST_FITS:
        said.append(f"the search took {document['fits_ratio']:.1%} of the grid's fits")
    if "grid_best" in document:
        best = document["grid_best"]
        if best["point"] + document["score_minus_grid_best"]["point"] < best["low"]:
            said.append("the search's best is below the interval of the grid's best")
    for side in ("vs_flaml", "vs_optuna"):
        for name, gap in document.get(side, {}).items():
            if gap["high"] < 0 or gap["point"] < LEAST_POINT:
                said.append(f"{name} {side}: {gap['point']} [{gap['low']}, {gap['high']}]")
    if document.get("speedup_2_jobs", LEAST_SPEEDUP) < LEAST_SPEEDUP:
        said.append(f"two jobs are only {document['speedup_2_jobs']} times as fast as one")
    if not document.get("same_best", True):
        said.append("two jobs found another best trial than one")
    return said


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)


def main() -> int:
    """Measure, print one JSON document; 1 where a claim was not kept."""
    parser = argparse.ArgumentParser(prog="python -m bench.search", description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout, and nothing else")
    parser.add_argument(
        "--part", choices=("grid", "peers", "jobs"), action="append", help="one of them; again for more"
    )
    parser.add_argument("--data", type=Path, default=DATA, help="the folder that holds creditcard, green_taxi …")
    parser.add_argument("--peers", type=Path, default=CACHE, help="where FLAML's environment is made")
    parser.add_argument("--case", choices=tuple(CASES), action="append", help="of the peers' data sets; all where none")
    parser.add_argument("--seeds", type=int, default=3, help="of the peers' searches: 0 to N - 1")
    parser.add_argument("--minutes", type=float, default=1.0, help="of each side's search")
    parser.add_argument("--repeats", type=int, default=3, help="searches with one job and with two")
    parser.add_argument("--trials", type=int, help="of the searches with one job and two; the search's own where None")
    parser.add_argument("--points", type=int, help="of each of the grid's lists, to try the script; all where None")
    given = parser.parse_args()
    document: dict[str, Any] = {"bench": "search"}
    with tempfile.TemporaryDirectory(prefix="everloop-bench-") as name:
        scratch = Path(name)
        for part in given.part or ("grid", "peers", "jobs"):
            if part == "grid":
                document |= grid(given.data, scratch / "grid", points=given.points)
            elif part == "peers":
                cases = given.case or tuple(CASES)
                document |= peers(
                    given.data, scratch / "peers", given.peers, cases=cases, seeds=given.seeds, minutes=given.minutes
                )
            else:
                case = CASES[given.case[0] if given.case else "green_taxi"]
                document |= jobs(given.data, scratch / "jobs", case=case, repeats=given.repeats, trials=given.trials)
    document["broken"] = broken(document)
    shown = {name: value for name, value in document.items() if name not in ("runs", "grid", "search")}
    print(json.dumps(document) if given.json else json.dumps(shown, indent=2))
    return 1 if document["broken"] else 0


if __name__ == "__main__":
    sys.exit(main())
