"""Where trials are fitted: in processes of this machine (joblib's loky), or on the workers of a Dask cluster."""

from __future__ import annotations

import shutil
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from everloop.errors import ConfigurationError, IntegrationError
from everloop.experiment.trial_fit import TrialResult, TrialTask, run_trial, run_trial_at
from everloop.experiment.trial_rows import TrialRows, write_trial_rows

__all__ = ["DaskWorkers", "LokyWorkers", "Workers"]


class Workers(Protocol):
    """Processes that fit trials, one thread each. Used in a `with`; what they were given last they keep."""

    @property
    def count(self) -> int:
        """How many trials are fitted at once."""
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
        self._executor(kill_workers=True)

    def _executor(self, *, kill_workers: bool = False) -> Any:
        from joblib.externals.loky import get_reusable_executor

        return get_reusable_executor(max_workers=self._jobs, timeout=60, kill_workers=kill_workers)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Processes without work end by themselves after a minute; those that still fit have no one to fit for."""
        if kind is not None:
            self._executor(kill_workers=True)
        shutil.rmtree(self._folder, ignore_errors=True)  # the rows are in the source


class DaskWorkers:
    """The workers of a Dask cluster. The rows go to each of them once."""

    def __init__(self, address: str) -> None:
        """address: the scheduler's, `tcp://host:8786`. Raises IntegrationError where it does not answer."""
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
        self._address = address
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
        here = _versions()
        for address, there in self._client.run(_versions).items():
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
        """How many trials are fitted at once: one on each thread of the cluster's workers."""
        return sum(int(worker["nthreads"]) for worker in self._client.scheduler_info()["workers"].values())

    def lay_out(self, rows: TrialRows) -> None:
        """Send the rows to every worker."""
        self._rows = self._client.scatter(rows, broadcast=True, hash=False)

    def submit(self, task: TrialTask) -> Future[TrialResult]:
        """Fit on one of the workers."""
        submitted = self._client.submit(run_trial, task, self._rows, pure=False, retries=0)
        return _as_future(submitted)

    def renew(self) -> None:
        """Workers that died are renewed by the cluster; the trials that ran on others go on there."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the cluster; what runs for this search is cancelled."""
        self._client.close()


def _versions() -> dict[str, str]:
    """What decides how a fit comes out, by name."""
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for name in ("everloop", "lightgbm", "numpy", "onnxmltools", "scikit-learn", "skl2onnx", "xgboost-cpu", "xgboost"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _as_future(submitted: Any) -> Future[TrialResult]:
    """Dask's future as the standard library's, so that both are waited for alike."""
    future: Future[TrialResult] = Future()

    def done(ended: Any) -> None:
        error = ended.exception()
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(ended.result())

    submitted.add_done_callback(done)
    return future
