"""The child of `fit_all`: `python -m everloop.models.child FOLDER …` reads each request, fits, and writes the graph."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import numpy as np

from everloop.models.fitting import FitRequest, fit_here
from everloop.models.learner import Validation

__all__ = ["main"]


def main(folders: Sequence[Path]) -> None:
    """Fit what each folder holds; leave the graph, the rest as `result.json`, or the first error and fit no more."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    for folder in folders:
        try:
            result = fit_here(_request(folder))
        except Exception as error:  # whatever a library raises becomes a sentence for the parent
            _write(folder, {"error": type(error).__name__, "sentence": str(error)})
            return
        (folder / "graph.onnx").write_bytes(result.graph)
        if result.held is not None:
            np.save(folder / "held.npy", result.held, allow_pickle=False)
        answer = {field.name: getattr(result, field.name) for field in fields(result)}
        del answer["graph"], answer["held"]
        answer["calibration"] = None if result.calibration is None else result.calibration.to_dict()
        _write(folder, answer)


def _request(folder: Path) -> FitRequest:
    said = json.loads((folder / "request.json").read_bytes())
    names, quantiles = said.pop("arrays"), tuple(said.pop("quantiles"))
    arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in names}
    own = said.pop("own")
    judged = {name: arrays.pop(f"validation_{name}", None) for name in ("X", "y", "weight")}
    validation = None if judged["X"] is None else Validation(**judged)
    own = None if own is None else Path(own)
    categories = {int(place): count for place, count in said.pop("categories").items()}  # JSON has texts as keys only
    return FitRequest(**said, **arrays, validation=validation, quantiles=quantiles, own=own, categories=categories)


def _write(folder: Path, answer: dict[str, object]) -> None:
    (folder / "result.json").write_text(json.dumps(answer), encoding="utf-8")


def _end_with_parent() -> None:
    """Wait for the parent's end of the pipe to close; then there is no one to fit for."""
    os.read(0, 1)
    os._exit(1)


if __name__ == "__main__":
    main([Path(name) for name in sys.argv[1:]])
