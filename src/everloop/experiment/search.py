"""The search: yardsticks, then trials over learners and their spaces, kept as each ends; then the winner, judged.

What may be looked at when (law 8): trials are fitted on training rows, ranked with their thresholds on validation rows,
later in time; the winner alone, and the yardsticks, meet the test rows, latest in time, once all is decided.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import msgspec

from everloop.clock import Clock
from everloop.data import fit_sample
from everloop.errors import AlreadyRunning, ConfigurationError
from everloop.experiment.leaderboard import Leaderboard, ranked
from everloop.experiment.rows import SearchRows, load_search_rows
from everloop.experiment.suggest import BATCH, Suggester, Suggestion
from everloop.experiment.trial_fit import TrialTask, run_trial, write_part
from everloop.experiment.trials import Trial, TrialLog
from everloop.experiment.verdicts import judge_winner
from everloop.models import Learner, defaults, learner, learners, own_content
from everloop.project import Model, Objective, Project, ProjectLock, quantile_level
from everloop.tasks import get_task

__all__ = ["FIT_ROWS", "Progress", "search"]

Progress = Callable[[Trial, int, int], None]
"""Called for every trial as it ends: the trial, how many have ended, how many there will be."""

FIT_ROWS: Final = 100_000
"""How many rows a trial is fitted on at most; production fits on all of them, or on `train.rows`."""

_LIBRARIES: Final = ("lightgbm", "numpy", "optuna", "scikit-learn", "xgboost-cpu", "xgboost", "onnxmltools", "skl2onnx")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """Everything that decides what a search's trials are, but for how many there are of them."""

    objective: Objective
    learners: tuple[Learner, ...]
    yardsticks: tuple[Learner, ...]
    seed: int
    fit_rows: int
    data_hash: str
    model: str
    task: str
    calibration: str = "none"
    quantiles: tuple[str, ...] = ()
    own: Path | None = None

    @property
    def levels(self) -> tuple[float, ...]:
        """Of the quantiles that the objective asks for."""
        return tuple(quantile_level(name) for name in self.quantiles)

    @property
    def id(self) -> str:
        """The same for the same plan, data and libraries: a search that was killed is found again by it."""
        plan: dict[str, Any] = {
            "model": self.model,
            "objective": str(self.objective),
            "learners": [item.name for item in self.learners],
            "seed": self.seed,
            "fit_rows": self.fit_rows,
            "data": self.data_hash,
            "libraries": _versions(),
        }
        if self.calibration != "none":
            plan["calibration"] = self.calibration
        if self.quantiles:
            plan["quantiles"] = self.quantiles
        if (content := own_content(plan["learners"], own=self.own)) is not None:
            plan["own_learners"] = content
        return hashlib.sha256(msgspec.json.encode(plan, order="sorted")).hexdigest()[:12]


def _versions() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError

    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def search(
    project: Project,
    model: Model,
    *,
    clock: Clock,
    trials: int | None = None,
    seed: int | None = None,
    jobs: int | None = None,
    minutes: float | None = None,
    fit_rows: int = FIT_ROWS,
    progress: Progress | None = None,
) -> Leaderboard:
    """Search for the best configuration of `model`.

    trials: beside the yardsticks; seed: decides every trial; both, and minutes, are model.yaml's where None.
    jobs: processes, the machine's cores where None; it never changes what is found. minutes: no new batch of trials is
    begun after them. fit_rows: more training rows are sampled, the rarer class whole and the other weighted up.

    Called again with the same settings on the same data it goes on where it was, and with more trials it adds them.
    Raises NotEnoughData where a part of the rows lacks a class, AlreadyRunning where the same search runs elsewhere.
    """
    started_s = clock.monotonic_s()
    rows = load_search_rows(project, model, clock=clock)
    plan = _Plan(
        objective=model.objective,
        learners=_learners(model),
        yardsticks=tuple(item for item in learners(model.task).values() if item.yardstick),
        seed=model.search.seed if seed is None else seed,
        fit_rows=fit_rows,
        data_hash=rows.hash,
        model=model.name,
        task=model.task,
        calibration=model.search.calibration,
        quantiles=model.quantiles if model.objective.metric == "pinball" else (),
        own=model.own_learners,
    )
    folder = project.state / "searches" / plan.id
    count = model.search.trials if trials is None else trials
    limit = model.search.minutes if minutes is None else minutes
    deadline_s = None if limit is None else started_s + 60 * limit
    with _OnlySearch(folder), _Trials(plan, folder, jobs=_processes(jobs), count=count, progress=progress) as running:
        running.lay_out(rows)
        running.run(go_on=lambda: deadline_s is None or clock.monotonic_s() < deadline_s)
        winner, verdict = judge_winner(
            running.best(),
            running.yardsticks(),
            rows,
            graph=running.graph_of,
            objective=plan.objective,
            seed=plan.seed,
            task=plan.task,
            levels=plan.levels,
        )
        return Leaderboard(
            search=plan.id,
            model=model.name,
            task=model.task,
            quantiles=model.quantiles,
            objective=str(plan.objective),
            maximise=plan.objective.maximise,
            seed=plan.seed,
            trials=ranked(running.ended(), maximise=plan.objective.maximise),
            winner=winner,
            verdict=verdict,
            data=replace(rows.used(), fit_rows=min(fit_rows, len(rows.train.y))),
            seconds=clock.monotonic_s() - started_s,
        )


def _learners(model: Model) -> tuple[Learner, ...]:
    """What is tried, each once. Raises ConfigurationError for every name that neither everloop nor learners.py has."""
    found: list[Learner] = []
    mistakes: list[str] = []
    for name in dict.fromkeys(model.search.learners):
        try:
            found.append(learner(name, task=model.task, own=model.own_learners))
        except ConfigurationError as error:
            mistakes += [mistake for mistake in error.mistakes if mistake not in mistakes]
    if mistakes:
        raise ConfigurationError(mistakes)
    return tuple(found)


def _processes(jobs: int | None) -> int:
    import joblib

    return max(1, joblib.cpu_count() if jobs is None else jobs)


class _OnlySearch:
    """One process per search: two would suggest the same trials twice."""

    def __init__(self, folder: Path) -> None:
        self._lock = ProjectLock(folder / "lock")
        self._name = folder.name

    def __enter__(self) -> None:
        try:
            self._lock.__enter__()
        except AlreadyRunning as error:
            raise AlreadyRunning(
                f"search {self._name} already runs in another process; wait for it, or end it"
            ) from error

    def __exit__(self, *error: object) -> None:
        self._lock.__exit__(None, None, None)


class _Trials:
    """The trials of one search while it runs: suggested, fitted in workers, kept on disk."""

    def __init__(self, plan: _Plan, folder: Path, *, jobs: int, count: int, progress: Progress | None) -> None:
        self._plan, self._folder, self._jobs, self._count = plan, folder, jobs, count
        self._progress = progress
        self._log = TrialLog(folder / "trials.jsonl")
        self._counted: list[tuple[str, int]] = []

    def __enter__(self) -> _Trials:
        return self

    def __exit__(self, *error: object) -> None:
        """The rows are in the source; what is kept of a search are its trials and the best graphs."""
        shutil.rmtree(self._folder / "rows", ignore_errors=True)
        if self._jobs > 1:
            from joblib.externals.loky import get_reusable_executor

            get_reusable_executor().shutdown(wait=True)

    def lay_out(self, rows: SearchRows) -> None:
        """Write training and validation rows where workers read them; test rows stay here."""
        target = self._folder / "rows"
        target.mkdir(parents=True, exist_ok=True)
        train, validation = rows.train, rows.validation
        numeric = not get_task(self._plan.task).decides
        sample = fit_sample(train.y, train.weight, most=self._plan.fit_rows, seed=self._plan.seed, numeric=numeric)
        write_part(target, "train", X=train.X[sample.rows], y=train.y[sample.rows], weight=sample.weight)
        write_part(target, "validation", X=validation.X, y=validation.y, weight=validation.weight)

    def run(self, *, go_on: Callable[[], bool]) -> None:
        """Every trial that has not ended yet, in batches; the yardsticks with the first."""
        suggester = Suggester(self._plan.learners, seed=self._plan.seed, maximise=self._plan.objective.maximise)
        first = [self._yardstick(number, item) for number, item in enumerate(self._plan.yardsticks, 1)]
        for start in range(0, self._count, BATCH):
            if start and not go_on():
                return
            asked = suggester.ask(min(BATCH, self._count - start))
            tasks = [self._trial(start + at, suggestion) for at, suggestion in enumerate(asked, 1)]
            self._fit(first + tasks)
            first = []
            suggester.tell([self._log.trials["trial", task.number].value for task in tasks])
            self._prune()

    def _yardstick(self, number: int, item: Learner) -> TrialTask:
        return self._task("yardstick", number, Suggestion(learner=item.name, params=defaults(item)))

    def _trial(self, number: int, suggestion: Suggestion) -> TrialTask:
        return self._task("trial", number, suggestion)

    def _task(self, kind: str, number: int, suggestion: Suggestion) -> TrialTask:
        return TrialTask(
            number=number,
            kind="trial" if kind == "trial" else "yardstick",
            learner=suggestion.learner,
            params=suggestion.params,
            seed=self._plan.seed,
            objective=self._plan.objective,
            task=self._plan.task,
            rows=self._folder / "rows",
            graph=self._graph_path(kind, number),
            parent=os.getpid(),
            calibration=self._plan.calibration if kind == "trial" else "none",
            quantiles=self._plan.levels,
            own=self._plan.own if kind == "trial" else None,
        )

    def _graph_path(self, kind: str, number: int) -> Path:
        return self._folder / "graphs" / f"{kind}-{number}.onnx"

    def _has_ended(self, task: TrialTask) -> bool:
        kept = self._log.trials.get((task.kind, task.number))
        return kept is not None and kept.learner == task.learner and task.params.items() <= kept.hyperparameters.items()

    def _fit(self, tasks: Sequence[TrialTask]) -> None:
        for task in tasks:
            if self._has_ended(task):
                self._tell(self._log.trials[task.kind, task.number])
        waiting = [task for task in tasks if not self._has_ended(task)]
        try:
            for trial in _fitted(waiting, jobs=self._jobs):
                self._keep(trial)
        except BrokenProcessPool:
            # one of them took its process down (memory, a library's crash): alone, each shows which
            for task in waiting:
                if not self._has_ended(task):
                    self._keep(_fitted_apart(task))

    def _keep(self, trial: Trial) -> None:
        self._log.append(trial)
        self._tell(trial)

    def _tell(self, trial: Trial) -> None:
        self._counted.append((trial.kind, trial.number))
        if self._progress is not None:
            self._progress(trial, len(self._counted), self._count + len(self._plan.yardsticks))

    def ended(self) -> list[Trial]:
        """The trials that this search asked for, in the order they ended."""
        return [self._log.trials[key] for key in self._counted]

    def yardsticks(self) -> list[Trial]:
        """The yardsticks that did not fail."""
        return [trial for trial in self.ended() if trial.kind == "yardstick" and trial.value is not None]

    def best(self) -> Trial | None:
        """The best trial, yardsticks aside; None where all failed."""
        return self._best_of(self.ended())

    def _best_of(self, trials: Sequence[Trial]) -> Trial | None:
        done = [trial for trial in trials if trial.kind == "trial" and trial.value is not None]
        return ranked(done, maximise=self._plan.objective.maximise)[0] if done else None

    def graph_of(self, trial: Trial) -> bytes:
        """The graph of the best trial, or of a yardstick; fitted again where its file was removed."""
        path = self._graph_path(trial.kind, trial.number)
        if not path.exists():
            suggestion = Suggestion(learner=trial.learner, params=trial.hyperparameters)
            run_trial(self._task(trial.kind, trial.number, suggestion))
        return path.read_bytes()

    def _prune(self) -> None:
        """Graphs of forests are large: only the best trial's is needed any more."""
        # of all that are kept on disk: a search that goes on has better ones than those it has told of so far
        best = self._best_of(list(self._log.trials.values()))
        for path in (self._folder / "graphs").glob("trial-*.onnx"):
            if best is None or path != self._graph_path("trial", best.number):
                path.unlink()


def _fitted(tasks: Sequence[TrialTask], *, jobs: int) -> Iterator[Trial]:
    """The trials as they end, in any order."""
    from joblib import Parallel, delayed

    parallel = Parallel(n_jobs=jobs, backend="loky", return_as="generator_unordered", batch_size=1, pre_dispatch="all")
    yield from parallel(delayed(run_trial)(task) for task in tasks)


def _fitted_apart(task: TrialTask) -> Trial:
    """One trial in a process of its own, whose death is the trial's failure."""
    try:
        # two workers for one task: joblib runs a single worker's tasks in this very process
        return next(_fitted([task], jobs=2))
    except BrokenProcessPool:
        sentence = "the process that fitted it died, most likely for want of memory; try fewer or smaller trees"
        return Trial(
            number=task.number,
            kind=task.kind,
            learner=task.learner,
            hyperparameters=dict(task.params),
            status="failed",
            sentence=sentence,
        )
