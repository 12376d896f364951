"""The child of `fit_all`: `python -m everloop.models.child FOLDER …` reads each request, fits, and writes the graph."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from everloop.models.fitting import FitRequest, fit_here

__all__ = ["main"]


def main(folders: Sequence[Path]) -> None:
    """Fit what each folder holds; leave `graph.onnx` and `result.json`, or the first error and fit no more."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    for folder in folders:
        try:
            result = fit_here(_request(folder))
        except Exception as error:  # whatever a library raises becomes a sentence for the parent
            _write(folder, {"error": type(error).__name__, "sentence": str(error)})
            return
        (folder / "graph.onnx").write_bytes(result.graph)
        _write(folder, {"fit_s": result.fit_s, "agreement": result.agreement, "params": result.params})


def _request(folder: Path) -> FitRequest:
    said = json.loads((folder / "request.json").read_bytes())
    names = said.pop("arrays")
    arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in names}
    return FitRequest(**said, **arrays)


def _write(folder: Path, answer: dict[str, object]) -> None:
    (folder / "result.json").write_text(json.dumps(answer), encoding="utf-8")


def _end_with_parent() -> None:
    """Wait for the parent's end of the pipe to close; then there is no one to fit for."""
    os.read(0, 1)
    os._exit(1)


if __name__ == "__main__":
    main([Path(name) for name in sys.argv[1:]])
