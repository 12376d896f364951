"""The endpoint: decode, batch, score, answer, capture. A process of its own: `python -m everloop.serving`.

Importing this room is cheap and sets nothing; `run` starts the endpoint in this process. Beside its answers it keeps
`.everloop/serving/slot-N.json` up to date, one per worker: counts per version, and which routing it serves.
"""

from __future__ import annotations

import os
import sys
from contextlib import closing, nullcontext, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from everloop.project import Project
    from everloop.serving.counters import SlotRecord, VersionCounts
    from everloop.serving.entrance import Entrance

__all__ = ["entrance_of", "read_counters", "read_slots", "run"]


def run(
    project: Project,
    *,
    host: str | None = None,
    port: int | None = None,
    workers: int | None = None,
    fd: int | None = None,
    of: int = 1,
    place: int = 0,
    counts: int | None = None,
    parent: int | None = None,
    listening: Callable[[str], None] | None = None,
) -> None:
    """Answer until SIGTERM or SIGINT.

    listening: called once with `http://HOST:PORT`, or https; None prints it on stdout.
    host, port, workers: as everloop.yaml says unless given; port 0 takes a free one.
    fd: a bound socket to answer on instead, one process `of` several, at its `place`. counts: the descriptor of how
    many connections each has. parent: one whose death ends this one too.
    Raises AlreadyRunning where the port is in use, LedgerUnreadable where the ledger cannot be opened, Refused where
    callers must show a key and there is none, ProjectError where the files of TLS cannot be used.
    """
    # Rows come few at a time: Polars's pool would only take turns with the event loop. Read when Polars loads.
    os.environ.setdefault("POLARS_MAX_THREADS", "1")
    import socket

    from everloop.serving import server
    from everloop.serving import workers as several
    from everloop.serving.connections import ConnectionCounts

    endpoint = project.settings.endpoint
    if fd is None:
        listener = server.bind(endpoint.host if host is None else host, endpoint.port if port is None else port)
    else:
        listener = socket.socket(fileno=fd)
    count = endpoint.workers if workers is None else workers

    def announce(url: str) -> None:
        if listening is not None:
            listening(url)
            return
        sys.stdout.write(f"{url}\n")
        sys.stdout.flush()

    with listener:
        if fd is not None:  # whoever started this one asked whether it may answer, and says where
            with nullcontext() if counts is None else closing(ConnectionCounts(counts, place)) as shared:
                server.serve(project, listener, announce=_tell_parent, parent=parent, processes=of, counts=shared)
            return
        with entrance_of(project, listener, workers=count) as ready:
            if count > 1:
                listener.listen(server.BACKLOG)
                several.supervise(project.root, ready, announce=lambda: announce(ready.url))
            else:
                server.serve(project, listener, announce=lambda: announce(ready.url), parent=parent)


def _tell_parent() -> None:
    """Say to the process that waits for it that this one answers; where it died meanwhile, `parent` ends this one."""
    with suppress(BrokenPipeError):
        os.write(sys.stdout.fileno(), b"ready\n")


def entrance_of(project: Project, listener: socket.socket, *, workers: int) -> AbstractContextManager[Entrance]:
    """How `workers` endpoint processes answer on a socket; see `everloop.serving.entrance`, as to what it raises."""
    from everloop.serving.entrance import entrance_of as found

    return found(project, listener, workers=workers)


def read_counters(project: Project, model: str) -> dict[int, VersionCounts]:
    """What each version of `model` did, all workers together, also those that run no more."""
    from everloop.serving import counters

    return counters.read_counters(project.paths.state, model)


def read_slots(project: Project) -> list[SlotRecord]:
    """Every worker slot's newest record: counts, routing revisions, problems, process id."""
    from everloop.serving import counters

    return counters.read_slots(project.paths.state)
