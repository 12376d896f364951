"""FLAML's side, run by the interpreter of its own environment: `python run_flaml.py FOLDER`.

request.json: rows, task, metric, seed, jobs, minutes. FLAML gets every row before the test's, in order of time, and the
budget; how it validates is its own choice, but by time. It fits the winner on all rows once its budget is over.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from pathlib import Path

import numpy as np

_METRICS = {"average_precision": "ap", "mae": "mae"}
_LEARNERS = {
    "classification": ["lgbm", "xgboost", "xgb_limitdepth", "rf", "lrl1"],
    "regression": ["lgbm", "xgboost", "xgb_limitdepth", "rf"],
}


def main(folder: Path) -> None:
    """Search, score."""
    from flaml import AutoML

    warnings.simplefilter("ignore")
    request = json.loads((folder / "request.json").read_text())
    rows = Path(request["rows"])
    X, y, weight, test = (np.load(rows / f"{name}.npy") for name in ("X", "y", "weight", "X_test"))
    task = request["task"]
    weights = {} if np.all(weight == weight[0]) else {"sample_weight": weight}
    began_s = time.monotonic()
    found = AutoML()
    found.fit(
        X,
        y.astype(int) if task == "classification" else y,
        task=task,
        metric=_METRICS[request["metric"]],
        time_budget=60 * request["minutes"],
        estimator_list=_LEARNERS[task],
        split_type="time",
        n_jobs=request["jobs"],
        seed=request["seed"],
        verbose=0,
        **weights,
    )
    wall_s = time.monotonic() - began_s
    scores = found.predict_proba(test)[:, 1] if task == "classification" else found.predict(test)
    np.save(folder / "scores.npy", np.asarray(scores, dtype=np.float64))
    told = {
        "wall_s": round(wall_s, 2),
        "trials": len(found.config_history),
        "learner": found.best_estimator,
        "hyperparameters": found.best_config,
        "value": float(found.best_loss),
    }
    (folder / "result.json").write_text(json.dumps(told, default=str))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
