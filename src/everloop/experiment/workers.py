"""Where trials are fitted: in processes of this machine (joblib's loky), or on the workers of a Dask cluster."""

from __future__ import annotations

import os
import shutil
import threading
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Protocol, Self

from everloop.errors import ConfigurationError, IntegrationError
from everloop.experiment.search_plan import libraries
from everloop.experiment.trial_fit import TrialResult, TrialTask, run_trial, run_trial_at
from everloop.experiment.trial_rows import TrialRows, write_trial_rows
from everloop.quick_start import quick_start

__all__ = ["PATIENCE_S", "DaskWorkers", "LokyWorkers", "Workers"]

PATIENCE_S: Final = 60.0
"""How long a cluster may be without a worker: one that died is started again by its nanny within that."""

_FETCHED_S: Final = 20.0


class Workers(Protocol):
    """Processes that fit trials, one thread each. Used in a `with`; what they were given last they keep."""

    @property
    def count(self) -> int:
        """How many trials are fitted at once, at least one. Raises IntegrationError where nobody is left to fit."""
        ...

    def lay_out(self, rows: TrialRows) -> None:
        """Bring the rows to where the workers read them."""
        ...

    def submit(self, task: TrialTask) -> Future[TrialResult]:
        """Fit; the future fails where the process that fitted died."""
        ...

    def renew(self) -> None:
        """Give up every trial that runs, and begin with fresh processes."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class LokyWorkers:
    """Processes of this machine. They map the rows from `folder`, so that none has a copy of its own."""

    def __init__(self, folder: Path, *, jobs: int) -> None:
        """jobs: processes."""
        self._folder, self._jobs = folder, jobs
        self._laid = 0

    @property
    def count(self) -> int:
        """How many trials are fitted at once."""
        return self._jobs

    def lay_out(self, rows: TrialRows) -> None:
        """Write the rows into the folder."""
        write_trial_rows(self._folder, rows)
        self._laid = (self._folder / "folds.json").stat().st_mtime_ns

    def submit(self, task: TrialTask) -> Future[TrialResult]:
        """Fit in one of the processes."""
        future: Future[TrialResult] = self._executor().submit(run_trial_at, task, self._folder, self._laid)
        return future

    def renew(self) -> None:
        """Kill the processes."""
        self._executor(kill_workers=True, reuse=False)

    def _executor(self, **options: Any) -> Any:
        from joblib.externals.loky import get_reusable_executor

        return get_reusable_executor(max_workers=self._jobs, timeout=60, initializer=quick_start, **options)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Processes without work end by themselves after a minute; those that still fit have no one to fit for."""
        if kind is not None:
            self.renew()
        shutil.rmtree(self._folder, ignore_errors=True)  # the rows are in the source


class DaskWorkers:
    """The workers of a Dask cluster. The rows go to each of them once."""

    def __init__(self, address: str, *, patience_s: float = PATIENCE_S) -> None:
        """address: the scheduler's, `tcp://host:8786`. patience_s: how long a cluster without workers is waited for.

        Raises IntegrationError where the scheduler does not answer.
        """
        try:
            from distributed import Client
        except ImportError:
            raise ConfigurationError(
                [f"everloop.yaml: dask: {address} needs Dask's client: pip install 'everloop[dask]'"]
            ) from None
        try:
            self._client = Client(address, timeout="10s", set_as_default=False)
        except (OSError, TimeoutError, ValueError) as error:
            raise IntegrationError(
                f"no Dask scheduler answers at {address} ({error}); start one, or take dask out of everloop.yaml to "
                "search on this machine"
            ) from error
        self._address, self._patience_s = address, patience_s
        self._laid: TrialRows | None = None
        self._rows: Any = None
        try:
            self._refuse_unlike()
        except BaseException:
            self._client.close()
            raise

    def _refuse_unlike(self) -> None:
        """Workers that cannot fit what this process would: none at all, or of another everloop or library."""
        workers = self._client.scheduler_info()["workers"]
        if not workers:
            raise IntegrationError(f"the Dask cluster {self._address} has no workers; start some")
        here = libraries()
        for address, there in self._client.run(libraries).items():
            unlike = [
                f"{name} {there.get(name)} and not {here[name]}" for name in here if there.get(name) != here[name]
            ]
            if unlike:
                raise IntegrationError(
                    f"the Dask worker {address} has {', '.join(unlike)}; trials must come out the same everywhere: "
                    "install the same versions there"
                )

    @property
    def count(self) -> int:
        """How many trials are fitted at once: one on each thread of the cluster's workers.

        Raises IntegrationError where it has had none for `patience_s`, or has gone.
        """
        try:
            self._client.wait_for_workers(1, timeout=self._patience_s)
            return sum(int(worker["nthreads"]) for worker in self._client.scheduler_info()["workers"].values())
        except TimeoutError as error:
            raise IntegrationError(
                f"the Dask cluster {self._address} has had no workers for {self._patience_s:g} s; start some and run "
                "the same search again: the trials that ended are kept"
            ) from error
        except (OSError, RuntimeError, KeyError) as error:  # a client that was closed knows of no workers
            raise self._gone() from error

    def lay_out(self, rows: TrialRows) -> None:
        """Send the rows to every worker."""
        self._laid = rows
        self._rows = self._client.scatter(rows, broadcast=True, hash=False)

    def submit(self, task: TrialTask) -> Future[TrialResult]:
        """Fit on one of the workers."""
        if self._laid is not None and self._rows.status != "finished" and self.count:
            self.lay_out(self._laid)
        try:
            return self._as_future(self._client.submit(_run_there, task, self._rows, pure=False, retries=0))
        except (OSError, RuntimeError) as error:
            raise self._gone() from error

    def _as_future(self, submitted: Any) -> Future[TrialResult]:
        """Dask's future as the standard library's, so that both are waited for alike."""
        future: Future[TrialResult] = Future()

        def done(ended: Any) -> None:
            try:
                if ended.cancelled():  # not by this search
                    raise self._lost()
                future.set_result(ended.result())
            except BaseException as error:  # whatever it is, someone waits for this future
                future.set_exception(error)

        submitted.add_done_callback(done)
        return future

    def _lost(self) -> Exception:
        """Why a trial was cancelled: the scheduler has gone, or with the last worker the rows."""
        if self._client.status == "running":
            return BrokenProcessPool("the last worker that had the rows died")
        return self._gone()

    def _gone(self) -> IntegrationError:
        return IntegrationError(
            f"the Dask scheduler {self._address} has gone away; start it and run the same search again: the trials "
            "that ended are kept"
        )

    def renew(self) -> None:
        """Workers that died are renewed by the cluster; the trials that ran on others go on there."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the cluster; what runs for this search is cancelled."""
        try:
            self._client.close()
        except (OSError, RuntimeError):
            # To say goodbye to one that has gone fails at times in Dask's own timers; that it has gone is told already.
            if error is None:
                raise


def _run_there(task: TrialTask, rows: TrialRows) -> TrialResult:
    """`run_trial` on a worker of a cluster; one that is stuck ends once its result was fetched."""
    result = run_trial(task, rows)
    if result.stuck:
        end = threading.Timer(_FETCHED_S, os._exit, [1])
        end.daemon = True
        end.start()
    return replace(result, stuck=False)
