"""Trials on a real Dask cluster: a scheduler and two workers, each a process of its own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from everloop.clock import SystemClock
from everloop.errors import ConfigurationError, IntegrationError
from everloop.experiment import Leaderboard, search
from everloop.experiment.crew import Crew
from everloop.experiment.workers import DaskWorkers
from everloop.project import Project
from tests.experiment.made import opened, payments, project
from tests.experiment.test_search import same, small_rows, trial_task

pytest.importorskip("distributed", reason="Dask is not installed")
CLOCK = SystemClock()


def _started(stack: ExitStack, *words: str) -> subprocess.Popen[bytes]:
    process = stack.enter_context(
        subprocess.Popen(
            [sys.executable, "-m", *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ
        )
    )
    stack.callback(process.terminate)
    return process


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextmanager
def started_cluster(
    scratch: Path, *, workers: int
) -> Iterator[tuple[str, subprocess.Popen[bytes], list[subprocess.Popen[bytes]]]]:
    """A scheduler's address, its process, and those of the nannies of its workers of one thread."""
    from distributed import Client

    address = f"tcp://127.0.0.1:{_free_port()}"
    with ExitStack() as stack:
        port = address.rpartition(":")[2]
        words = ("--host", "127.0.0.1", "--port", port, "--no-dashboard")
        scheduler = _started(stack, "distributed.cli.dask_scheduler", *words)
        nannies = []
        for name in map(str, range(workers)):
            words = ("--name", name, "--nthreads", "1", "--no-dashboard", "--local-directory", str(scratch / name))
            nannies.append(_started(stack, "distributed.cli.dask_worker", address, *words))
        with Client(address, timeout="60s", set_as_default=False) as client:
            client.wait_for_workers(workers, timeout=60)
        yield address, scheduler, nannies


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a scheduler with two workers."""
    with started_cluster(tmp_path_factory.mktemp("dask"), workers=2) as (address, _, _):
        yield address


def searched(root: Path, *, settings: str, **options: Any) -> Leaderboard:
    (root / "everloop.yaml").write_text(settings)
    return search(*opened(root), **{"clock": CLOCK, "trials": 6, **options})


@pytest.mark.slow
def test_a_cluster_finds_what_this_machine_finds_and_both_workers_fit(cluster: str, tmp_path: Path) -> None:
    from distributed import Client

    for name in ("here", "there"):
        project(tmp_path / name, payments())
    here = searched(tmp_path / "here", settings="{}\n", jobs=1)
    there = searched(tmp_path / "there", settings=f"dask: {cluster}\n")
    assert same(here, there)
    with Client(cluster, timeout="10s", set_as_default=False) as client:
        fitted = client.run(lambda dask_worker: dask_worker.state.executed_count)
    assert len(fitted) == 2
    assert all(count > 0 for count in fitted.values())


@pytest.mark.slow
def test_a_worker_that_dies_costs_no_trial(cluster: str, tmp_path: Path) -> None:
    from distributed import Client

    project(tmp_path / "here", payments())
    project(tmp_path / "there", payments())
    killed: list[int] = []

    def kill(trial: object, best: object, ended: int, of: object) -> None:
        if ended == 3 and not killed:
            with Client(cluster, timeout="10s", set_as_default=False) as client:
                (address, *_) = client.scheduler_info()["workers"]
                (pid,) = client.run(os.getpid, workers=[address]).values()
            killed.append(pid)
            os.kill(pid, 9)

    here = searched(tmp_path / "here", settings="{}\n", jobs=1)
    there = searched(tmp_path / "there", settings=f"dask: {cluster}\n", progress=kill)
    assert killed
    assert same(here, there)
    with Client(cluster, timeout="30s", set_as_default=False) as client:
        client.wait_for_workers(2, timeout=60)  # its nanny has started another


@pytest.mark.slow
def test_a_scheduler_that_goes_away_ends_the_search_and_what_ended_is_kept(tmp_path: Path) -> None:
    root = tmp_path / "p"
    project(root, payments())
    with started_cluster(tmp_path, workers=1) as (address, scheduler, _):

        def kill(trial: object, best: object, ended: int, of: object) -> None:
            if ended == 3:
                scheduler.kill()
                scheduler.wait()

        with pytest.raises(IntegrationError, match=f"the Dask scheduler {address} has gone away"):
            searched(root, settings=f"dask: {address}\n", progress=kill)
    resumed = searched(root, settings="{}\n", jobs=1)
    assert len(resumed.trials) == 8
    (file,) = (root / ".everloop" / "searches").glob("*/trials.jsonl")
    assert len(file.read_bytes().splitlines()) == 8  # none was fitted twice


@pytest.mark.parametrize("told", [IntegrationError("the scheduler has gone"), None])
def test_a_goodbye_that_fails_hides_nothing_that_is_told_already(
    cluster: str, monkeypatch: pytest.MonkeyPatch, told: IntegrationError | None
) -> None:
    def closed_badly(close: Callable[[], None]) -> None:
        close()
        raise RuntimeError("a timer of Dask's own")

    def leave() -> None:
        with DaskWorkers(cluster) as workers:
            monkeypatch.setattr(workers._client, "close", partial(closed_badly, workers._client.close))
            if told is not None:
                raise told

    with pytest.raises(RuntimeError if told is None else IntegrationError) as found:
        leave()
    assert str(found.value) == str(told or "a timer of Dask's own")


@pytest.mark.slow
def test_a_cluster_that_has_lost_its_workers_is_waited_for_and_then_told(tmp_path: Path) -> None:
    with started_cluster(tmp_path, workers=1) as (address, _, nannies), DaskWorkers(address, patience_s=3) as workers:
        assert workers.count == 1
        workers.lay_out(small_rows())
        crew = Crew(workers)
        crew.give(trial_task(params={"n_estimators": 20_000}))
        for process in psutil.Process(nannies[0].pid).children(recursive=True):
            process.kill()
        nannies[0].kill()
        with pytest.raises(IntegrationError, match=f"{address} has had no workers for 3 s"):
            crew.wait()


def test_a_scheduler_that_does_not_answer_is_one_sentence(tmp_path: Path) -> None:
    project(tmp_path / "p", payments(600))
    address = f"tcp://127.0.0.1:{_free_port()}"
    started = time.monotonic()
    with pytest.raises(IntegrationError, match=f"no Dask scheduler answers at {address}"):
        searched(tmp_path / "p", settings=f"dask: {address}\n")
    assert time.monotonic() - started < 60


def test_an_address_that_is_none_is_told_with_its_line(tmp_path: Path) -> None:
    project(tmp_path / "p", payments(600))
    (tmp_path / "p" / "everloop.yaml").write_text("dask: localhost:8786\n")
    with pytest.raises(ConfigurationError, match=r"everloop.yaml:1: dask: 'localhost:8786' is not a Dask scheduler's"):
        Project.open(tmp_path / "p", environment={})


def test_without_dask_installed_it_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'everloop\[dask\]'"):
        DaskWorkers("tcp://127.0.0.1:8786")
