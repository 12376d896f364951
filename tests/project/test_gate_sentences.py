"""Gates as sentences: read, written back, and refused with the likely word."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everloop.project import (
    GATE_EXAMPLES,
    BeatsGate,
    DriftGate,
    FreshGate,
    MeasureGate,
    MetricGate,
    NotWorseGate,
    OwnGate,
    PredictedGate,
    StableGate,
    TargetGate,
    UsualGate,
    parse_gate,
    parse_model,
)

MODEL = """\
task: {task}
data: {{source: x.csv, time: t, target: y, segments: [country]}}
objective: {objective}
gates:
{gates}
"""


def mistakes(*gates: str, task: str = "classification", folder: Path | None = None) -> tuple[str, ...]:
    listed = "\n".join(f"  - {gate}" for gate in gates)
    objective = "recall" if task == "classification" else "mae"
    text = MODEL.format(task=task, objective=objective, gates=listed)
    return parse_model(text, name="fraud", folder=folder)[1]


@pytest.mark.parametrize("text", GATE_EXAMPLES)
def test_every_form_is_written_as_it_is_read(text: str) -> None:
    gate = parse_gate(text)
    assert str(gate) == text
    assert parse_gate(gate) is gate
    assert parse_gate(f"{text.removesuffix(', undecided passes')}, undecided passes").undecided_passes


@pytest.mark.parametrize(
    ("text", "gate"),
    [
        ("rows within 50% of usual", UsualGate(what="rows", within=0.5)),
        ("target mean within 0.2 of usual", UsualGate(what="target mean", within=0.2)),
        ("target rate between 0.1% and 2%", TargetGate(what="target rate", low=0.001, high=0.02)),
        ("newest row within 1d 12h", FreshGate(within=timedelta(hours=36))),
        ("duplicates<1%", MeasureGate(measure="duplicates", op="<", bound=0.01)),
        ("drift of amount, country ≤ 0.2", DriftGate(op="<=", bound=0.2, columns=("amount", "country"))),
        ("rows >= 5_000", MeasureGate(measure="rows", op=">=", bound=5000)),
        ("latency <= 0.05ms per row", MeasureGate(measure="latency", op="<=", bound=50.0)),
        ("latency <= 50 µs", MeasureGate(measure="latency", op="<=", bound=50.0)),
        ("bundle <= 512KiB", MeasureGate(measure="bundle", op="<=", bound=524288)),
        ("calibration error <= 2%", MetricGate(metric="calibration_error", op="<=", bound=0.02)),
        ("calibration_error <= 0.02", MetricGate(metric="calibration_error", op="<=", bound=0.02)),
        ("predicted rate within 20% of actual", PredictedGate(what="rate", within=0.2)),
        ("beats champion at 90%", BeatsGate(reference="champion", at_level=0.9)),
        ("f1 not worse than champion by 1%", NotWorseGate(margin=0.01, metric="f1")),
        ("recall stable within 0.02 over 3 seeds", StableGate(within=0.02, seeds=3, metric="recall")),
        ("my_gates.ask before training", OwnGate(file="my_gates", function="ask", before=True)),
        (
            "recall >= 0.75 at 95% for each card type with 1,000 rows (undecided passes)",
            MetricGate(
                metric="recall", op=">=", bound=0.75, at_level=0.95, segment="card type", least_rows=1000,
                undecided_passes=True,
            ),
        ),
        ("recall >= 0.75, undecided refuses", MetricGate(metric="recall", op=">=", bound=0.75)),
    ],
)  # fmt: skip
def test_what_is_said_is_what_is_asked(text: str, gate: object) -> None:
    assert parse_gate(text) == gate


@pytest.mark.parametrize("text", GATE_EXAMPLES)
def test_which_are_asked_before_training(text: str) -> None:
    of_rows = ("rows", "newest", "target", "duplicates", "drift", "contract")
    assert parse_gate(text).before_training == (text.startswith(of_rows) or text.endswith("before training"))


HEADS = [text for text in GATE_EXAMPLES if " for each" not in text and " at " not in text and "undecided" not in text]
ENDS = st.tuples(
    st.sampled_from(HEADS),
    st.sampled_from(["", " at 90%", " at 99.5%"]),
    st.sampled_from(["", " for each country", " for each card type with 1,200 rows"]),
    st.sampled_from(["", ", undecided passes"]),
)


@given(ENDS)
def test_whatever_is_read_reads_back(parts: tuple[str, str, str, str]) -> None:
    try:
        gate = parse_gate("".join(parts))
    except ValueError as error:
        told = str(error)
    else:
        told, again = "; leave it out", parse_gate(str(gate))
        assert again == gate
    assert "; leave it out" in told or "is not a duration" in told


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("rows within 50 of usual", "which is 5000%; did you mean 50%"),
        ("rows more than 50% of usual", "did you mean 'rows within 50% of usual'"),
        ("rows <= 5000", "asks for few rows; write 'rows >= 5000'"),
        ("rows >= 5k", "has '5k' rows"),
        ("duplicate < 1%", "did you mean 'duplicates'"),
        ("duplicates > 1%", "asks for much of what there should be little of"),
        ("duplicates < 5", "did you mean 5"),
        ("drift > 0.2", "write '<= 0.2'"),
        ("drift by ks < 2", "above 0, up to 1"),
        ("freshness < 3d", "did you mean 'newest row within 3d'"),
        ("newest row within 3 days", "is not a duration"),
        ("target rate between 2% and 0.1%", "the lower end is first"),
        ("target rate between 1 and 20", "a rate lies from 0% to 100%"),
        ("latency <= 50", "no unit; a row takes microseconds: 'latency <= 50us per row'"),
        ("latency <= 50 ns", "the unit 'ns'"),
        ("bundle <= 5", "'bundle <= 5MB'"),
        ("calibration <= 0.02", "did you mean 'calibration error <= 0.02'"),
        ("calibration error >= 0.02", "write '<= 0.02'"),
        ("coverage >= 80", "did you mean 80%"),
        ("stable over 3 seeds", "did you mean 'stable within 0.02 over 3 seeds'"),
        ("stable within 0.02 over 1 seed", "2 to 20 seeds"),
        ("drift < 0.2 for each country", "takes no 'for each country'; leave it out"),
        ("bundle <= 5MB at 95%", "takes no 'at 95%'; leave it out"),
        ("beats yardstick at 95%", "leave it out"),
        ("recall >= 0.7 for each country with many rows", "has 'many' rows"),
        ("recall >= 0.7, undecided pass", "did you mean 'passes'"),
        ("undecided passes", "put that gate in quotes"),
        ({"contract": "violations < 0.1%"}, "Leave it out: 'contract violations < 0.1%'"),
        ("recal not worse than champion by 0.1", "did you mean 'recall'"),
    ],
)
def test_a_bad_sentence_gets_one_message_with_the_likely_one(text: object, sentence: str) -> None:
    with pytest.raises(ValueError, match=re.escape(sentence)):
        parse_gate(text)


@pytest.mark.parametrize(
    ("task", "gate", "sentence"),
    [
        ("regression", "target rate within 50% of usual", "did you mean 'target mean within 50% of usual'?"),
        ("regression", "predicted rate within 5% of actual", "did you mean 'predicted mean within 5% of actual'?"),
        ("classification", "predicted mean within 5% of actual", "'predicted rate within 5% of actual'?"),
        ("classification", "coverage >= 0.75", "a probability has no quantiles"),
        ("classification", "mae not worse than champion by 1", "mae is a metric of regression"),
        ("regression", "recall stable within 0.1 over 3 seeds", "recall is a metric of classification"),
        ("classification", "beats champion for each contry", "did you mean 'country'?"),
        ("classification", "calibration error <= 0.1 for each town", "is not one of data.segments"),
    ],
)
def test_a_gate_in_the_words_of_another_task_or_segment_is_told(task: str, gate: str, sentence: str) -> None:
    (mistake,) = mistakes(gate, task=task)
    assert "gates[0]: " in mistake
    assert sentence in mistake


def test_a_gate_of_quantiles_needs_some() -> None:
    text = MODEL.format(task="regression", objective="mae", gates="  - coverage >= 0.75") + "quantiles: []\n"
    (mistake,) = parse_model(text, name="eta")[1]
    assert "`quantiles: []` gives none" in mistake


def test_a_gate_of_the_projects_own_is_looked_for_and_not_run(tmp_path: Path) -> None:
    folder = tmp_path / "fraud"
    folder.mkdir()
    (folder / "gates.py").write_text("raise RuntimeError('run')\n\ndef check_countries(evidence): ...\n")
    assert mistakes("gates.check_countries", folder=folder) == ()
    found = mistakes("gates.check_contries", "gate.check_countries", "rules.all", "recall.all", folder=folder)
    for sentence, mistake in zip(
        (
            "fraud/gates.py has no function 'check_contries'; did you mean 'check_countries'?",
            "there is no such file; did you mean 'gates.check_countries'?",
            "'rules.all' is a function of fraud/rules.py, and there is no such file; write it there",
            "a metric is held against a bound, such as 'recall >= 0.75'",
        ),
        found,
        strict=True,
    ):
        assert sentence in mistake
    (folder / "gates.py").write_text("def check(:\n")
    (mistake,) = mistakes("gates.check", folder=folder)
    assert "which cannot be read: fraud/gates.py:1: " in mistake
