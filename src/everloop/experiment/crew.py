"""Workers at work: what was given to them comes back as a result, whatever becomes of the process that fitted it."""

from __future__ import annotations

from collections import deque
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Final

from everloop.errors import IntegrationError
from everloop.experiment.trial_fit import OUT_OF_MEMORY, TrialResult, TrialTask, failed
from everloop.experiment.workers import Workers

__all__ = ["Crew"]

_LOOK_S: Final = 10.0


class Crew:
    """Tasks that are being fitted by `workers`.

    Where a process dies, all that ran beside it is lost with it: each is fitted again alone, which shows whose doing it
    was. Where one is stuck in a fit that took too long, no task begins until those beside it have ended, and then it is
    ended: so nothing is lost with it.
    """

    def __init__(self, workers: Workers) -> None:
        self._workers = workers
        self._running: dict[Future[TrialResult], TrialTask] = {}
        self._lost: deque[TrialTask] = deque()
        self._stuck = False

    @property
    def has_room(self) -> bool:
        """Whether another task would be begun at once. Raises IntegrationError where nobody is left to fit it."""
        return not (self._lost or self._stuck) and len(self._running) < self._workers.count

    @property
    def busy(self) -> bool:
        """Whether anything is being fitted, or still to be."""
        return bool(self._running or self._lost)

    def give(self, task: TrialTask) -> None:
        """Begin to fit `task`."""
        self._running[self._workers.submit(task)] = task

    def wait(self) -> list[TrialResult]:
        """The results of what has ended since, at least one. Raises IntegrationError where nobody is left to fit."""
        results: list[TrialResult] = []
        while self._running and not results:
            results = self._collected(self._some_ended())
        if self._stuck and not self._running:
            self._workers.renew()
            self._stuck = False
        return results or [self.alone(self._lost.popleft())]

    def _some_ended(self) -> set[Future[TrialResult]]:
        done: set[Future[TrialResult]] = set()
        while not done:
            done, _ = wait(self._running, timeout=_LOOK_S, return_when=FIRST_COMPLETED)
            if not done:
                _ = self._workers.count  # raises where nobody is left
        return done

    def _collected(self, done: set[Future[TrialResult]]) -> list[TrialResult]:
        """The results of those that have one. Raises IntegrationError where none has, and nobody is left to fit."""
        results: list[TrialResult] = []
        gone: IntegrationError | None = None
        for future in done:
            try:
                result = future.result()
            except BrokenProcessPool:
                self._lost.append(self._running.pop(future))
                continue
            except IntegrationError as error:
                gone = error
                continue
            except Exception as error:  # a cluster's ways of losing a worker have no class in common
                result = _lost(self._running[future], error)
            del self._running[future]
            self._stuck |= result.stuck
            results.append(result)
        if gone is not None and not results:
            raise gone  # else what has ended is kept first, and this is found again
        return results

    def alone(self, task: TrialTask) -> TrialResult:
        """Fit `task` while nothing else is fitted: where the process dies, it is the task's doing."""
        try:
            result = self._workers.submit(task).result()
        except BrokenProcessPool:
            return failed(task, OUT_OF_MEMORY, cause="out of memory")
        except IntegrationError:
            raise
        except Exception as error:  # as above
            return _lost(task, error)
        if result.stuck:
            self._workers.renew()
        return result


def _lost(task: TrialTask, error: Exception) -> TrialResult:
    said = next(iter(str(error).splitlines()), "")
    return failed(task, f"its worker was lost: {type(error).__name__}: {said}", cause="worker lost")
