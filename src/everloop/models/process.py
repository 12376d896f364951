"""A fit in a child process: it can be stopped at any moment, and no native model outlives it.

Arrays go as .npy files that the child maps, the rest as JSON; the graph comes back as a file. Nothing is pickled.
The child holds the end of a pipe from here, so that it ends when we do, however we end.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from everloop import errors
from everloop.clock import Clock, SystemClock
from everloop.errors import ConfigurationError, EverloopError, FitFailed, StepTimeout
from everloop.models.calibration import Calibration
from everloop.models.fitting import FitRequest, FitResult, check_request
from everloop.models.learner import target_type

__all__ = ["fit", "fit_all"]

_POLL_S: Final = 0.1
_LAST_CHARACTERS: Final = 300


def fit(
    request: FitRequest,
    *,
    time_limit_s: float | None = None,
    stopped: Callable[[], bool] | None = None,
    scratch: Path | None = None,
    clock: Clock | None = None,
) -> FitResult:
    """Fit in a child process and bring back the graph; the rest as `fit_all`."""
    return fit_all([request], time_limit_s=time_limit_s, stopped=stopped, scratch=scratch, clock=clock)[0]


def fit_all(
    requests: Sequence[FitRequest],
    *,
    time_limit_s: float | None = None,
    stopped: Callable[[], bool] | None = None,
    scratch: Path | None = None,
    clock: Clock | None = None,
) -> list[FitResult]:
    """Fit one after another in a single child process, which loads each library once, and bring back the graphs.

    time_limit_s: over all of them; after it the child is killed and StepTimeout raised; None waits.
    stopped: asked ten times a second; once true, the child is killed and FitFailed raised.
    scratch: an existing folder for the arrays, removed afterwards from it; None is the machine's own.
    Raises what `fit_here` raises for the first that fails, and FitFailed where the child gave nothing.
    """
    for request in requests:
        check_request(request)
    with tempfile.TemporaryDirectory(prefix="everloop-fit-", dir=scratch) as name:
        folders = [Path(name) / str(place) for place in range(len(requests))]
        for request, folder in zip(requests, folders, strict=True):
            _send(request, folder)
        _run(requests, folders, time_limit_s, stopped, SystemClock() if clock is None else clock)
        return [_receive(request, folder) for request, folder in zip(requests, folders, strict=True)]


def _send(request: FitRequest, folder: Path) -> None:
    arrays = _arrays(request)
    said = {
        "learner": request.learner,
        "params": dict(request.params),
        "seed": request.seed,
        "threads": request.threads,
        "task": request.task,
        "quantiles": list(request.quantiles),
        "categories": dict(request.categories),
        "calibration": request.calibration,
        "own": None if request.own is None else str(request.own.resolve()),
        "arrays": sorted(arrays),
    }
    try:
        folder.mkdir()
        for name, array in arrays.items():
            np.save(folder / f"{name}.npy", np.ascontiguousarray(array), allow_pickle=False)
        (folder / "request.json").write_text(json.dumps(said), encoding="utf-8")
    except OSError as error:
        needed = sum(array.nbytes for array in arrays.values()) / 1e6
        raise FitFailed(
            f"the rows for {request.learner} ({needed:.0f} MB) could not be written to {folder.parent.parent}: "
            f"{error.strerror or error}; make room there and run it again"
        ) from error


def _arrays(request: FitRequest) -> dict[str, np.ndarray]:
    """The rows by the names of their files; `child` puts them together again."""
    arrays = {"X": request.X, "y": np.asarray(request.y).astype(target_type(request.task))}
    if request.weight is not None:
        arrays["weight"] = np.asarray(request.weight, dtype=np.float64)
    if request.validation is not None:
        arrays["validation_X"] = request.validation.X
        arrays["validation_y"] = np.asarray(request.validation.y).astype(target_type(request.task))
        arrays["validation_weight"] = request.validation.weights
    return arrays


def _run(
    requests: Sequence[FitRequest],
    folders: Sequence[Path],
    time_limit_s: float | None,
    stopped: Callable[[], bool] | None,
    clock: Clock,
) -> None:
    deadline_s = None if time_limit_s is None else clock.monotonic_s() + time_limit_s
    learners = " and ".join(request.learner for request in requests)
    talk = folders[0].parent / "stderr"
    with talk.open("wb") as stderr:
        child = subprocess.Popen(
            [sys.executable, "-P", "-m", "everloop.models.child", *map(str, folders)],
            stdin=subprocess.PIPE,
            stdout=stderr,
            stderr=stderr,
        )
    try:
        while not _ended(child):
            if deadline_s is not None and clock.monotonic_s() >= deadline_s:
                raise StepTimeout(
                    f"fitting {learners} on {len(requests[0].X):,} rows took longer than {time_limit_s:g} s and was "
                    "stopped; give it more time, fewer rows or smaller hyperparameters"
                )
            if stopped is not None and stopped():
                raise FitFailed(f"fitting {learners} was stopped; nothing was kept")
    finally:
        child.kill()
        child.wait()
        if child.stdin is not None:
            child.stdin.close()
    _check_end(learners, talk, child.returncode)


def _ended(child: subprocess.Popen[bytes]) -> bool:
    try:
        child.wait(timeout=_POLL_S)
    except subprocess.TimeoutExpired:
        return False
    return True


def _check_end(learners: str, talk: Path, code: int) -> None:
    if code == 0:
        return
    if code < 0:
        name = signal.Signals(-code).name
        raise FitFailed(
            f"the process that fitted {learners} was killed ({name}); where the machine ran out of memory, "
            "take fewer rows or smaller hyperparameters"
        )
    said = talk.read_text(encoding="utf-8", errors="replace").strip()[-_LAST_CHARACTERS:]
    raise FitFailed(f"the process that fitted {learners} ended with code {code}: {said.splitlines()[-1:]}")


def _receive(request: FitRequest, folder: Path) -> FitResult:
    try:
        answer: dict[str, Any] = json.loads((folder / "result.json").read_bytes())
    except (OSError, ValueError) as error:
        raise FitFailed(f"the process that fitted {request.learner} left no result; run it again") from error
    if "error" in answer:
        raise _error(request, answer["error"], answer["sentence"])
    said, held = answer.pop("calibration"), folder / "held.npy"
    return FitResult(
        graph=(folder / "graph.onnx").read_bytes(),
        **answer,
        calibration=None if said is None else Calibration(**said),
        held=np.load(held, allow_pickle=False) if held.exists() else None,
    )


def _error(request: FitRequest, kind: str, sentence: str) -> EverloopError:
    """The child's error again, as the same class of our tree; anything else is a FitFailed."""
    if kind == ConfigurationError.__name__:
        return ConfigurationError(sentence.splitlines())
    if kind in errors.__all__:
        found: type[EverloopError] = getattr(errors, kind)
        return found(sentence)
    return FitFailed(f"fitting {request.learner} failed: {kind}: {sentence}; other hyperparameters or rows may do")
