"""Gates of the project's own: a function in a file beside model.yaml, asked in a process that can be stopped.

    from everloop import Verdict

    def enough_countries(evidence):
        count = evidence.rows["country"].n_unique()
        return Verdict.passed(f"{count} countries") if count >= 3 else Verdict.failed(f"only {count} countries")

What it says is the verdict, word for word. A function that raises, returns something else or takes too long has not
said anything: that is undecided, and refuses.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from everloop.child_process import ChildProcess
from everloop.clock import Clock
from everloop.ids import content_id
from everloop.production.own_evidence import OwnGateEvidence, write_own_evidence
from everloop.project import OwnGate, own_gate_path
from everloop.stats import Verdict

__all__ = ["OWN_GATE_LIMIT_S", "ask_own_gates"]

OWN_GATE_LIMIT_S: Final = 300.0


def ask_own_gates(
    gates: Sequence[OwnGate],
    evidence: OwnGateEvidence,
    *,
    folder: Path,
    scratch: Path,
    clock: Clock,
    stopped: Callable[[], bool],
    limit_s: float = OWN_GATE_LIMIT_S,
) -> dict[str, Verdict]:
    """Gate as written → its verdict, each asked in a process of its own.

    folder: the model's. scratch: an existing folder for what a gate is given, removed from it afterwards. limit_s: of
    each gate. Every verdict's evidence has the file and its sha256.
    """
    if not gates:
        return {}
    with tempfile.TemporaryDirectory(prefix=".everloop-gates-", dir=scratch) as name:
        given = Path(name)
        write_own_evidence(evidence, given)
        return {str(gate): _ask(gate, folder, given, clock, stopped, limit_s) for gate in gates}


def _ask(
    gate: OwnGate, folder: Path, given: Path, clock: Clock, stopped: Callable[[], bool], limit_s: float
) -> Verdict:
    path = own_gate_path(gate, folder)
    shown = f"{folder.name}/{path.name}"
    try:
        content = content_id(path.read_bytes())
    except OSError as error:
        return Verdict.undecided(f"{gate.words} was not asked: {shown} cannot be read: {error.strerror}", file=shown)
    said = _answer(gate, path, shown, given, clock, stopped, limit_s)
    if "verdict" not in said:
        return Verdict.undecided(f"{gate.words} has no verdict: {said['mistake']}", file=shown, sha256=content)
    verdict = Verdict.from_dict(said["verdict"])
    return replace(verdict, evidence={**verdict.evidence, "file": shown, "sha256": content})


def _answer(
    gate: OwnGate, path: Path, shown: str, given: Path, clock: Clock, stopped: Callable[[], bool], limit_s: float
) -> dict[str, Any]:
    """What the child left, or the mistake that kept it from leaving anything."""
    answer, deadline_s = given / "verdict.json", clock.monotonic_s() + limit_s
    answer.unlink(missing_ok=True)
    words = [str(given), str(path.resolve()), shown, gate.function]
    with closing(ChildProcess("everloop.production.own_gate_child", words)) as child:
        while not child.ends_soon():
            if clock.monotonic_s() >= deadline_s:
                return {"mistake": f"it took longer than {limit_s:g} s and was stopped"}
            if stopped():
                return {"mistake": "the run was stopped"}
        try:
            said: dict[str, Any] = json.loads(answer.read_bytes())
        except (OSError, ValueError):
            last = child.last_words()
            return {"mistake": f"its process ended with code {child.code}{': ' if last else ''}{''.join(last)}"}
    return said
