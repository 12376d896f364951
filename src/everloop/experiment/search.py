"""The search: yardsticks, then trials over learners and their spaces, kept as each ends; then the winner, judged.

What may be looked at when (law 8): trials are fitted and judged on folds, each judged on rows newer than those it was
fitted on; the winner alone, and the yardsticks, meet the test rows, the newest of all, once all is decided.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Literal, Protocol, get_args

import numpy as np

from everloop.clock import Clock
from everloop.errors import AlreadyRunning, ConfigurationError, FitFailed, UsageError
from everloop.experiment.board_curves import RIVALS_DRAWN, curves_of
from everloop.experiment.choice import RIVALS, choose, rivals
from everloop.experiment.crew import Crew
from everloop.experiment.leaderboard import Leaderboard, ranked
from everloop.experiment.parameter_importance import parameter_importance
from everloop.experiment.rows import SearchRows, load_search_rows
from everloop.experiment.schedule import Schedule
from everloop.experiment.search_plan import SearchPlan, write_plan
from everloop.experiment.space import LearnerSpace, learner_spaces
from everloop.experiment.suggest import Suggester, Suggestion
from everloop.experiment.trial_curves import TrialCurves
from everloop.experiment.trial_fit import TrialTask
from everloop.experiment.trial_store import TrialStore
from everloop.experiment.trials import Bound, Trial
from everloop.experiment.verdicts import judge_winner
from everloop.experiment.workers import DaskWorkers, LokyWorkers, Workers
from everloop.models import (
    BLEND,
    LEAST_MEMBERS,
    Learner,
    blend_params,
    defaults,
    learner,
    learners,
    search_space,
    settled,
)
from everloop.project import FoldsPlan, Model, Project, ProjectLock, SearchMethod, Spec, did_you_mean

__all__ = ["FIT_ROWS", "TRIALS", "Progress", "search"]

FIT_ROWS: Final = 100_000
"""How many rows a trial is fitted on at most; production fits on all of them, or on `train.rows`."""

TRIALS: Final = 40
"""How many configurations are tried where nobody says; of a grid all of them."""

BLENDED: Final = 5
"""Of how many of the best trials `choose: blend` takes the mean."""

Array = np.ndarray[Any, np.dtype[Any]]
Bounds = tuple[Bound | None, ...]


class Progress(Protocol):
    """Called as a search begins, with no trial, and for every trial as it ends."""

    def __call__(self, trial: Trial | None, best: Trial | None, ended: int, of: int | None) -> None:
        """The trial, the best so far, how many have ended, and how many there will be; None where nobody knows yet."""
        ...


def search(
    project: Project,
    model: Model,
    *,
    clock: Clock,
    method: SearchMethod | None = None,
    trials: int | None = None,
    folds: FoldsPlan | None = None,
    seed: int | None = None,
    jobs: int | None = None,
    minutes: float | None = None,
    champion: Spec | None = None,
    fit_rows: int = FIT_ROWS,
    rows: SearchRows | None = None,
    progress: Progress | None = None,
    out: Path | None = None,
) -> Leaderboard:
    """Search for the best configuration of `model`.

    method, trials (beside the yardsticks), folds, seed, jobs (processes, one thread each) and minutes (no trial is
    begun after them) are model.yaml's where None. jobs never change what is found, and minutes only how much of it.
    champion: the spec that production trains: its learner, hyperparameters and calibration are always trial one, on the
    features of today; where they can be fitted no more, the leaderboard says so.
    fit_rows: more rows are sampled for a fit, the rarer class whole and the other weighted up.
    rows: where someone has them already, split by `folds` and `seed`. out: where to write the HTML page; None writes
    none.
    Trials are fitted on the Dask cluster that everloop.yaml names, else in processes of this machine.

    Called again with the same settings on the same data it goes on where it was, and with more trials it adds them.
    Interrupted (Ctrl-C) it ends with what there is.
    Raises UsageError for an option that is none, NotEnoughData where a part of the rows lacks a class,
    ConfigurationError for a space that is none, AlreadyRunning where the same search runs elsewhere, IntegrationError
    where the cluster is lost, KeyboardInterrupt where it was stopped before any trial ended.
    """
    _refuse(method, trials=trials, jobs=jobs, minutes=minutes)
    started_s, as_of = clock.monotonic_s(), clock.now()
    if out is not None:
        from everloop.pages import prepare_scripts

        prepare_scripts()
    spaces = learner_spaces(_learners(model), model.search.space, metric=model.objective.metric)
    chosen_seed = model.search.seed if seed is None else seed
    chosen_folds = model.search.folds if folds is None else folds
    if rows is None:
        rows = load_search_rows(model, as_of=as_of, folds=chosen_folds, seed=chosen_seed)
    plan, note = _planned(
        model,
        spaces,
        method=model.search.method if method is None else method,
        seed=chosen_seed,
        fit_rows=fit_rows,
        folds=chosen_folds,
        data_hash=rows.hash,
        champion=champion,
    )
    folder = project.state / "searches" / plan.id
    limit = model.search.minutes if minutes is None else minutes
    deadline_s = None if limit is None else started_s + 60 * limit
    count = model.search.trials if trials is None else trials
    if count is None and plan.method != "grid":
        count = TRIALS
    with _OnlySearch(folder), _workers(project, model, folder, jobs) as workers:
        write_plan(folder, plan.kept(as_of=as_of))
        workers.lay_out(rows.for_trials(fit_rows=fit_rows, seed=chosen_seed))
        running = _Searching(
            plan, folder, workers, count=count, blend=model.search.choose == "blend", progress=progress
        )
        stopped = running.run(go_on=lambda: deadline_s is None or clock.monotonic_s() < deadline_s)
        board = _judged(running, plan, rows, model, stopped=stopped, seconds=lambda: clock.monotonic_s() - started_s)
    notes = tuple(said for said in (note, running.note) if said is not None)
    board = replace(board, notes=notes, page=None if out is None else str(out))
    if out is None:
        return board
    from everloop.experiment.board_page import write_leaderboard

    write_leaderboard(board, out)
    return board


def _planned(
    model: Model,
    spaces: dict[str, LearnerSpace],
    *,
    method: SearchMethod,
    seed: int,
    fit_rows: int,
    folds: FoldsPlan,
    data_hash: str,
    champion: Spec | None,
) -> tuple[SearchPlan, str | None]:
    """The plan, the rest of which is model.yaml's; and why the champion is not trial one, where it cannot be."""
    first, note = _as_suggestion(champion, model)
    plan = SearchPlan(
        objective=model.objective,
        spaces=spaces,
        said={name: dict(said) for name, said in model.search.space.items()},
        yardsticks=tuple(item for item in learners(model.task).values() if item.yardstick),
        method=method,
        seed=seed,
        fit_rows=fit_rows,
        folds=folds,
        data_hash=data_hash,
        model=model.name,
        task=model.task,
        champion=first,
        champion_calibration="none" if champion is None else champion.calibration,
        calibration=model.calibration,
        quantiles=model.quantiles if model.objective.metric == "pinball" else (),
        own=model.own_learners,
        time_limit_s=model.search.trial_timeout.total_seconds(),
    )
    return plan, note


def _judged(
    running: _Searching,
    plan: SearchPlan,
    rows: SearchRows,
    model: Model,
    *,
    stopped: bool,
    seconds: Callable[[], float],
) -> Leaderboard:
    """Choose, and hold the choice against the yardsticks on the test rows."""
    choice = choose(
        running.ended(),
        rows,
        yardsticks=running.yardsticks(),
        predictions=running.predictions_of,
        objective=plan.objective,
        wanted=model.search.choose,
        task=plan.task,
        levels=plan.levels,
        seed=plan.seed,
    )
    winner, verdict = judge_winner(
        choice.winner,
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
        calibration="none" if choice.winner is None else plan.calibration_of("trial", choice.winner.number),
        objective=str(plan.objective),
        maximise=plan.objective.maximise,
        method=plan.method,
        seed=plan.seed,
        trials=ranked(running.ended(), maximise=plan.objective.maximise),
        behind=dict(choice.behind),
        winner=winner,
        verdict=verdict,
        data=rows.used(fit_rows=plan.fit_rows),
        stopped=stopped,
        curves=_curves(running, plan, rows, choice.winner),
        parameters=_parameters(running, plan, choice.winner),
        seconds=seconds(),
    )


def _curves(running: _Searching, plan: SearchPlan, rows: SearchRows, winner: Trial | None) -> tuple[TrialCurves, ...]:
    """Of the winner, the best of the others and the yardsticks."""
    if winner is None:
        return ()
    yardsticks = [yardstick for yardstick in running.yardsticks() if yardstick.value is not None]
    others = [*running.done()[:RIVALS_DRAWN], *yardsticks]
    return curves_of(winner, others, rows, predictions=running.predictions_of, objective=plan.objective)


def _parameters(running: _Searching, plan: SearchPlan, winner: Trial | None) -> dict[str, float]:
    """How much each hyperparameter of the winner's learner moves; a champion's learner may have no space."""
    if winner is None or winner.learner not in plan.spaces:
        return {}
    return parameter_importance(running.ended(), plan.spaces[winner.learner], seed=plan.seed)


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


def _as_it_is(item: Learner) -> Suggestion:
    """The learner with its defaults, those that a search may move."""
    searched = search_space(item)
    return Suggestion(
        learner=item.name, params={name: value for name, value in defaults(item).items() if name in searched}
    )


def _as_suggestion(champion: Spec | None, model: Model) -> tuple[Suggestion | None, str | None]:
    """The champion's configuration, with all its hyperparameters by canonical name; else why there is none."""
    if champion is None:
        return None, None
    try:
        params = settled(champion.learner, champion.hyperparameters, task=model.task, own=model.own_learners)
        return Suggestion(learner=champion.learner, params=params), None
    except ConfigurationError as error:
        return None, f"the champion's {champion.name} can be fitted no more, so it is not trial 1: {error.mistakes[0]}"


def _refuse(method: object, *, trials: int | None, jobs: int | None, minutes: float | None) -> None:
    """Raise UsageError for what cannot be asked of a search."""
    methods = get_args(SearchMethod)
    if method is not None and method not in methods:
        hint = did_you_mean(str(method), methods) or f"; there are {', '.join(methods)}"
        raise UsageError(f"{method!r} is no method of a search{hint}")
    for name, count in (("trials", trials), ("jobs", jobs)):
        if count is not None and count < 1:
            raise UsageError(f"{name}={count} leaves a search nothing to do; it takes 1 or more, or None")
    if minutes is not None and not minutes >= 0:
        raise UsageError(f"minutes={minutes:g} is no time to search; it takes 0 or more, or None for no end")


def _not_fitted(number: int, item: Learner) -> Trial:
    return Trial(
        number=number,
        kind="yardstick",
        learner=item.name,
        hyperparameters={},
        status="failed",
        sentence="the search was stopped before it was fitted; run it again, it goes on",
    )


def _workers(project: Project, model: Model, folder: Path, jobs: int | None) -> Workers:
    if project.settings.dask is not None:
        return DaskWorkers(project.settings.dask)
    import joblib

    wanted = model.search.jobs if jobs is None else jobs
    return LokyWorkers(folder / "rows", jobs=max(1, joblib.cpu_count() if wanted is None else wanted))


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


class _Searching:
    """The trials of one search while it runs: suggested, fitted in workers, kept on disk."""

    def __init__(
        self,
        plan: SearchPlan,
        folder: Path,
        workers: Workers,
        *,
        count: int | None,
        blend: bool,
        progress: Progress | None,
    ) -> None:
        self._plan, self._workers, self._count, self._progress = plan, workers, count, progress
        self._blend = blend
        self._crew = Crew(workers)
        self._store = TrialStore(folder)
        self._told: list[tuple[str, int]] = []
        self.note: str | None = None
        """Of which trials the blend is."""

    def run(self, *, go_on: Callable[[], bool]) -> bool:
        """Fit every trial that has not ended yet, the yardsticks first. Whether it was stopped by hand."""
        suggester = Suggester(
            self._plan.spaces,
            method=self._plan.method,
            seed=self._plan.seed,
            maximise=self._plan.objective.maximise,
            first=self._plan.champion,
        )
        yardsticks = [_as_it_is(item) for item in self._plan.yardsticks]
        schedule = Schedule(
            suggester,
            yardsticks=yardsticks,
            count=self._count,
            go_on=go_on,
            maximise=self._plan.objective.maximise,
        )
        try:
            self._tell(None, schedule)
            self._fit(schedule)
            self._fit_blend(schedule)
        except KeyboardInterrupt:
            self._workers.renew()
            if not self.done():
                raise
            return True
        return False

    def _fit(self, schedule: Schedule) -> None:
        """Keep the workers busy until the schedule has no more for them."""
        while True:
            while self._crew.has_room and (planned := schedule.next()) is not None:
                self._give(
                    self._task(planned.kind, planned.number, planned.suggestion, bounds=planned.bounds), schedule
                )
            if not self._crew.busy:
                return
            self._collect(schedule)

    def _fit_blend(self, schedule: Schedule) -> None:
        """One trial more, after all others, where it is asked for: the mean of the best of them."""
        members = [trial for trial in self.done() if trial.learner != BLEND][:BLENDED]
        if not self._blend or len(members) < LEAST_MEMBERS:
            return
        number = 1 + max(trial.number for trial in self.ended() if trial.kind == "trial")
        params = blend_params((trial.learner, trial.hyperparameters) for trial in members)
        self._give(self._task("trial", number, Suggestion(learner=BLEND, params=params)), schedule)
        while self._crew.busy:
            self._collect(schedule)
        self.note = f"trial {number} is the mean of trials {', '.join(trial.name for trial in members)}"

    def _give(self, task: TrialTask, schedule: Schedule) -> None:
        """Have `task` fitted, unless it was."""
        kept = self._store.ended(task)
        if kept is None:
            self._crew.give(task)
        else:
            self._end(kept, schedule)

    def _collect(self, schedule: Schedule) -> None:
        """Wait for results, and keep them."""
        for result in self._crew.wait():
            self._store.keep(result)
            self._end(result.trial, schedule)
        self._store.keep_graphs_of(self._wanted())

    def _end(self, trial: Trial, schedule: Schedule) -> None:
        self._told.append((trial.kind, trial.number))
        schedule.ended(trial)
        self._tell(trial, schedule)

    def _tell(self, trial: Trial | None, schedule: Schedule) -> None:
        if self._progress is not None:
            done = self.done()
            total = None if schedule.total is None else schedule.total + self._blend
            self._progress(trial, done[0] if done else None, len(self._told), total)

    def _task(
        self, kind: Literal["trial", "yardstick"], number: int, suggestion: Suggestion, *, bounds: Bounds = ()
    ) -> TrialTask:
        own = self._plan.own if kind == "trial" else None
        return TrialTask(
            number=number,
            kind=kind,
            learner=suggestion.learner,
            params=suggestion.params,
            seed=self._plan.seed,
            objective=self._plan.objective,
            task=self._plan.task,
            bounds=bounds,
            calibration=self._plan.calibration_of(kind, number),
            quantiles=self._plan.levels,
            own=own,
            own_source=None if own is None else own.read_bytes(),
            time_limit_s=self._plan.time_limit_s,
            parent=os.getpid(),
        )

    def ended(self) -> list[Trial]:
        """The trials that this search asked for, in the order they ended."""
        return [self._store.trials[key] for key in self._told]

    def yardsticks(self) -> list[Trial]:
        """All of them, by number: which process was faster says nothing. One that was not fitted has failed."""
        ended = {trial.number: trial for trial in self.ended() if trial.kind == "yardstick"}
        return [ended.get(at, _not_fitted(at, item)) for at, item in enumerate(self._plan.yardsticks, 1)]

    def done(self) -> tuple[Trial, ...]:
        """The trials that went through all folds, yardsticks aside, the best first."""
        done = [trial for trial in self.ended() if trial.kind == "trial" and trial.status == "done"]
        return ranked(done, maximise=self._plan.objective.maximise)

    def _wanted(self) -> set[str]:
        """Whose graphs may still be handed over: of those near the best of all that are kept, the best and smallest."""
        kept = [t for t in self._store.trials.values() if t.kind == "trial" and t.status == "done"]
        near = rivals(ranked(kept, maximise=self._plan.objective.maximise), self._plan.objective)
        smallest = sorted(near, key=lambda trial: trial.graph_bytes)
        return {trial.name for trial in (*near[:RIVALS], *smallest[:RIVALS])}

    def predictions_of(self, trial: Trial) -> Array:
        """What the trial said of the judged rows; fitted again where the file was removed."""
        found = self._store.predictions(trial)
        return self._again(trial)[0] if found is None else found

    def graph_of(self, trial: Trial) -> bytes:
        """The trial's graph; fitted again where the file was removed."""
        found = self._store.graph(trial)
        return self._again(trial)[1] if found is None else found

    def _again(self, trial: Trial) -> tuple[Array, bytes]:
        assert trial.kind != "own", "what someone brought is not fitted again"
        suggestion = Suggestion(learner=trial.learner, params=trial.hyperparameters)
        result = self._crew.alone(self._task(trial.kind, trial.number, suggestion))
        if result.predictions is None:
            raise FitFailed(f"trial {trial.name} could not be fitted again: {result.trial.sentence}")
        return result.predictions, result.graph
