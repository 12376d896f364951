"""`python -m everloop.integrations.prometheus DIR`: the dashboard and the rules, copied to where they are read."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from everloop.errors import EverloopError
from everloop.integrations.prometheus import copy_files


def main() -> int:
    """Copy, and print where to; the exit code."""
    program = "python -m everloop.integrations.prometheus"
    said = "Copy dashboard.json (Grafana) and rules.yml (Prometheus) into a folder."
    parser = argparse.ArgumentParser(prog=program, description=said)
    parser.add_argument("folder", type=Path, nargs="?", default=Path(), help="where to; here, unless given")
    given = parser.parse_args()
    try:
        written = copy_files(given.folder)
    except EverloopError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    sys.stdout.write("".join(f"{path}\n" for path in written))
    return 0


if __name__ == "__main__":
    sys.exit(main())
