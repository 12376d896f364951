"""Sources: CSV, Parquet or Delta, one file, a folder or a glob, here or in object storage; scanned lazily."""

from __future__ import annotations

import glob
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import polars as pl

from everloop.errors import SourceError

__all__ = ["collect", "is_remote", "local_files", "scan", "source_error"]

_REMOTE: Final = re.compile(r"^[a-z0-9]+://")
_GLOB: Final = re.compile(r"[*?\[]")
_NO_KEYS: Final = "169.254.169.254"  # where a reader that found no keys asks the machine it runs on
_COLOUR: Final = re.compile(r"\x1b\[[0-9;]*m")
_ARROW: Final = "↳"  # as Delta's readers draw "caused by"
_SAMPLE_ROWS: Final = 10_000
Options = Mapping[str, str]


def scan(source: str, *, root: Path, storage_options: Options | None = None) -> pl.LazyFrame:
    """The source's rows, unread: `*.csv`, `*.parquet` or a Delta folder; a path, a glob or `s3://…`.

    root: what a relative path starts from. storage_options: of the object store; without them the standard AWS
    variables (AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL …) hold. Raises SourceError: missing, empty, unreadable.
    """
    remote = _REMOTE.match(source) is not None
    address = source if remote else str(root / source)
    reader = _reader(source, address, remote)
    try:
        lazy = reader(address, dict(storage_options) if storage_options else None)
        lazy.collect_schema()
    except Exception as error:  # readers raise of every kind: Polars', Delta's, the store's, the system's
        raise source_error(source, error) from error
    return lazy


def is_remote(source: str) -> bool:
    """Whether a source lies in object storage, as `s3://…` does."""
    return _REMOTE.match(source) is not None


def collect(lazy: pl.LazyFrame, source: str) -> pl.DataFrame:
    """The rows, read. Raises SourceError where the file turns out to be broken further down."""
    try:
        return lazy.collect(engine="streaming")
    except (pl.exceptions.PolarsError, OSError) as error:
        raise source_error(source, error) from error


def local_files(source: str, *, root: Path) -> list[Path]:
    """The files that a source on this machine is read from; none for one in object storage."""
    if _REMOTE.match(source) is not None:
        return []
    address = str(root / source)
    found = [Path(name) for name in glob.glob(address, recursive=True)] if _GLOB.search(address) else [Path(address)]
    inside = [file for path in found if path.is_dir() for file in path.rglob("*")]
    return [file for file in (*found, *inside) if file.is_file()]


def source_error(source: str, error: Exception) -> SourceError:
    """One sentence about why a source cannot be read."""
    said = _said(error)
    if isinstance(error, pl.exceptions.NoDataError):
        return SourceError(f"{source} is empty; a header and at least one row are needed")
    if "expanded paths were empty" in said:
        return SourceError(f"no file matches {source}; check the path (a model's is data.source in its model.yaml)")
    if isinstance(error, FileNotFoundError):
        return SourceError(f"{source} does not exist; check the path (a model's is data.source in its model.yaml)")
    if isinstance(error, PermissionError):
        return SourceError(f"{source} may not be read by this user; check its permissions")
    if _NO_KEYS in str(error):
        return SourceError(
            f"{source} cannot be read without access keys; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
            "or for profiles and single sign-on pip install 'everloop[aws]'"
        )
    if "URL scheme is not allowed" in said:
        return SourceError(f"{source} cannot be read over plain http; set AWS_ALLOW_HTTP=true if that is meant")
    return SourceError(f"{source} cannot be read: {said:.300}")


def _said(error: Exception) -> str:
    """The error's first line and, where it tells causes line by line, the innermost of them."""
    text = _COLOUR.sub("", str(error)).partition("This error occurred with")[0]
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    causes = [line.removeprefix(_ARROW).strip() for line in lines if line.startswith(_ARROW)]
    if not lines:
        return type(error).__name__
    return f"{lines[0]}: {causes[-1]}" if causes else lines[0]


def _reader(source: str, address: str, remote: bool) -> Callable[[str, dict[str, str] | None], pl.LazyFrame]:
    if not remote:
        _refuse_absent(source, address)
        folder = Path(address)
        if folder.is_dir():
            return _folder_reader(source, folder)
    name = address.lower().rstrip("/")
    if re.search(r"\.(csv|csv\.gz|csv\.zst|tsv)$", name):
        return _tsv if name.endswith(".tsv") else _csv
    if re.search(r"\.(parquet|pq)$", name):
        return _parquet
    if remote and not _GLOB.search(name) and (address.endswith("/") or "." not in name.rpartition("/")[2]):
        return _remote_folder
    raise SourceError(
        f"{source} is of no known kind; a source is *.csv, *.tsv, *.parquet, a Delta folder or one of *.parquet"
    )


def _refuse_absent(source: str, address: str) -> None:
    if _GLOB.search(address):
        files = [Path(name) for name in glob.glob(address, recursive=True)]
        if not files:
            raise SourceError(f"no file matches {source}; check the path (a model's is data.source in its model.yaml)")
    elif not Path(address).exists():
        raise SourceError(f"{source} does not exist; check the path (a model's is data.source in its model.yaml)")
    else:
        files = [Path(address)]
    for file in files:
        if file.is_file() and file.stat().st_size == 0:
            raise SourceError(f"{source} is empty; a header and at least one row are needed")


def _folder_reader(source: str, folder: Path) -> Callable[[str, dict[str, str] | None], pl.LazyFrame]:
    if (folder / "_delta_log").is_dir():
        return _delta
    if next(folder.glob("**/*.parquet"), None) is not None:
        return lambda address, options: _parquet(f"{address}/**/*.parquet", options)
    if next(folder.glob("*.csv"), None) is not None:
        return lambda address, options: _csv(f"{address}/*.csv", options)
    raise SourceError(
        f"{source} is a folder without *.parquet, *.csv or a Delta log; "
        "check the path (a model's is data.source in its model.yaml)"
    )


def _parquet(address: str, options: dict[str, str] | None) -> pl.LazyFrame:
    return pl.scan_parquet(address, storage_options=options)


def _csv(address: str, options: dict[str, str] | None, **rest: Any) -> pl.LazyFrame:
    return pl.scan_csv(address, storage_options=options, try_parse_dates=True, infer_schema_length=_SAMPLE_ROWS, **rest)


def _tsv(address: str, options: dict[str, str] | None) -> pl.LazyFrame:
    return _csv(address, options, separator="\t")


def _remote_folder(address: str, options: dict[str, str] | None) -> pl.LazyFrame:
    """A Delta table, or where there is no log of one the Parquet files below it."""
    lazy = _delta(address, options)
    try:
        lazy.collect_schema()
    except Exception as error:  # Delta's errors have no class of their own for a folder without a log
        if "No files in log segment" not in str(error):
            raise
        return _parquet(f"{address.rstrip('/')}/**/*.parquet", options)
    return lazy


def _delta(address: str, options: dict[str, str] | None) -> pl.LazyFrame:
    return pl.scan_delta(address, storage_options=options)
