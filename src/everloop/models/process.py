"""Fits in a child process: they can be stopped at any moment, and no native model outlives them.

Arrays go as .npy files that the child maps, the rest as JSON; the graph comes back as a file. Nothing is pickled.
The child holds the end of a pipe from here, so that it ends when we do, however we end.
"""

from __future__ import annotations

import json
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from everloop import errors
from everloop.child_process import ChildProcess
from everloop.clock import Clock, SystemClock
from everloop.errors import ConfigurationError, EverloopError, FitFailed, StepTimeout
from everloop.models.array_files import ArrayFiles
from everloop.models.calibration import Calibration
from everloop.models.fitting import FitRequest, FitResult, check_request
from everloop.models.learner import target_type

__all__ = ["FitProcess", "fit", "fit_all"]

_PREFIX: Final = ".everloop-fit-"
REHEARSE: Final = "rehearse"
FITTED: Final = "fitted"


def fit(
    request: FitRequest,
    *,
    time_limit_s: float | None = None,
    stopped: Callable[[], bool] | None = None,
    scratch: Path | None = None,
    clock: Clock | None = None,
) -> FitResult:
    """Fit in a child process and bring back the graph; the rest as `fit_all`. A mistake is found before one begins."""
    check_request(request)
    return fit_all([request], time_limit_s=time_limit_s, stopped=stopped, scratch=scratch, clock=clock)[0]


def fit_all(
    requests: Iterable[FitRequest],
    *,
    time_limit_s: float | None = None,
    stopped: Callable[[], bool] | None = None,
    scratch: Path | None = None,
    clock: Clock | None = None,
    process: FitProcess | None = None,
    fitted: Callable[[list[FitResult]], None] | None = None,
) -> list[FitResult]:
    """Fit one after another in a single child process, which loads each library once, and bring back the graphs.

    requests: each is let go once it is sent, so that one made on the way holds its rows no longer than that.
    time_limit_s: over all of them; after it the child is killed and StepTimeout raised; None waits.
    stopped: asked ten times a second; once true, the child is killed and FitFailed raised.
    scratch: as `FitProcess` has it; nothing is left in it afterwards.
    process: one that was begun before, and has ended afterwards; None begins one in `scratch`.
    fitted: called here with what came out before the last one, when that is fitted and its graph is made, which takes
        one core and some time; not where that is over before it is seen, nor for a blend.
    Raises what `fit_here` raises for the first that fails, and FitFailed where the child gave nothing.
    """
    clock = SystemClock() if clock is None else clock
    deadline_s = None if time_limit_s is None else clock.monotonic_s() + time_limit_s
    with FitProcess(scratch=scratch) if process is None else process as child:
        sent = [child.send(request) for request in requests]
        ready = None if fitted is None else lambda: fitted([one.received() for one in sent[:-1]])
        child.wait(sent, time_limit_s=time_limit_s, deadline_s=deadline_s, stopped=stopped, clock=clock, fitted=ready)
        return [one.received() for one in sent]


class FitProcess:
    """A child process that fits what it is sent, in order. It ends with `close`, and when this process does.

    scratch: where it is given what it is to fit; it can be said later, see `work_in`.
    """

    def __init__(self, *, scratch: Path | None = None) -> None:
        self._child = ChildProcess("everloop.models.child")
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._files = ArrayFiles()
        self._sent = 0
        self._rooms = 0
        if scratch is not None:
            self.work_in(scratch)

    @classmethod
    def ahead(cls) -> FitProcess:
        """One that is begun before it is known what will be fitted: it loads what nearly every fit takes."""
        process = cls()
        process.rehearse(["logistic"], task="classification")
        return process

    @classmethod
    def living(cls, begun: FitProcess | None, *, scratch: Path | None = None) -> FitProcess:
        """The one that was begun, or a new one where there is none or it has died by itself meanwhile."""
        if begun is not None and not begun.has_ended:
            return begun
        if begun is not None:
            begun.close()
        return cls(scratch=scratch)

    def work_in(self, scratch: Path | None) -> None:
        """Give it what it is to fit in this folder, and not in the machine's own for what is passing.

        scratch: a folder that is there and that no other such process uses now, so that what one left there whose
        parent was killed is removed. Nothing may have been sent.
        """
        for left in () if scratch is None else scratch.glob(f"{_PREFIX}*"):
            shutil.rmtree(left, ignore_errors=True)
        self._folder = tempfile.TemporaryDirectory(prefix=_PREFIX, dir=scratch)

    def rehearse(self, learners: Sequence[str], *, task: str) -> None:
        """Let it fit a few rows while nothing has been sent, so that their libraries are loaded by then.

        learners: everloop's own.
        """
        self._child.say(" ".join([REHEARSE, task, *learners]))

    def __enter__(self) -> FitProcess:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def send(self, request: FitRequest) -> SentFit:
        """Let it fit this once it has fitted what was sent before. Raises ConfigurationError, FitFailed."""
        check_request(request)
        sent = SentFit.write(request, self._place() / str(self._sent), self._files)
        self._sent += 1
        self._child.say(str(sent.folder))  # where it has ended, whoever waits for it is told why
        return sent

    def room(self, shape: tuple[int, int]) -> np.ndarray:
        """An array for rows to be sent, which the child reads where they are written: float32, zeros. Raises FitFailed.

        shape: rows and columns.
        """
        path = self._place() / f"rows-{self._rooms}.npy"
        self._rooms += 1
        try:
            return self._files.room(path, shape)
        except OSError as error:
            raise _no_room("a fit", path.parent.parent, 4 * shape[0] * shape[1], error) from error

    def _place(self) -> Path:
        if self._folder is None:
            self.work_in(None)
        assert self._folder is not None
        return Path(self._folder.name)

    def wait(
        self,
        sent: Sequence[SentFit],
        *,
        time_limit_s: float | None,
        deadline_s: float | None,
        stopped: Callable[[], bool] | None,
        clock: Clock,
        fitted: Callable[[], None] | None = None,
    ) -> None:
        """Until it has fitted all that was sent. Raises StepTimeout at the deadline, FitFailed."""
        self._child.say("")
        learners = " and ".join(one.learner for one in sent)
        while not self._child.ends_soon():
            if fitted is not None and sent[-1].is_fitted:
                fitted()
                fitted = None
            if deadline_s is not None and clock.monotonic_s() >= deadline_s:
                rows = max(one.rows for one in sent)
                raise StepTimeout(
                    f"fitting {learners} on {rows:,} rows took longer than {time_limit_s:g} s and was "
                    "stopped; give it more time, fewer rows or smaller hyperparameters"
                )
            if stopped is not None and stopped():
                raise FitFailed(f"fitting {learners} was stopped; nothing was kept")
        _check_end(learners, self._child)

    @property
    def has_ended(self) -> bool:
        """Whether it is no more: killed for want of memory, say, before anything was sent."""
        return self._child.has_ended

    def close(self) -> None:
        """End it, whatever it does, and remove what it was sent."""
        self._child.close()
        if self._folder is not None:
            self._folder.cleanup()


@dataclass(frozen=True, slots=True, kw_only=True)
class SentFit:
    """What remains here of a request that was sent: which learner, on how many rows, and where the answer will lie."""

    folder: Path
    learner: str
    rows: int

    @classmethod
    def write(cls, request: FitRequest, folder: Path, files: ArrayFiles) -> SentFit:
        """Put the request into a new folder. files: where its arrays may lie already. Raises FitFailed without room."""
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
                files.put(array, folder / f"{name}.npy")
            (folder / "request.json").write_text(json.dumps(said), encoding="utf-8")
        except OSError as error:
            needed = sum(array.nbytes for array in arrays.values())
            raise _no_room(request.learner, folder.parent.parent, needed, error) from error
        return cls(folder=folder, learner=request.learner, rows=len(request.X))

    @property
    def is_fitted(self) -> bool:
        """Whether its model is fitted; its graph may not have been made yet."""
        return (self.folder / FITTED).exists()

    def received(self) -> FitResult:
        """What the child left. Raises what the fit raised, and FitFailed where it left nothing."""
        try:
            answer: dict[str, Any] = json.loads((self.folder / "result.json").read_bytes())
        except (OSError, ValueError) as error:
            raise FitFailed(f"the process that fitted {self.learner} left no result; run it again") from error
        if "error" in answer:
            raise _error(self.learner, answer["error"], answer["sentence"])
        said, held = answer.pop("calibration"), self.folder / "held.npy"
        return FitResult(
            graph=(self.folder / "graph.onnx").read_bytes(),
            **answer,
            calibration=None if said is None else Calibration(**said),
            held=np.load(held, allow_pickle=False) if held.exists() else None,
        )


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


def _no_room(whose: str, place: Path, needed: int, error: OSError) -> FitFailed:
    """needed: in bytes."""
    return FitFailed(
        f"the rows for {whose} ({needed / 1e6:.0f} MB) could not be written to {place}: {error.strerror or error}; "
        "make room there and run it again"
    )


def _check_end(learners: str, child: ChildProcess) -> None:
    code = child.code
    if code == 0:
        return
    if code < 0:
        name = signal.Signals(-code).name
        raise FitFailed(
            f"the process that fitted {learners} was killed ({name}); where the machine ran out of memory, "
            "take fewer rows or smaller hyperparameters"
        )
    raise FitFailed(f"the process that fitted {learners} ended with code {code}: {child.last_words()}")


def _error(learner: str, kind: str, sentence: str) -> EverloopError:
    """The child's error again, as the same class of our tree; anything else is a FitFailed."""
    if kind == ConfigurationError.__name__:
        return ConfigurationError(sentence.splitlines())
    if kind in errors.__all__:
        found: type[EverloopError] = getattr(errors, kind)
        return found(sentence)
    return FitFailed(f"fitting {learner} failed: {kind}: {sentence}; other hyperparameters or rows may do")
