"""The mover's process: `python -m everloop.control.mover_process --project DIR --parent PID`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from everloop.control.stopping import told_to_stop
from everloop.errors import EverloopError

if TYPE_CHECKING:
    from everloop.project import Project
    from everloop.traffic import Stop

__all__ = ["main", "move"]

_POLL_S = 0.5


def move(project: Project, stop: Stop) -> None:
    """Take what the endpoint recorded to the traffic log, until told to stop; then once more.

    Raises AlreadyRunning where another process does.
    """
    from everloop.traffic import Mover, traffic_root

    with Mover.open(
        spool=project.paths.spool,
        traffic=traffic_root(project),
        clock=project.clock(),
        durability=project.settings.endpoint.durability,
    ) as mover:
        mover.run(stop, poll_s=_POLL_S)


def main() -> int:
    """Move until SIGTERM, SIGINT or the end of the parent; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m everloop.control.mover_process")
    parser.add_argument("--project", type=Path, default=Path())
    parser.add_argument("--parent", type=int)
    given = parser.parse_args()

    from everloop.project import Project

    try:
        with told_to_stop(parent=given.parent) as stop:
            move(Project.find(given.project), stop)
    except EverloopError as error:
        sys.stderr.write(f"the mover: {error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
