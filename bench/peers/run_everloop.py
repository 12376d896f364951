"""everloop's side: a search as a user calls it, its winner fitted on all rows before the test's, and their scores.

`python -m bench.peers.run_everloop FOLDER`. request.json: project, rows (the folder of `cases.lay_out`), seed, jobs,
trials, minutes, refit. It leaves scores.npy (the best by number that is no blend) and scores-winner.npy (the trial that
the search hands over, as the project's `choose` says), float32, shape (n,), and result.json.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from everloop.bundle import Graph
from everloop.experiment import search
from everloop.experiment.leaderboard import Leaderboard
from everloop.experiment.trials import Trial
from everloop.models import BLEND, FitRequest, fit
from everloop.project import Project


def main(folder: Path) -> None:
    """Search, refit, score."""
    request = json.loads((folder / "request.json").read_text())
    project = Project.open(Path(request["project"]), environment={})
    model, marks = project.model(), []
    began_s = time.monotonic()
    board = search(
        project,
        model,
        clock=project.clock(),
        trials=request["trials"],
        seed=request["seed"],
        jobs=request["jobs"],
        minutes=request["minutes"],
        progress=lambda trial, best, ended, of: marks.append(time.monotonic() - began_s),
    )
    wall_s = time.monotonic() - began_s
    assert board.winner is not None, board.verdict.sentence
    winner = board.winner.trial
    best = next(t for t in board.trials if t.kind == "trial" and t.status == "done" and t.learner != BLEND)
    if request["refit"]:
        for name, trial in (("scores", best), ("scores-winner", winner)):
            np.save(folder / f"{name}.npy", _refitted(trial, model.task, request, Path(request["rows"])))
    found = _told(board, winner, best) | {"wall_s": round(wall_s, 2), "last_trial_s": round(marks[-1], 2)}
    found["fit_share"] = round(sum(trial.fit_s for trial in board.trials) / (request["jobs"] * wall_s), 3)
    (folder / "result.json").write_text(json.dumps(found))


def _told(board: Leaderboard, winner: Trial, best: Trial) -> dict[str, Any]:
    trials = [trial for trial in board.trials if trial.kind == "trial"]
    return {
        "search": board.search,
        "trials": len(trials),
        "fits": sum(len(trial.folds) for trial in board.trials),
        "failed": sum(trial.status == "failed" for trial in trials),
        "winner": _trial(winner),
        "best": _trial(best),
        "tied": board.ties,
    }


def _trial(trial: Trial) -> dict[str, Any]:
    return {
        "number": trial.number,
        "learner": trial.learner,
        "value": trial.value,
        "graph_bytes": trial.graph_bytes,
        "hyperparameters": trial.hyperparameters,
    }


def _refitted(trial: Trial, task: str, request: dict[str, Any], rows: Path) -> np.ndarray:
    """The configuration fitted on every row but the test's, as training does it, and its scores of the test rows."""
    X, y, weight, test = (np.load(rows / f"{name}.npy") for name in ("X", "y", "weight", "X_test"))
    result = fit(
        FitRequest(
            learner=trial.learner,
            params=trial.hyperparameters,
            X=X,
            y=y,
            weight=weight,
            seed=request["seed"],
            task=task,
            threads=request["jobs"],
        )
    )
    return Graph(result.graph).scores(test)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
