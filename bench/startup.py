"""How soon the command answers: `python -m bench.startup --json [--runs N]`.

`everloop --help`, `import everloop` and a bare `python -c pass`, in turn, each in a fresh process: medians of whole
processes, the interpreter's own start counted. Held: 0.3 s for the help, 0.15 s for the import.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

from bench.claims import arguments, told, unkept

LONGEST_S = {"help_s": 0.3, "import_s": 0.15}


def _commands() -> dict[str, list[str]]:
    return {
        "python_s": [sys.executable, "-c", "pass"],
        "import_s": [sys.executable, "-c", "import everloop"],
        "help_s": [str(Path(sys.executable).with_name("everloop")), "--help"],
    }


def _wall_s(command: list[str]) -> float:
    began_s = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began_s


def measured(runs: int) -> dict[str, Any]:
    """Medians of `runs` processes of each kind, in turn, after one of each that fills the page cache."""
    commands = _commands()
    for command in commands.values():
        _wall_s(command)
    walls: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(runs):
        for name, command in commands.items():
            walls[name].append(_wall_s(command))
    found: dict[str, Any] = {name: round(median(values), 3) for name, values in walls.items()}
    for name in ("help", "import"):
        found[f"{name}_ratio"] = round(median(walls[f"{name}_s"]) / median(walls["python_s"]), 1)
    return found | {"fastest": {name: round(min(values), 3) for name, values in walls.items()}}


def main() -> int:
    """Measure, print one JSON document; 1 where a claim was not kept."""
    parser = arguments("startup", __doc__)
    parser.add_argument("--runs", type=int, default=10, help="processes of each kind")
    given = parser.parse_args()
    document: dict[str, Any] = {"bench": "startup", **measured(given.runs)}
    return told(document, unkept(document, at_most=LONGEST_S), line=given.json)


if __name__ == "__main__":
    sys.exit(main())
