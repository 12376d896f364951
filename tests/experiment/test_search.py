"""The search: reproducible, resumable, blind to the test rows, and refused where a yardstick does as well."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import psutil
import pytest
from rich.console import Console

from everloop.bundle import Graph
from everloop.clock import SimulatedClock, SystemClock
from everloop.data import EVENT_TIME
from everloop.errors import AlreadyRunning, ConfigurationError, NotEnoughData, Refused, UsageError
from everloop.experiment import Leaderboard, Trial, leaderboard_screen, note_search, search, write_winner
from everloop.experiment.crew import Crew
from everloop.experiment.folds import Fold
from everloop.experiment.search_plan import libraries
from everloop.experiment.trial_fit import TrialResult, TrialTask, failed, run_trial
from everloop.experiment.trial_rows import trial_rows
from everloop.experiment.trial_store import TrialStore
from everloop.experiment.trials import Bound, Cause, TrialLog
from everloop.experiment.winner import winner_spec
from everloop.experiment.workers import LokyWorkers
from everloop.ledger import Ledger
from everloop.project import FoldsPlan, Objective, ProjectLock, Spec
from tests.experiment.made import START, opened, payments, project
from tests.serving.place import wait_until

CLOCK = SystemClock()
TIMES = ("fit_s", "seconds", "us_per_row")


def found(root: Path, frame: pl.DataFrame | None = None, **options: Any) -> Leaderboard:
    keys = {"objective", "learners", "more"} & options.keys()
    made = project(root, payments() if frame is None else frame, **{key: options.pop(key) for key in keys})
    return search(*made, **{"clock": CLOCK, "trials": 4, "jobs": 1, **options})


def without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_times(inner) for key, inner in value.items() if key not in TIMES}
    return [without_times(inner) for inner in value] if isinstance(value, list | tuple) else value


def same(first: Leaderboard, second: Leaderboard) -> bool:
    return bool(without_times(first.to_dict()) == without_times(second.to_dict()))


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Leaderboard:
    """Ten trials in this process, never interrupted."""
    return found(tmp_path_factory.mktemp("whole") / "p", trials=10)


def test_the_leaderboard_holds_every_trial_and_both_yardsticks_in_order(board: Leaderboard) -> None:
    assert {trial.name for trial in board.trials} == {"y1", "y2", *map(str, range(1, 11))}
    for status in ("done", "pruned"):
        values = [trial.value for trial in board.trials if trial.value is not None and trial.status == status]
        assert values == sorted(values, reverse=True)
    for trial in board.trials:
        assert trial.range is not None
        assert trial.range.holds(trial.value or 0.0)
        assert {"precision", "recall", "average_precision"} <= trial.metrics.keys()
    assert board.winner is not None
    best = next(trial for trial in board.trials if trial.kind == "trial")
    assert board.tied(best)
    assert board.winner.trial == best_of_the_small(board)
    assert board.verdict.outcome == "passed"


def best_of_the_small(board: Leaderboard) -> Trial:
    """Of the tied, where all of them beat the yardsticks."""
    tied = [trial for trial in board.trials if board.tied(trial)]
    return next(t for t in tied if t.graph_bytes <= 2 * min(one.graph_bytes for one in tied))


def test_the_screen_fits_80_columns(board: Leaderboard) -> None:
    console = Console(width=80, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(leaderboard_screen(board))
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= 80
    assert "lightgbm" in text
    assert "…" not in text.split("Winner")[0]


def test_a_longer_search_goes_on_from_a_shorter_one(board: Leaderboard, tmp_path: Path) -> None:
    found(tmp_path / "p", trials=3)
    told: list[str] = []
    longer = search(
        *opened(tmp_path / "p"),
        clock=CLOCK,
        trials=10,
        jobs=1,
        progress=lambda trial, *_: told.append(trial.name) if trial else None,
    )
    assert same(longer, board)
    assert len(told) == 12
    assert len(trial_lines(tmp_path / "p")) == 12


KILLED = """
import os, signal, sys
from pathlib import Path
import psutil
from everloop.clock import SystemClock
from everloop.experiment import search
from tests.experiment.made import opened

def kill(trial, best, ended, of):
    if ended == 6:
        children = psutil.Process().children()
        print(*[child.pid for child in children if "loky_posix" in " ".join(child.cmdline())], flush=True)
        os.kill(os.getpid(), signal.SIGKILL)

search(*opened(Path(sys.argv[1])), clock=SystemClock(), trials=10, jobs=2, progress=kill)
"""


def trial_lines(root: Path) -> list[bytes]:
    (file,) = (root / ".everloop" / "searches").glob("*/trials.jsonl")
    return file.read_bytes().splitlines(keepends=True)


def test_a_search_in_two_processes_that_is_killed_ends_as_one_in_this_that_is_not(
    board: Leaderboard, tmp_path: Path
) -> None:
    root = tmp_path / "p"
    project(root, payments())
    command = [sys.executable, "-c", KILLED, str(root)]
    died = subprocess.run(command, cwd=Path(__file__).parents[2], check=False, stdout=subprocess.PIPE, text=True)
    assert died.returncode == -signal.SIGKILL
    assert len(died.stdout.split()) == 2
    workers = [psutil.Process(int(pid)) for pid in died.stdout.split() if psutil.pid_exists(int(pid))]
    assert psutil.wait_procs(workers, timeout=30)[1] == []  # its two workers end with it
    kept = trial_lines(root)
    assert len(kept) == 6
    (file,) = (root / ".everloop" / "searches").glob("*/trials.jsonl")
    file.write_bytes(b"".join(kept) + kept[-1][:20])  # the kill came in the middle of the next line

    resumed = search(*opened(root), clock=CLOCK, trials=10, jobs=1)
    assert same(resumed, board)
    assert trial_lines(root)[:6] == kept
    assert len(trial_lines(root)) == 12


def test_a_worker_that_dies_costs_no_other_trial(board: Leaderboard, tmp_path: Path) -> None:
    killed: list[int] = []

    def kill(*_: object) -> None:
        if not killed:
            for child in psutil.Process().children():
                if "loky_posix" in " ".join(child.cmdline()):
                    killed.append(child.pid)
                    child.kill()

    survived = found(tmp_path / "p", trials=3, jobs=2, progress=kill)
    assert killed
    assert len(choices(survived)) == 5
    assert choices(survived) <= choices(board)


class OnePoolBreaks:
    """Workers of which one ends its trial, and the other takes the pool down with it; alone it ends too."""

    count = 2

    def __init__(self) -> None:
        self.given: list[int] = []

    def submit(self, task: TrialTask) -> Future[TrialResult]:
        self.given.append(task.number)
        future: Future[TrialResult] = Future()
        if task.number == 2 and self.given.count(2) == 1:
            future.set_exception(BrokenProcessPool())
        else:
            future.set_result(failed(task, "ended"))
        return future


def test_what_has_ended_is_given_before_what_was_lost_is_fitted_again() -> None:
    workers = OnePoolBreaks()
    crew = Crew(workers)  # type: ignore[arg-type]
    crew.give(trial_task(number=1))
    crew.give(trial_task(number=2))
    assert [result.trial.number for result in crew.wait()] == [1]
    assert workers.given == [1, 2]
    assert not crew.has_room
    assert [result.trial.number for result in crew.wait()] == [2]
    assert not crew.busy


def test_a_graph_that_was_removed_is_made_again(tmp_path: Path) -> None:
    root = tmp_path / "p"
    before = found(root, trials=2)
    for file in (root / ".everloop").rglob("*.onnx"):
        file.unlink()
    assert same(search(*opened(root), clock=CLOCK, trials=2, jobs=1), before)


def choices(board: Leaderboard) -> set[tuple[Any, ...]]:
    """What was decided before the test rows were looked at."""
    return {(trial.name, str(trial.hyperparameters), trial.threshold, trial.value) for trial in board.trials}


def test_no_test_row_moves_a_threshold_a_value_or_a_trial(tmp_path: Path) -> None:
    frame = payments(2_000)
    cut = 1_700
    spoiled = pl.concat(
        [frame[:cut], frame[cut:].with_columns(fraud=1 - pl.col("fraud"), v0=-pl.col("v0"), amount=1.0)]
    )
    before, after = found(tmp_path / "a", frame), found(tmp_path / "b", spoiled)
    assert before.search != after.search
    assert choices(before) == choices(after)
    assert before.winner is not None
    assert after.winner is not None
    assert before.winner.objective != after.winner.objective


def test_what_was_not_known_yet_changes_nothing(tmp_path: Path) -> None:
    frame = payments(3_000)
    clock = SimulatedClock(START + timedelta(minutes=10 * 2_000))
    delay = {"more": "outcome: {delay: 1d}\n", "clock": clock}
    young = pl.col("paid_at") > clock.now() - timedelta(days=1)
    later = frame.with_columns(fraud=pl.when(young).then(1 - pl.col("fraud")).otherwise(pl.col("fraud")))
    before, after = found(tmp_path / "a", frame, **delay), found(tmp_path / "b", later, **delay)
    assert same(before, after)
    assert before.data.left_out["unmatured"] > 900
    assert before.data.end <= clock.now() - timedelta(days=1)


def test_a_winner_that_a_yardstick_equals_is_refused_and_leaves_no_spec(tmp_path: Path) -> None:
    lost = found(tmp_path / "p", payments(linear=True), objective="roc_auc", learners="random_forest", trials=1)
    assert lost.verdict.outcome == "failed"
    assert "logistic yardstick" in lost.verdict.sentence
    _, model = opened(tmp_path / "p")
    with Ledger.open(tmp_path / "ledger.db", clock=CLOCK) as ledger:
        with pytest.raises(Refused, match="no trial beats the logistic yardstick"):
            write_winner(model, lost, ledger=ledger, clock=CLOCK)
        assert ledger.facts() == []
    assert model.specs() == []


def test_where_a_line_is_enough_a_logistic_regression_may_win(tmp_path: Path) -> None:
    won = found(tmp_path / "p", payments(linear=True), objective="roc_auc", learners="logistic", trials=2)
    assert won.verdict.outcome == "passed"
    assert won.winner is not None
    assert won.winner.trial.learner == "logistic"
    assert set(won.winner.against) == {"constant"}


def test_a_cost_is_to_be_small(tmp_path: Path) -> None:
    won = found(tmp_path / "p", objective="cost(fn=100, fp=1)", learners="lightgbm", trials=2)
    values = [trial.value for trial in won.trials if trial.value is not None]
    assert values == sorted(values)
    assert won.verdict.outcome == "passed"
    assert won.winner is not None
    assert won.winner.against["constant"].low > 0


def test_many_rows_are_fitted_on_a_sample(tmp_path: Path) -> None:
    won = found(tmp_path / "p", trials=1, fit_rows=500)
    assert won.data.fit_rows == 500
    assert {trial.rows for trial in won.trials} == {500}


def test_the_same_search_does_not_run_twice_at_once(tmp_path: Path) -> None:
    first = found(tmp_path / "p", trials=1)
    lock = ProjectLock(tmp_path / "p" / ".everloop" / "searches" / first.search / "lock")
    with lock, pytest.raises(AlreadyRunning, match=f"search {first.search} already runs"):
        search(*opened(tmp_path / "p"), clock=CLOCK, trials=1, jobs=1)


def test_a_part_without_a_positive_is_told(tmp_path: Path) -> None:
    frame = payments(2_000)
    silent = frame.with_columns(
        fraud=pl.when(pl.col("paid_at") < frame["paid_at"][1_650]).then(pl.col("fraud")).otherwise(0)
    )
    with pytest.raises(NotEnoughData, match=r"test part of fraud .* has no positive"):
        found(tmp_path / "p", silent)


def trial_task(**changes: Any) -> TrialTask:
    fields: dict[str, Any] = {"number": 1, "kind": "trial", "learner": "xgboost", "params": {}, "seed": 0}
    return TrialTask(**{**fields, "objective": Objective.parse("roc_auc"), "task": "classification", **changes})


def small_rows(n: int = 600) -> Any:
    frame = payments(n)
    X, y = frame.select("v0", "v1").to_numpy().astype("float32"), frame["fraud"].to_numpy().astype(float)
    folds = [Fold(fitted=np.arange(3 * n // 4), judged=np.arange(3 * n // 4, n), worth=3.0)]
    folds.append(Fold(fitted=np.arange(n // 2), judged=np.arange(n // 2, 3 * n // 4), worth=2.0))
    return trial_rows(X, y, np.ones(n), folds, fit_rows=10_000, numeric=False, seed=0)


def test_a_trial_that_fails_is_kept_with_its_sentence(tmp_path: Path) -> None:
    trial = run_trial(trial_task(params={"max_dept": 3}), small_rows()).trial
    assert trial.status == "failed"
    assert "did you mean 'max_depth'?" in trial.sentence
    log = TrialLog(tmp_path / "trials.jsonl")
    log.append(trial)
    assert TrialLog(tmp_path / "trials.jsonl").trials == {("trial", 1): trial}
    assert isinstance(trial, Trial)


@pytest.mark.parametrize(
    ("cause", "limit_s", "again"),
    [(None, 5.0, False), ("worker lost", 5.0, True), ("out of memory", 5.0, True), ("too long", 5.0, False),
     ("too long", 9.0, True), ("too long", None, True)],
)  # fmt: skip
def test_what_need_not_fail_again_is_fitted_again(
    tmp_path: Path, cause: Cause | None, limit_s: float | None, again: bool
) -> None:
    store = TrialStore(tmp_path)
    store.keep(failed(trial_task(time_limit_s=5.0), "it failed", cause=cause))
    assert (TrialStore(tmp_path).ended(trial_task(time_limit_s=limit_s)) is None) == again


def test_a_default_that_is_said_is_the_default_that_is_not(tmp_path: Path) -> None:
    """A champion says all of its hyperparameters, and a space may name one that no search tries."""
    task = trial_task(params={"early_stopping_rounds": 0, "n_estimators": 5})
    store = TrialStore(tmp_path)
    store.keep(run_trial(task, small_rows()))
    assert store.ended(task) is not None
    assert store.ended(trial_task(params={"n_estimators": 6})) is None


def test_a_trial_is_judged_on_every_fold_and_is_worth_their_mean() -> None:
    result = run_trial(trial_task(), small_rows())
    trial = result.trial
    assert trial.status == "done"
    assert len(trial.folds) == 2
    assert [fold.worth for fold in trial.folds] == [3.0, 2.0]
    assert trial.value == pytest.approx(np.average([fold.value for fold in trial.folds], weights=[3.0, 2.0]))
    assert trial.range is not None
    assert trial.range.width < max(f.interval["high"] - f.interval["low"] for f in trial.folds)
    assert trial.threshold == trial.folds[0].threshold
    assert result.predictions is not None
    assert result.predictions.shape == (300, 1)
    rows = small_rows()
    newest = Graph(result.graph).scores(rows.X[rows.folds[0].judged])
    assert newest.tobytes() == result.predictions[:150, 0].tobytes()
    assert trial.graph_bytes == len(result.graph) > 0
    assert trial.us_per_row > 0


def test_a_trial_behind_its_bound_is_given_up_and_one_that_reaches_it_goes_on() -> None:
    def asked(value: float) -> tuple[Bound]:
        return (Bound(value=value, why="and more was asked for"),)

    behind = run_trial(trial_task(bounds=asked(0.9999)), small_rows()).trial
    assert behind.status == "pruned"
    assert len(behind.folds) == 1
    assert behind.sentence == f"given up after 1 of 2 folds: {behind.value:.4g}, and more was asked for"
    assert run_trial(trial_task(bounds=asked(0.5)), small_rows()).trial.status == "done"
    cost = {"objective": Objective.parse("cost(fn=10, fp=1)")}
    assert run_trial(trial_task(bounds=asked(0.0), **cost), small_rows()).trial.status == "pruned"
    assert run_trial(trial_task(bounds=asked(99.0), **cost), small_rows()).trial.status == "done"


def test_a_trial_that_takes_too_long_is_ended_and_says_so() -> None:
    slow = trial_task(params={"n_estimators": 20_000, "learning_rate": 0.0001}, time_limit_s=1.0)
    trial = run_trial(slow, small_rows(20_000)).trial
    assert trial.status == "failed"
    assert trial.sentence.startswith("it took longer than 1s")
    assert "trial_timeout" in trial.sentence


def test_a_fit_that_runs_no_python_is_left_behind_and_says_that_it_is_stuck(tmp_path: Path) -> None:
    own = tmp_path / "learners.py"
    own.write_text(ENDLESS.replace("600", "3"))
    result = run_trial(trial_task(learner="endless", own=own, time_limit_s=0.5), small_rows(), to_end_s=0.2)
    assert result.stuck
    assert result.trial.cause == "too long"


def test_trials_behind_half_of_the_others_are_spared_their_last_folds(tmp_path: Path) -> None:
    won = found(tmp_path / "p", trials=24, jobs=2)
    pruned = [trial for trial in won.trials if trial.status == "pruned"]
    assert pruned
    assert all(len(trial.folds) < won.data.folds for trial in pruned)
    assert all(trial.number > 8 + 5 for trial in pruned)
    assert won.winner is not None
    assert won.winner.trial.status == "done"


def test_ctrl_c_ends_a_search_with_what_there_is_and_it_goes_on_later(board: Leaderboard, tmp_path: Path) -> None:
    def stop(trial: Trial | None, best: Trial | None, ended: int, of: int | None) -> None:
        if best is not None and ended >= 5:
            raise KeyboardInterrupt

    stopped = found(tmp_path / "p", trials=10, progress=stop)
    assert stopped.stopped
    assert len(stopped.trials) < 12
    assert stopped.winner is not None
    assert choices(stopped) <= choices(board)
    again = search(*opened(tmp_path / "p"), clock=CLOCK, trials=10, jobs=1)
    assert same(again, board)


def test_stopped_before_any_trial_ended_there_is_nothing_to_end_with(tmp_path: Path) -> None:
    def stop(trial: Trial | None, *_: object) -> None:
        if trial is not None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        found(tmp_path / "p", progress=stop)


def test_the_champions_configuration_is_trial_one(tmp_path: Path) -> None:
    said = {"eta": 0.07, "num_leaves": 9}
    spec = Spec.new(name="fraud-s1", objective="roc_auc", learner="lightgbm", hyperparameters=said)
    won = found(tmp_path / "p", champion=spec, trials=2)
    first = next(trial for trial in won.trials if trial.name == "1")
    assert first.learner == "lightgbm"
    assert (first.hyperparameters["learning_rate"], first.hyperparameters["num_leaves"]) == (0.07, 9)


def test_the_champion_keeps_its_calibration(tmp_path: Path) -> None:
    spec = Spec.new(name="fraud-s1", objective="roc_auc", learner="lightgbm", calibration="logistic")
    won = found(tmp_path / "p", champion=spec, trials=2, folds=FoldsPlan(count=1))
    assert {t.name: t.calibration for t in won.trials if t.kind == "trial"} == {"1": "logistic", "2": "none"}
    uncalibrated = spec.model_copy(update={"calibration": "none"})
    options = {"trials": 1, "jobs": 1, "folds": FoldsPlan(count=1)}
    plain = search(*opened(tmp_path / "p"), clock=CLOCK, champion=uncalibrated, **options)
    assert plain.search != won.search


def test_a_champion_that_can_be_fitted_no_more_keeps_nobody_from_searching(tmp_path: Path) -> None:
    spec = Spec.new(name="fraud-s1", objective="roc_auc", learner="extra_trees")
    page = tmp_path / "board.html"
    won = found(tmp_path / "p", champion=spec, trials=1, out=page)
    said = "fraud-s1 can be fitted no more, so it is not trial 1: learner: classification has no learner"
    assert said in won.notes[0]
    assert said in page.read_text()
    console = Console(width=400, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(leaderboard_screen(won))
    assert said in console.export_text()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"method": "bayes"}, "'bayes' is no method of a search; did you mean 'bayesian'?"),
        ({"method": "best"}, "there are grid, random, bayesian"),
        ({"trials": 0}, "trials=0 leaves a search nothing to do"),
        ({"jobs": 0}, "jobs=0 leaves a search nothing to do"),
        ({"minutes": -1}, "minutes=-1 is no time to search"),
    ],
)
def test_what_cannot_be_asked_of_a_search_is_told_at_once(tmp_path: Path, options: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError) as caught:
        found(tmp_path / "p", payments(600), **options)
    assert says in str(caught.value)
    assert not (tmp_path / "p" / ".everloop").exists()


def test_a_grid_is_searched_as_it_is_written(tmp_path: Path) -> None:
    more = "search: {learners: [lightgbm], method: grid, space: {lightgbm: {num_leaves: [7, 15], eta: [0.05, 0.2]}}}\n"
    root = tmp_path / "p"
    _, model = project(root, payments())
    text = model.folder.joinpath("model.yaml").read_text()
    model.folder.joinpath("model.yaml").write_text(text[: text.index("search:")] + more)
    won = search(*opened(root), clock=CLOCK, jobs=1)
    names = ("num_leaves", "learning_rate")
    tried = {tuple(t.hyperparameters[name] for name in names) for t in won.trials if t.kind == "trial"}
    assert tried == {(7, 0.05), (7, 0.2), (15, 0.05), (15, 0.2)}
    part = search(*opened(root), clock=CLOCK, jobs=1, trials=3)
    assert part.search == won.search  # so that a larger part goes on from a smaller one
    assert {trial.name for trial in part.trials} == {"y1", "y2", "1", "2", "3"}
    assert choices(part) <= choices(won)
    assert won.method == "grid"


def test_two_settings_that_give_the_same_are_tied_and_a_small_graph_is_chosen(tmp_path: Path) -> None:
    space = "{lightgbm: {num_round: [60, 61, 300]}}"
    more = f"search: {{learners: [lightgbm], method: grid, choose: CHOOSE, space: {space}}}\n"
    root = tmp_path / "p"
    _, model = project(root, payments(), objective="roc_auc")
    file = model.folder / "model.yaml"
    text = file.read_text()
    file.write_text(text[: text.index("search:")] + more.replace("CHOOSE", "cheapest"))
    won = search(*opened(root), clock=CLOCK, jobs=1)
    assert won.winner is not None
    assert won.ties >= 2
    assert won.winner.trial == best_of_the_small(won)
    file.write_text(file.read_text().replace("cheapest", "best"))
    assert (search(*opened(root), clock=CLOCK, jobs=1).winner or won.winner).trial == won.trials[0]


def test_another_winner_of_the_same_trials_is_another_fact(board: Leaderboard, tmp_path: Path) -> None:
    made, _ = project(tmp_path / "p", payments(600))
    assert board.winner is not None
    other = next(one for one in board.trials if one.kind == "trial" and one != board.winner.trial)
    chosen_otherwise = replace(board, winner=replace(board.winner, trial=other))
    with Ledger.open(tmp_path / "ledger.db", clock=CLOCK) as ledger:
        for one in (board, chosen_otherwise, board, chosen_otherwise):
            note_search(made, one, ledger=ledger, actor="alice")
        winners = [fact.payload["winner"] for fact in ledger.facts(kind="search.ended")]
    assert winners == [board.winner.trial.name, other.name]


def test_a_full_disk_is_one_sentence_and_what_was_kept_stays(tmp_path: Path) -> None:
    log = TrialLog(tmp_path / "trials.jsonl")
    trial = run_trial(trial_task(), small_rows()).trial
    log.append(trial)
    code = (
        "import resource, sys, msgspec\nfrom pathlib import Path\n"
        "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "from everloop.experiment.trials import TrialLog\n"
        "path = Path(sys.argv[1]); log = TrialLog(path)\n"
        "(first,) = log.trials.values()\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 40,) * 2)\n"
        "try:\n    log.append(msgspec.structs.replace(first, number=2))\n"
        "except Exception as error:\n    print(type(error).__name__, error)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "trials.jsonl")]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert said.startswith("StorageFull the disk of")
    assert "1 trials are kept there" in said
    assert TrialLog(tmp_path / "trials.jsonl").trials == {("trial", 1): trial}


def test_times_are_never_features(board: Leaderboard) -> None:
    assert board.data.features == ("v0", "v1", "v2", "v3", "amount", "amount_log", "night")
    assert EVENT_TIME not in board.data.features


TREES = """\
from everloop.models import FittedPipeline, Hyperparameter, Int, own_learner, weighted_up

@own_learner
class ExtraTrees:
    name = "extra_trees"
    hyperparameters = (Hyperparameter(name="n_estimators", search=Int(20, 60), default=30, minimum=1),)

    def fit(self, training):
        from sklearn.ensemble import ExtraTreesClassifier

        model = ExtraTreesClassifier(training.params["n_estimators"], max_depth=8, random_state=training.seed)
        return FittedPipeline(model.fit(training.X, training.y, sample_weight=weighted_up(training)))
"""


def with_own(root: Path, text: str = TREES, *, learners: str = "logistic, extra_trees") -> Path:
    """A project whose learners.py defines one; gives that file."""
    project(root, payments())
    path = root / "fraud" / "learners.py"
    path.write_text(text)
    yaml = root / "fraud" / "model.yaml"
    yaml.write_text(yaml.read_text().replace("logistic, lightgbm", learners))
    return path


def test_a_projects_own_learner_is_searched_in_any_number_of_processes(tmp_path: Path) -> None:
    path = with_own(tmp_path / "p")
    one = search(*opened(tmp_path / "p"), clock=CLOCK, trials=4, jobs=1)
    shutil.rmtree(tmp_path / "p" / ".everloop")
    two = search(*opened(tmp_path / "p"), clock=CLOCK, trials=4, jobs=2)
    assert same(one, two)
    assert {trial.learner for trial in one.trials if trial.kind == "trial"} == {"logistic", "extra_trees"}
    assert all(trial.status == "done" for trial in one.trials)
    path.write_text(TREES.replace("max_depth=8", "max_depth=3"))
    other = search(*opened(tmp_path / "p"), clock=CLOCK, trials=2, jobs=1)
    assert other.search != one.search  # the file is part of what the search is


def test_what_decides_how_a_fit_comes_out_is_part_of_what_the_search_is(tmp_path: Path) -> None:
    assert {"everloop", "numpy", "onnx", "onnxruntime", "optuna", "scikit-learn", "scipy"} <= libraries().keys()
    path = with_own(tmp_path / "p", learners="logistic")
    champion = Spec.new(name="fraud-s1", objective="roc_auc", learner="extra_trees")
    before = search(*opened(tmp_path / "p"), clock=CLOCK, trials=1, jobs=1, champion=champion)
    path.write_text(TREES.replace("max_depth=8", "max_depth=3"))
    after = search(*opened(tmp_path / "p"), clock=CLOCK, trials=1, jobs=1, champion=champion)
    assert after.search != before.search


def test_a_learners_file_that_nothing_uses_changes_no_search(tmp_path: Path) -> None:
    plain = found(tmp_path / "a", trials=2)
    with_own(tmp_path / "b", "1 / 0\n", learners="logistic, lightgbm")
    assert same(search(*opened(tmp_path / "b"), clock=CLOCK, trials=2, jobs=1), plain)


def test_every_unknown_learner_is_told_before_anything_is_fitted(tmp_path: Path) -> None:
    with_own(tmp_path / "p", learners="extra_tres, xgbost, logistic")
    with pytest.raises(ConfigurationError) as caught:
        search(*opened(tmp_path / "p"), clock=CLOCK, trials=2, jobs=1)
    assert caught.value.mistakes == (
        "learner: classification has no learner 'extra_tres'; did you mean 'extra_trees', which "
        "fraud/learners.py:4 defines?",
        "learner: classification has no learner 'xgbost'; did you mean 'xgboost'?",
    )
    (tmp_path / "p" / "fraud" / "learners.py").unlink()
    with pytest.raises(ConfigurationError, match="'extra_tres' is not a learner"):
        opened(tmp_path / "p")


def calibrated(root: Path, method: str) -> Leaderboard:
    project(root, payments())
    yaml = root / "fraud" / "model.yaml"
    yaml.write_text(yaml.read_text().replace("search: {", f"search: {{calibration: {method}, folds: 1, "))
    return search(*opened(root), clock=CLOCK, trials=3, jobs=1)


def test_the_spec_says_the_calibration_that_was_asked_for(tmp_path: Path) -> None:
    plain, mapped = calibrated(tmp_path / "plain", "none"), calibrated(tmp_path / "mapped", "logistic")
    asked = calibrated(tmp_path / "asked", "auto")
    assert mapped.search != plain.search
    assert {trial.calibration for trial in plain.trials} == {None}
    assert {trial.calibration for trial in mapped.trials} == {"logistic"}  # what is to be beaten too
    before, after = (
        {trial.number: trial.metrics["average_precision"] for trial in board.trials if trial.kind == "trial"}
        for board in (plain, mapped)
    )
    assert after == pytest.approx(before, abs=0.02)  # five maps rank as one does, but for a little
    assert {trial.calibration for trial in asked.trials} <= {"none", "logistic", "isotonic"}
    for board, said in ((plain, "none"), (mapped, "logistic"), (asked, "auto")):
        assert winner_spec(board, name="fraud-s1", clock=CLOCK).calibration == said
    console = Console(width=80, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(leaderboard_screen(mapped))
    assert "calibration=logistic" in console.export_text()


DEADLY = """\
import os, signal
from everloop.models import own_learner

@own_learner
class Deadly:
    name = "deadly"

    def fit(self, training):
        os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_learner_that_takes_its_process_down_costs_no_other_trial(tmp_path: Path) -> None:
    with_own(tmp_path / "p", DEADLY, learners="logistic, deadly")
    won = search(*opened(tmp_path / "p"), clock=CLOCK, trials=4, jobs=2)
    by_learner = {trial.learner: trial for trial in won.trials if trial.kind == "trial"}
    assert by_learner["deadly"].status == "failed"
    assert "ran out of memory, or died of it" in by_learner["deadly"].sentence
    assert {trial.status for trial in won.trials if trial.learner != "deadly"} == {"done"}
    assert len(won.trials) == 6


ENDLESS = """\
import ctypes
from pathlib import Path
from everloop.models import own_learner

@own_learner
class Endless:
    name = "endless"

    def fit(self, training):
        with open(Path(__file__).parent / "begun", "a") as begun:
            begun.write("once")
        ctypes.CDLL(None).sleep(600)  # native code: no exception reaches it
"""


@pytest.mark.slow
def test_a_fit_that_nothing_ends_is_told_as_too_long_and_costs_no_other_trial(tmp_path: Path) -> None:
    path = with_own(tmp_path / "p", ENDLESS, learners="endless, logistic")
    yaml = tmp_path / "p" / "fraud" / "model.yaml"
    yaml.write_text(yaml.read_text().replace("search: {", "search: {trial_timeout: 10s, "))
    before = set(psutil.Process().children())
    won = search(*opened(tmp_path / "p"), clock=CLOCK, trials=2, jobs=2)
    endless = next(trial for trial in won.trials if trial.learner == "endless")
    assert endless.sentence.startswith("it took longer than 10s")
    assert path.with_name("begun").read_text() == "once"
    assert {trial.status for trial in won.trials if trial != endless} == {"done"}
    left = [one for one in set(psutil.Process().children()) - before if "loky_posix" in " ".join(one.cmdline())]
    assert left == []  # with the one that is stuck


def test_workers_that_are_renewed_give_up_what_they_fit(tmp_path: Path) -> None:
    with LokyWorkers(tmp_path / "rows", jobs=1) as workers:
        workers.lay_out(small_rows(20_000))
        running = workers.submit(trial_task(params={"n_estimators": 20_000, "learning_rate": 0.0001}))
        wait_until(running.running, within_s=60)
        workers.renew()
        with pytest.raises(Exception, match="shutdown"):
            running.result(timeout=60)
        assert workers.submit(trial_task()).result().trial.status == "done"
