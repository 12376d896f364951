"""The only module that imports MLflow: an address becomes a client, and MLflow's errors become ours.

What is worked around here, and why:

- it reports its use to its makers unless told not to before the import;
- it asks an address that does not answer seven times, for minutes: the mirror comes back by itself;
- a process killed while a SQLite database is migrated leaves one that no version opens: a fresh one is made beside
  and renamed, under a file lock;
- it logs what it raises, with a traceback: the mirror says it in a sentence;
- it prints a run's address on stdout, where commands have data.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa

from everloop.errors import IntegrationError
from everloop.project import exclusively

__all__ = ["Connection", "connect", "error_code", "said", "shown"]

_BEFORE_IMPORT: Final = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
_LONGEST_SENTENCE: Final = 300
_SERVERS: Final = ("http://", "https://")


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """MLflow, reached.

    client: an `mlflow.MlflowClient`. server: whether it is a server, which takes no path of this machine for a
    version's source. artifacts: URI of the folder that experiments made here get; None leaves it to the server.
    """

    client: Any
    server: bool
    artifacts: str | None

    def takes_files(self, run: Any) -> bool:
        """Whether this process can put files beside a run: in a folder here, or by a server that passes them on."""
        return not self.server or run.info.artifact_uri.startswith("mlflow-artifacts:")


def shown(address: str) -> str:
    """The address without a password."""
    return re.sub(r"//[^/@]*@", "//…@", address)


def connect(address: str, *, root: Path, state: Path) -> Connection:
    """Reach MLflow at `address`; a SQLite file is relative to `root`, made and migrated where it is missing.

    Raises IntegrationError.
    """
    if address.startswith(_SERVERS):
        with said(address):
            return Connection(client=_client(address), server=True, artifacts=None)
    artifacts = (state / "mlflow").as_uri()
    with said(address):
        url = _database(address)
        if url.get_backend_name() != "sqlite":
            _probe(url)
            return Connection(client=_client(address), server=False, artifacts=artifacts)
        if not url.database or url.database == ":memory:":
            raise IntegrationError(f"mlflow: {address} keeps nothing; name a file, as in sqlite:///mlflow.db")
        file = (root / url.database).resolve()
        file.parent.mkdir(parents=True, exist_ok=True)
        with exclusively(file.with_name(f"{file.name}.lock")):
            if not file.exists():
                _make(file, artifacts)
            _probe(url.set(database=str(file)))
            return Connection(client=_client(f"sqlite:///{file}"), server=False, artifacts=artifacts)


def _database(address: str) -> sa.URL:
    try:
        url = sa.make_url(address)
        url.get_dialect()
    except sa.exc.ArgumentError as error:
        raise IntegrationError(
            f"mlflow: {shown(address)} is no address of MLflow; write http://HOST:PORT, sqlite:///FILE or postgresql://…"
        ) from error
    return url


def _client(address: str) -> Any:
    mlflow = _mlflow()
    client = mlflow.MlflowClient(tracking_uri=address, registry_uri=address)
    client.search_experiments(max_results=1)
    return client


def _mlflow() -> Any:
    for name, value in _BEFORE_IMPORT.items():
        os.environ.setdefault(name, value)
    try:
        import mlflow
    except ImportError as error:
        raise IntegrationError(
            f"everloop.yaml has `mlflow:`, but MLflow cannot be imported ({error}); pip install 'everloop[mlflow]'"
        ) from error
    logging.getLogger("mlflow").setLevel(logging.CRITICAL)
    return mlflow


def _probe(url: sa.URL) -> None:
    """Ask the database once: MLflow would ask one that does not answer ten times, for minutes."""
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    sa.inspect(engine).get_table_names()


def _make(file: Path, artifacts: str) -> None:
    _mlflow()
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    draft = file.with_name(f".{file.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    try:
        store = SqlAlchemyStore(f"sqlite:///{draft}", artifacts)  # type: ignore[no-untyped-call]
        store.engine.dispose()
        draft.replace(file)
    finally:
        draft.unlink(missing_ok=True)


@contextmanager
def said(address: str) -> Iterator[None]:
    """What MLflow and what is below it raise, as one IntegrationError with a sentence."""
    try:
        yield
    except IntegrationError:
        raise
    except (OSError, sa.exc.SQLAlchemyError, ImportError) as error:  # requests' errors are OSErrors
        raise IntegrationError(_sentence(address, error)) from error
    except Exception as error:
        if error_code(error) is None:
            raise
        raise IntegrationError(_sentence(address, error)) from error


def error_code(error: BaseException | None) -> str | None:
    """MLflow's code of an error that is MLflow's own, such as `INVALID_PARAMETER_VALUE`; None for another's."""
    if error is None or not any(kind.__name__ == "MlflowException" for kind in type(error).__mro__):
        return None
    return str(getattr(error, "error_code", "INTERNAL_ERROR"))


def _sentence(address: str, error: Exception) -> str:
    lines = str(error).strip().splitlines()
    text = shown(lines[0]) if lines else type(error).__name__
    cut = text if len(text) <= _LONGEST_SENTENCE else f"{text[: _LONGEST_SENTENCE - 1]}…"
    return f"MLflow at {shown(address)} says: {cut}"
