"""Optuna as people write it: one study over the same learners and spaces, each trial fitted once and judged on the
newest rows before the test's; the best is fitted again on all of them.

`python -m bench.peers.run_optuna FOLDER`. request.json: rows, task, metric, seed, jobs, minutes, learners. The fits are
the learners' own (XGBoost's, LightGBM's, scikit-learn's, one thread each), without folds, pruning or graphs.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from bench.difference import METRICS

from everloop.models import Choice, Int, defaults, learner, search_space
from everloop.models.learner import Learner, Training
from everloop.models.missing import filled, fills


def main(folder: Path) -> None:
    """Search, refit, score."""
    import optuna

    began_s = time.monotonic()
    request = json.loads((folder / "request.json").read_text())
    rows = Path(request["rows"])
    X, y, weight, newest = (np.load(rows / f"{name}.npy") for name in ("X", "y", "weight", "newest"))
    learners = {name: learner(name, task=request["task"]) for name in request["learners"]}
    metric, more = METRICS[request["metric"]]
    older = np.arange(newest.min())

    def value(trial: optuna.Trial) -> float:
        item = learners[trial.suggest_categorical("learner", list(learners))]
        said = _said(trial, item)
        scores = _scores(item, said, X[older], y[older], weight[older], X[newest], request, threads=1)
        return metric(y[newest], scores)(weight[newest].astype(np.float64))

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        sampler=optuna.samplers.TPESampler(seed=request["seed"]), direction="maximize" if more else "minimize"
    )
    study.optimize(value, timeout=60 * request["minutes"], n_jobs=request["jobs"])
    wall_s = time.monotonic() - began_s
    best = study.best_trial
    item = learners[best.params["learner"]]
    said = {name: best.params[f"{item.name}.{name}"] for name in search_space(item)}
    test = np.load(rows / "X_test.npy")
    np.save(folder / "scores.npy", _scores(item, said, X, y, weight, test, request, threads=request["jobs"]))
    found = {"trials": len(study.trials), "wall_s": round(wall_s, 2), "value": best.value, "learner": item.name}
    (folder / "result.json").write_text(json.dumps(found | {"hyperparameters": said}))


def _said(trial: Any, item: Learner) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, space in search_space(item).items():
        key = f"{item.name}.{name}"
        if isinstance(space, Choice):
            found[name] = trial.suggest_categorical(key, list(space.options))
        elif isinstance(space, Int):
            found[name] = trial.suggest_int(key, space.low, space.high, log=space.log)
        else:
            found[name] = trial.suggest_float(key, space.low, space.high, log=space.log)
    return found


def _scores(
    item: Learner,
    said: dict[str, Any],
    X: np.ndarray,
    y: np.ndarray,
    weight: np.ndarray,
    asked: np.ndarray,
    request: dict[str, Any],
    *,
    threads: int,
) -> np.ndarray:
    fill = fills(X, reads_missing=item.reads_missing)
    numeric = request["task"] == "regression"
    # a regression's learners expect a target of mean 0 and spread 1
    mean, spread = (float(y.mean()), float(y.std())) if numeric else (0.0, 1.0)
    training = Training(
        X=filled(X, fill),
        y=(y - mean) / spread if numeric else y.astype(np.int8),
        weight=weight.astype(np.float64),
        params=defaults(item) | said,
        seed=request["seed"],
        threads=threads,
    )
    return item.fit(training).scores(filled(asked, fill)) * spread + mean


if __name__ == "__main__":
    main(Path(sys.argv[1]))
