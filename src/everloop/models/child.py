"""The child of a `FitProcess`: `python -m everloop.models.child`.

It reads lines from stdin. A folder: it fits the request that lies there, and leaves the graph. `rehearse TASK LEARNER`,
of several learners too: while it is asked for nothing else it fits a few rows, so that their libraries are loaded by
then. An empty line is the last.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import threading
from dataclasses import fields
from functools import partial
from pathlib import Path

import numpy as np

from everloop.memory import give_back
from everloop.models.fitting import FitRequest, fit_here
from everloop.models.learner import Validation
from everloop.models.process import FITTED, REHEARSE

__all__ = ["main"]

_NICE = 10  # whoever answers requests on this machine comes first
_REHEARSED_ROWS = 64


def main() -> None:
    """Fit what each folder holds; leave the graph, the rest as `result.json`, or the first error and fit no more."""
    with contextlib.suppress(OSError):
        os.nice(_NICE)
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(lines,), daemon=True).start()
    while line := lines.get():
        if line.startswith(REHEARSE):
            _, task, *learners = line.split()
            for learner in learners:
                if lines.empty():
                    _rehearse(task, learner)
            continue
        folder = Path(line)
        try:
            result = fit_here(_request(folder), fitted=partial(_say_fitted, folder))
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
        give_back()


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


def _say_fitted(folder: Path) -> None:
    (folder / FITTED).touch()
    give_back()


def _listen(heard: queue.SimpleQueue[str]) -> None:
    """Pass on what the parent sends, until its end of the pipe closes: then there is no one to fit for."""
    rest = b""
    while read := os.read(0, 65_536):  # not sys.stdin, whose lock this thread would hold when the process ends
        *lines, rest = (rest + read).split(b"\n")
        for line in lines:
            heard.put(os.fsdecode(line))
    os._exit(1)


def _rehearse(task: str, learner: str) -> None:
    """Fit a few rows; what comes of it is of no interest."""
    random = np.random.default_rng(0)
    X = random.standard_normal((_REHEARSED_ROWS, 2), dtype=np.float32)
    y = (X[:, 0] + 0.1 * random.standard_normal(_REHEARSED_ROWS) > 0).astype(np.float64)
    judged = Validation(X=X, y=y, weight=np.ones(_REHEARSED_ROWS))
    with contextlib.suppress(Exception):
        fit_here(FitRequest(learner=learner, params={}, X=X, y=y, validation=judged, seed=0, task=task))


if __name__ == "__main__":
    main()
    os._exit(0)  # all is written; to take the libraries down in order would take a third of a second
