"""Workers at work: what was given to them comes back as a result, whatever becomes of the process that fitted it."""

from __future__ import annotations

from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool

from everloop.experiment.trial_fit import OUT_OF_MEMORY, TrialResult, TrialTask
from everloop.experiment.trials import Trial
from everloop.experiment.workers import Workers

__all__ = ["Crew"]


class Crew:
    """Tasks that are being fitted by `workers`."""

    def __init__(self, workers: Workers) -> None:
        self._workers = workers
        self._running: dict[Future[TrialResult], TrialTask] = {}

    @property
    def has_room(self) -> bool:
        """Whether another task would be begun at once."""
        return len(self._running) < self._workers.count

    @property
    def busy(self) -> bool:
        """Whether anything is being fitted."""
        return bool(self._running)

    def give(self, task: TrialTask) -> None:
        """Begin to fit `task`."""
        self._running[self._workers.submit(task)] = task

    def wait(self) -> list[TrialResult]:
        """The results of what has ended since, at least one.

        Where a process died, all that ran beside it is lost with it: each is fitted again alone, which shows whose
        doing it was.
        """
        done, _ = wait(self._running, return_when=FIRST_COMPLETED)
        results, lost = self._collected(done)
        if lost:
            others, more = self._collected(wait(self._running).done)
            results += others
            self._workers.renew()
            results += [self.alone(task) for task in (*lost, *more)]
        return results

    def _collected(self, done: set[Future[TrialResult]]) -> tuple[list[TrialResult], list[TrialTask]]:
        results: list[TrialResult] = []
        lost: list[TrialTask] = []
        for future in done:
            task = self._running.pop(future)
            try:
                results.append(future.result())
            except BrokenProcessPool:
                lost.append(task)
            except Exception as error:  # a cluster's ways of losing a worker have no class in common
                results.append(_failed(task, f"its worker was lost: {type(error).__name__}: {error}"))
        return results, lost

    def alone(self, task: TrialTask) -> TrialResult:
        """Fit `task` while nothing else is fitted: where the process dies, it is the task's doing."""
        try:
            return self._workers.submit(task).result()
        except BrokenProcessPool:
            self._workers.renew()
            return _failed(task, OUT_OF_MEMORY)
        except Exception as error:  # as above
            return _failed(task, f"its worker was lost: {type(error).__name__}: {error}")


def _failed(task: TrialTask, sentence: str) -> TrialResult:
    trial = Trial(
        number=task.number,
        kind=task.kind,
        learner=task.learner,
        hyperparameters=dict(task.params),
        status="failed",
        sentence=next(iter(sentence.splitlines()), ""),
    )
    return TrialResult(trial=trial)
