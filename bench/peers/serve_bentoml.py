"""BentoML's side, run by the interpreter of its own environment: `python serve_bentoml.py FOLDER PORT`.

FOLDER/model.json is a fitted XGBoost. It is served by one process with adaptive batching, and BentoML's own choice of
how large a batch may be and how long one waits.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import bentoml
import numpy as np
import xgboost

_MODEL = "EVERLOOP_BENCH_MODEL"


@bentoml.service(workers=1, traffic={"timeout": 60})
class Fraud:
    """The scores of rows of features."""

    def __init__(self) -> None:
        self.booster = xgboost.Booster(model_file=os.environ[_MODEL])

    @bentoml.api(batchable=True)
    def predict(self, rows: np.ndarray) -> np.ndarray:
        """rows: shape (n, k); of many requests those that came meanwhile."""
        return self.booster.inplace_predict(rows)


def main(folder: Path, port: int) -> None:
    """Become the server."""
    os.environ |= {_MODEL: str(folder / "model.json"), "BENTOML_DO_NOT_TRACK": "True", "BENTOML_HOME": str(folder)}
    place = Path(__file__)
    command = ["-m", "bentoml", "serve", f"{place.stem}:Fraud", "--working-dir", str(place.parent)]
    os.execv(sys.executable, [sys.executable, *command, "--host", "127.0.0.1", "--port", str(port)])


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
