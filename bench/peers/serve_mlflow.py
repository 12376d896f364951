"""MLflow's side, run by the interpreter of its own environment: `python serve_mlflow.py FOLDER PORT`.

FOLDER/model.json is a fitted XGBoost. It is saved in MLflow's flavour for it and served by `mlflow models serve` in one
process. Where FOLDER/columns.json has the names of the features, the model has a signature with them, as MLflow advises
and its autologging does; else it takes bare numbers as they come.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path


def main(folder: Path, port: int) -> None:
    """Save, then become the server."""
    saved = folder / "mlflow"
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    _save(folder, saved)
    # the server that it starts is found by its name
    os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    command = ["mlflow", "models", "serve", "--model-uri", str(saved), "--env-manager", "local"]
    os.execvp("mlflow", [*command, "--host", "127.0.0.1", "--port", str(port), "--workers", "1"])


def _save(folder: Path, saved: Path) -> None:
    import mlflow.xgboost
    import numpy as np
    import pandas as pd
    import xgboost
    from mlflow.models import infer_signature

    booster, columns = xgboost.Booster(model_file=folder / "model.json"), folder / "columns.json"
    signature = None
    if columns.exists():
        booster.feature_names = json.loads(columns.read_text())
        rows = pd.DataFrame(np.zeros((1, booster.num_features())), columns=booster.feature_names)
        signature = infer_signature(rows, booster.predict(xgboost.DMatrix(rows)))
    mlflow.xgboost.save_model(booster, saved, signature=signature)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
