"""The page of gates shows every form there is, each a gate, and functions that answer when they are asked."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from everloop.clock import SystemClock
from everloop.production.own_evidence import OwnGateEvidence
from everloop.production.own_gates import ask_own_gates
from everloop.project import GATE_EXAMPLES, OwnGate, parse_gate

PAGE = (Path(__file__).parents[2] / "docs" / "gates.md").read_text()
FORMS = re.findall(r"^\| `(.+?)` \|", PAGE, re.M)
(LISTED,) = re.findall(r"```yaml\ngates:\n(.*?)```", PAGE, re.S)
(SHOWN,) = re.findall(r"```python\n(.*?)```", PAGE, re.S)


@pytest.mark.parametrize("text", [*FORMS, *re.findall(r"^  - (.+)$", LISTED, re.M)])
def test_what_the_page_shows_is_a_gate(text: str) -> None:
    assert str(parse_gate(parse_gate(text))) in (text, str(parse_gate(text)))


def test_every_form_is_on_the_page() -> None:
    for text in GATE_EXAMPLES:
        plain = text.removesuffix(", undecided passes").split(" for each ")[0].split(" before training")[0]
        shape = re.sub(r"\d[\d,.e-]*", "N", plain)
        shown = re.sub(r"\d[\d,.e-]*", "N", PAGE)
        assert shape in shown or isinstance(parse_gate(text), OwnGate), text


def test_the_functions_on_the_page_answer(tmp_path: Path) -> None:
    folder = tmp_path / "fraud"
    folder.mkdir()
    (folder / "gates.py").write_text(SHOWN)
    names = re.findall(r"^def (\w+)", SHOWN, re.M)
    outcomes = {}
    for case, countries, flagged in (("good", ["NO", "SE"], 2), ("bad", ["NO", "NO"], 40)):
        given = OwnGateEvidence(
            model="fraud",
            as_of=datetime(2024, 4, 1, tzinfo=UTC),
            rows=pl.DataFrame({"country": countries * 50}),
            y=np.zeros(100),
            weight=np.ones(100),
            score=np.zeros(100, dtype=np.float32),
            decision=np.arange(100) < flagged,
            threshold=0.5,
        )
        found = ask_own_gates(
            [OwnGate(file="gates", function=name) for name in names],
            given,
            folder=folder,
            scratch=tmp_path,
            clock=SystemClock(),
            stopped=lambda: False,
        )
        outcomes[case] = {str(name): (verdict.outcome, verdict.sentence) for name, verdict in found.items()}
    assert outcomes["good"] == {
        "gates.enough_countries": ("passed", "every country is among the judged rows"),
        "gates.few_alarms": ("passed", "2.0% of the payments would be stopped"),
    }
    assert outcomes["bad"] == {
        "gates.enough_countries": ("failed", "no rows of SE"),
        "gates.few_alarms": ("failed", "40.0% of the payments would be stopped"),
    }
