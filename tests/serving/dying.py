"""An endpoint, or a mover, that dies at a point: `dying.py endpoint|mover FOLDER POINT ARRIVAL [PORT]`."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from threading import Event

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from dies import dies_at
from everloop import serving
from everloop.project import Project
from everloop.traffic import Mover, Spool, traffic_root

if __name__ == "__main__":
    what, folder, point, arrival, *rest = sys.argv[1:]
    project = Project.find(Path(folder))
    crash = dies_at(point, int(arrival))
    if what == "endpoint":
        Spool.open = partial(Spool.open, crash=crash)  # type: ignore[method-assign]
        serving.run(project, port=int(rest[0]) if rest else 0)
    else:
        with Mover.open(
            spool=project.paths.spool, traffic=traffic_root(project), clock=project.clock(), crash=crash
        ) as mover:
            mover.run(Event(), poll_s=0.05)
