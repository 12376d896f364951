"""Whether a gate of the project's own is there: its file is read as text and never run."""

from __future__ import annotations

import ast
import difflib
from pathlib import Path

from everloop.project.gates import OwnGate
from everloop.project.metrics import METRICS, did_you_mean

__all__ = ["own_gate_mistake", "own_gate_path"]

_NEAR = 0.75


def own_gate_path(gate: OwnGate, folder: Path) -> Path:
    """The file of a gate in the model's `folder`."""
    return folder / f"{gate.file}.py"


def own_gate_mistake(gate: OwnGate, folder: Path) -> str | None:
    """What keeps the gate from being asked, with the likely word; None where its function is there."""
    path = own_gate_path(gate, folder)
    shown = f"{folder.name}/{path.name}"
    if not path.is_file():
        files = [found.stem for found in folder.glob("*.py")]
        if gate.file in METRICS:
            return f"'{gate}' is not a gate; a metric is held against a bound, such as '{gate.file} >= 0.75'"
        near = difflib.get_close_matches(gate.file, files, n=1, cutoff=_NEAR)
        hint = f"; did you mean '{near[0]}.{gate.function}'?" if near else "; write it there, or leave the gate out"
        return f"'{gate}' is a function of {shown}, and there is no such file{hint}"
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError) as error:
        line = f":{error.lineno}" if isinstance(error, SyntaxError) else ""
        return f"'{gate}' is a function of {shown}, which cannot be read: {shown}{line}: {error}"
    names = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    if gate.function in names:
        return None
    hint = did_you_mean(gate.function, names) or (f" (it has {', '.join(names)})" if names else "; it has none")
    return f"'{gate}': {shown} has no function {gate.function!r}{hint}"
