"""The child that asks one gate: `python -m everloop.production.own_gate_child FOLDER FILE SHOWN FUNCTION`.

It runs the file, calls the function with what lies in FOLDER, and leaves `verdict.json` there: the verdict, or why
there is none. It ends when the process that began it does.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

from everloop.data.python_file import mistake_in, run_file
from everloop.errors import ConfigurationError
from everloop.production.own_evidence import read_own_evidence
from everloop.stats import Verdict

__all__ = ["main"]


def main(folder: Path, path: Path, shown: str, function: str) -> None:
    """Ask, and leave the answer."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    answer = folder / "verdict.json"
    answer.with_suffix(".draft").write_text(json.dumps(_asked(folder, path, shown, function)), encoding="utf-8")
    answer.with_suffix(".draft").replace(answer)


def _asked(folder: Path, path: Path, shown: str, function: str) -> dict[str, Any]:
    try:
        module = run_file(path, shown=shown, refused=lambda sentence: ConfigurationError([sentence]))
    except ConfigurationError as error:
        return {"mistake": f"it cannot be run: {error}"}
    gate = getattr(module, function, None)
    if not callable(gate):
        return {"mistake": f"{shown} has no function {function!r} any more"}
    evidence = read_own_evidence(folder)
    try:
        said = gate(evidence)
    except Exception as error:  # anything may be raised by a person's own function; it becomes one sentence
        return {"mistake": f"it raised {mistake_in(path, error, shown=shown)}"}
    if not isinstance(said, Verdict):
        return {
            "mistake": f"it gave {said!r:.60} and no verdict: return Verdict.passed('why'), Verdict.failed('why') or "
            "Verdict.undecided('why'), from everloop import Verdict"
        }
    return {"verdict": said.to_dict()}


def _end_with_parent() -> None:
    """Wait for the parent's end of the pipe to close; then there is no one to answer."""
    os.read(0, 1)
    os._exit(1)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:5])
