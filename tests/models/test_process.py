"""A fit in a child: the same graph, and nothing left of a child that is stopped."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest

from everloop.clock import SystemClock
from everloop.errors import ConfigurationError, FitFailed, NotEnoughData, StepTimeout
from everloop.models import FitProcess, FitResult, Validation, fit, fit_all
from tests.models.rows import request
from tests.processes import command_of

ENDLESS = {"n_estimators": 20_000, "max_depth": 20}


def fitting_children() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if "everloop.models.child" in command_of(child)]


def test_the_child_gives_the_same_graph(fitted: dict[str, FitResult], tmp_path: Path) -> None:
    X = request("xgboost").X
    result = fit(request("xgboost", validation=Validation(X=X[:100], y=request("xgboost").y[:100])), scratch=tmp_path)
    assert result.graph == fitted["xgboost"].graph
    assert result.params == fitted["xgboost"].params
    assert result.fit_s > 0
    assert list(tmp_path.iterdir()) == []


def test_one_child_fits_several_as_each_alone(fitted: dict[str, FitResult], tmp_path: Path) -> None:
    both = fit_all([request("constant"), request("logistic")], scratch=tmp_path)
    assert [result.graph for result in both] == [fitted["constant"].graph, fitted["logistic"].graph]
    assert list(tmp_path.iterdir()) == []


def test_the_first_of_several_that_fails_is_told(tmp_path: Path) -> None:
    with pytest.raises(NotEnoughData, match="logistic has 2,000 rows to learn from, all of them negative"):
        fit_all([request("constant"), request("logistic", y=np.zeros(2000)), request("constant")], scratch=tmp_path)


def test_a_time_limit_ends_the_child(tmp_path: Path) -> None:
    with pytest.raises(StepTimeout, match=r"took longer than 0\.3 s"):
        fit(request("xgboost", params=ENDLESS), time_limit_s=0.3, scratch=tmp_path)
    assert fitting_children() == []
    assert list(tmp_path.iterdir()) == []


def test_it_can_be_stopped(tmp_path: Path) -> None:
    with pytest.raises(FitFailed, match="was stopped"):
        fit(request("xgboost", params=ENDLESS), stopped=lambda: True, scratch=tmp_path)
    assert fitting_children() == []
    assert list(tmp_path.iterdir()) == []


def test_a_killed_child_is_told(tmp_path: Path) -> None:
    def kill() -> bool:
        for child in fitting_children():
            child.kill()
        return False

    with pytest.raises(FitFailed, match="SIGKILL"):
        fit(request("xgboost", params=ENDLESS), stopped=kill, scratch=tmp_path)


PARENT = """
import psutil
from everloop.models import fit
from tests.models.rows import request
def told():
    print(psutil.Process().children()[0].pid, flush=True)
    return False
fit(request("xgboost", params={"n_estimators": 20_000, "max_depth": 20}), stopped=told)
"""


def test_the_child_ends_when_its_parent_is_killed() -> None:
    root = Path(__file__).parents[2]
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True, cwd=root)
    assert parent.stdout is not None
    child = psutil.Process(int(parent.stdout.readline()))
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert child.wait(timeout=30) is None
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


def test_the_childs_sentence_comes_back(tmp_path: Path) -> None:
    with pytest.raises(NotEnoughData, match="all of them negative"):
        fit(request("constant", y=np.zeros(2000)), scratch=tmp_path)


def test_a_librarys_error_becomes_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(
        FitFailed, match=r"fitting logistic failed: ValueError: .*; other hyperparameters or rows may do"
    ):
        fit(request("logistic", weight=np.ones(10)), scratch=tmp_path)


def test_a_mistake_is_found_before_a_child_is_started(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="did you mean 'learning_rate'"):
        fit(request("xgboost", params={"learning_rat": 1}), scratch=tmp_path / "missing")


@pytest.mark.parametrize("learner", ["xgboost", "logistic"])
def test_a_process_that_was_begun_before_fits_the_same_and_ends(
    fitted: dict[str, FitResult], learner: str, tmp_path: Path
) -> None:
    process = FitProcess.ahead()
    process.work_in(tmp_path)
    process.rehearse([learner, "constant"], task="classification")
    (result,) = fit_all(iter([request(learner)]), process=process)
    assert result.graph == fitted[learner].graph
    assert fitting_children() == []
    assert list(tmp_path.iterdir()) == []


def test_a_process_that_is_not_needed_is_ended(tmp_path: Path) -> None:
    process = FitProcess(scratch=tmp_path)
    process.rehearse(["xgboost"], task="classification")
    assert len(fitting_children()) == 1
    process.close()
    assert fitting_children() == []
    assert list(tmp_path.iterdir()) == []


def test_a_process_that_died_before_anything_was_sent_is_replaced(fitted: dict[str, FitResult], tmp_path: Path) -> None:
    process = FitProcess(scratch=tmp_path)
    process.rehearse(["xgboost"], task="classification")
    (child,) = fitting_children()
    child.kill()
    psutil.wait_procs([child], timeout=30)
    (result,) = fit_all([request("constant")], process=FitProcess.living(process, scratch=tmp_path))
    assert result.graph == fitted["constant"].graph
    assert list(tmp_path.iterdir()) == []


def test_it_says_that_a_model_is_fitted_while_there_is_more_to_do(tmp_path: Path) -> None:
    told: list[bool] = []
    clock = SystemClock()
    with FitProcess(scratch=tmp_path) as process:
        sent = process.send(request("xgboost"))
        process.send(request("xgboost", params=ENDLESS))
        with pytest.raises(FitFailed, match="was stopped"):
            process.wait(
                [sent],
                time_limit_s=None,
                deadline_s=None,
                stopped=lambda: len(told) > 0,
                clock=clock,
                fitted=lambda: told.append(sent.is_fitted),
            )
    assert told == [True]


def test_it_says_what_came_out_before_the_last_while_its_graph_is_made(
    fitted: dict[str, FitResult], tmp_path: Path
) -> None:
    told: list[bytes] = []
    large = request("xgboost", params={"n_estimators": 1_000})
    fit_all(
        [request("constant"), large], scratch=tmp_path, fitted=lambda found: told.extend(one.graph for one in found)
    )
    assert told == [fitted["constant"].graph]


def test_what_a_killed_parent_left_is_swept(tmp_path: Path) -> None:
    program = f"""
import os, signal
from pathlib import Path
from everloop.models import FitProcess
from tests.models.rows import request
process = FitProcess(scratch=Path({str(tmp_path)!r}))
process.send(request("constant"))
os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", program], check=False, cwd=Path(__file__).parents[2])
    assert list(tmp_path.glob(".everloop-fit-*/0/X.npy"))
    FitProcess(scratch=tmp_path).close()
    assert list(tmp_path.iterdir()) == []
