"""What the pipeline does beside a training, left out: read, split by time, fit, evaluate. One process, all cores."""

from __future__ import annotations

import importlib
import json
import sys
import time
from pathlib import Path

folder = Path(sys.argv[1])
request = json.loads((folder / "request.json").read_text())
for module in request["modules"]:  # what the pipeline's process loads as well, so that only the work differs
    importlib.import_module(module)

import numpy as np  # noqa: E402
import polars as pl  # noqa: E402
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score  # noqa: E402
from xgboost import XGBClassifier  # noqa: E402

frame = pl.read_parquet(folder / "rows.parquet").sort("at")
names = [name for name in frame.columns if name.startswith("x")]
X = frame.select(names).cast(pl.Float32).to_numpy()
y = frame["fraud"].cast(pl.Int8).to_numpy()
first, second = int(0.7 * len(y)), int(0.85 * len(y))
began_s = time.perf_counter()
model = XGBClassifier(**request["hyperparameters"], tree_method="hist", random_state=0)
model.fit(X[:first], y[:first])
fit_s = time.perf_counter() - began_s
validation, test = model.predict_proba(X[first:second])[:, 1], model.predict_proba(X[second:])[:, 1]
precision, recall, thresholds = precision_recall_curve(y[first:second], validation)
good = np.flatnonzero(precision[:-1] >= 0.8)
threshold = thresholds[good[np.argmax(recall[good])]] if len(good) else 1.0
flagged, truth = test >= threshold, y[second:]
found = {
    "recall": float((flagged & (truth == 1)).sum() / truth.sum()),
    "roc_auc": float(roc_auc_score(truth, test)),
    "average_precision": float(average_precision_score(truth, test)),
}
(folder / "result.json").write_text(json.dumps({"fit_s": fit_s, "metrics": found}))
