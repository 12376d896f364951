"""The verdicts of a run as people and machines read them: report.md and gates.json in the run's folder."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from everloop.production.gates import GateVerdict

__all__ = ["gate_records", "gates_json", "report_text"]


def gate_records(verdicts: Sequence[GateVerdict]) -> list[dict[str, Any]]:
    """Each verdict as a run's facts keep it: {name, outcome, sentence, evidence}."""
    return [{"name": one.gate, **one.verdict.to_dict()} for one in verdicts]


def gates_json(run_id: str, state: Mapping[str, Any], verdicts: Sequence[GateVerdict]) -> bytes:
    """Every verdict with its evidence; what a run that was refused before training does not have is null."""
    evidence = {
        "run": run_id,
        "bundle": state.get("bundle"),
        "gates": gate_records(verdicts),
        "metrics": state.get("metrics"),
    }
    return json.dumps(evidence, indent=2).encode()


def report_text(
    run_id: str, state: Mapping[str, Any], verdicts: Sequence[GateVerdict], *, unasked: Sequence[str] = ()
) -> str:
    """The report: what was trained on, the gates as a table, and the metrics where there are some.

    unasked: gates of a model that there is not, as the rows were refused.
    """
    data = state["data"]
    # of a regression every row counts as a positive does
    positives = "" if data["positives"] == data["rows"] else f" with {data['positives']:,} positives"
    lines = [
        f"# {state['model']} run {run_id}",
        "",
        f"Spec {state['spec']}, {data['rows']:,} rows{positives}, {data['start']} to {data['end']}.",
        "",
        "| gate | verdict | sentence |",
        "|---|---|---|",
        *(
            f"| {_cell(one.gate)} | {one.verdict.outcome}{_lets(one)} | {_cell(one.verdict.sentence)} |"
            for one in verdicts
        ),
    ]
    if state.get("metrics"):
        lines += ["", "| metric | value | 95 % interval |", "|---|---|---|"]
        lines += [
            f"| {name} | {value['point']:.4f} | {value['low']:.4f} to {value['high']:.4f} |"
            for name, value in state["metrics"].items()
        ]
    else:
        lines += ["", "Nothing was fitted: the rows were refused before training."]
        lines += ["", "Not asked, for want of a model:", "", *(f"- {text}" for text in unasked)] if unasked else []
    return "\n".join(lines) + "\n"


def _lets(one: GateVerdict) -> str:
    """What an undecided answer did."""
    return "" if not one.verdict.is_undecided else " (refuses)" if one.refuses else " (passes)"


def _cell(text: str) -> str:
    """The text in one cell of a table: a bar or a line's end in it would end the cell."""
    return " ".join(text.split()).replace("|", "\\|")
