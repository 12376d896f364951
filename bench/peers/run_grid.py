"""The well-known grid of 576 points, by scikit-learn's GridSearchCV: `python -m bench.peers.run_grid FOLDER`.

request.json: rows, jobs, points (None for all). The folder also holds folds.npz: `fitted-0`, `judged-0`, … It leaves
predictions.npy, the best point's scores of the judged rows of every fold, one after another, and result.json.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Final

import numpy as np

GRID: Final = {
    "max_depth": [3, 5, 7, 10],
    "learning_rate": [0.01, 0.1, 0.2, 0.3],
    "n_estimators": [50, 100, 150, 200],
    "subsample": [0.6, 0.8, 1.0],
    "colsample_bytree": [0.6, 0.8, 1.0],
}


def main(folder: Path) -> None:
    """Every point on every fold, and the best one's predictions."""
    import sklearn
    from sklearn.metrics import average_precision_score, make_scorer
    from sklearn.model_selection import GridSearchCV
    from xgboost import XGBClassifier

    request = json.loads((folder / "request.json").read_text())
    X, y, weight = (np.load(Path(request["rows"]) / f"{name}.npy") for name in ("X", "y", "weight"))
    weight = weight / weight.mean()
    parts = np.load(folder / "folds.npz")
    folds = [(parts[f"fitted-{at}"], parts[f"judged-{at}"]) for at in range(parts["worth"].size)]
    grid = {name: values[: request["points"]] for name, values in GRID.items()}
    sklearn.set_config(enable_metadata_routing=True)
    model = XGBClassifier(tree_method="hist", n_jobs=1, random_state=0, verbosity=0)
    scorer = make_scorer(average_precision_score, response_method="predict_proba")
    search = GridSearchCV(
        model.set_fit_request(sample_weight=True),
        grid,
        scoring=scorer.set_score_request(sample_weight=True),
        cv=folds,
        n_jobs=request["jobs"],
        refit=False,
        error_score="raise",
    )
    began_s = time.monotonic()
    search.fit(X, y.astype(int), sample_weight=weight)
    wall_s = time.monotonic() - began_s
    tried = search.cv_results_
    scores = np.column_stack([tried[f"split{at}_test_score"] for at in range(len(folds))])
    # a fold counts as everloop counts it
    values = scores @ (parts["worth"] / parts["worth"].sum())
    best = int(np.argmax(values))
    said = []
    for fitted, judged in folds:
        one = XGBClassifier(tree_method="hist", n_jobs=1, random_state=0, verbosity=0, **tried["params"][best])
        one.fit(X[fitted], y[fitted].astype(int), sample_weight=weight[fitted])
        said.append(one.predict_proba(X[judged])[:, 1])
    np.save(folder / "predictions.npy", np.concatenate(said))
    found = {"points": len(values), "fits": scores.size, "value": float(values[best]), "wall_s": round(wall_s, 2)}
    (folder / "result.json").write_text(json.dumps(found | {"hyperparameters": tried["params"][best]}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
