"""What holds across processes: the same bundle id, the same bytes, and no training library where it is served."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np

from everloop.bundle import BundleParts, BundleStore
from tests.bundle.parts import ROOT, frame, parts
from tests.models.rows import NAMES

SERVED = """
import sys
from pathlib import Path
import numpy as np
import polars as pl
from everloop.bundle import BundleStore
root, bundle_id, rows, out = sys.argv[1:]
np.save(out, BundleStore(Path(root)).load(bundle_id).score_frame(pl.read_parquet(rows)).score, allow_pickle=False)
heavy = {"sklearn", "xgboost", "lightgbm", "onnx", "skl2onnx", "onnxmltools", "optuna", "joblib"}
print(sorted(heavy & {name.split(".")[0] for name in sys.modules}), "everloop.models" in sys.modules)
"""

TRAINED = """
import sys
from everloop.bundle import BundleStore
from pathlib import Path
from tests.bundle.parts import parts
from tests.models.rows import NAMES
store = BundleStore(Path(sys.argv[1]))
print(" ".join(store.write(parts(name)) for name in NAMES))
"""


def said(script: str, *arguments: str) -> str:
    run = [sys.executable, "-c", script, *arguments]
    return subprocess.run(run, capture_output=True, text=True, cwd=ROOT, check=True).stdout.strip()


def test_serving_loads_no_training_library_and_gives_the_same_bytes(tmp_path: Path, logistic: BundleParts) -> None:
    store = BundleStore(tmp_path / "bundles")
    bundle_id = store.write(logistic)
    rows = frame()
    rows.write_parquet(tmp_path / "rows.parquet")
    out = tmp_path / "scores.npy"
    assert said(SERVED, str(tmp_path / "bundles"), bundle_id, str(tmp_path / "rows.parquet"), str(out)) == "[] False"
    assert np.load(out, allow_pickle=False).tobytes() == store.load(bundle_id).score_frame(rows).score.tobytes()


def test_the_same_data_and_seed_give_the_same_bundle_in_two_processes(tmp_path: Path, graphs: dict[str, bytes]) -> None:
    store = BundleStore(tmp_path / "here")
    here = [store.write(parts(name, graph=graphs[name])) for name in NAMES]
    assert said(TRAINED, str(tmp_path / "there")).split() == here
    assert len(set(here)) == len(NAMES)
