"""The sentences of model.yaml: read, refused in a sentence, written back."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everloop.project import (
    BeatsGate,
    Budget,
    Condition,
    MetricGate,
    NotWorseGate,
    Objective,
    Step,
    StopRule,
    format_duration,
    format_share,
    localise,
    parse_duration,
    parse_gate,
    parse_share,
    parse_step,
    parse_stop_rule,
)

DAY = timedelta(days=1)


@given(st.integers(0, 10**13))
def test_a_duration_reads_back(milliseconds):
    span = timedelta(milliseconds=milliseconds)
    assert parse_duration(format_duration(span)) == span


@given(st.integers(1, 10**6))
def test_a_share_reads_back(millionths):
    assert parse_share(format_share(millionths / 10**6)) == pytest.approx(millionths / 10**6, abs=1e-12)


@pytest.mark.parametrize(
    ("text", "span"),
    [("30d", 30 * DAY), ("1d 12h", 1.5 * DAY), ("10y", 3650 * DAY), ("20ms", timedelta(milliseconds=20)), (0, 0 * DAY)],
)
def test_durations(text, span):
    assert parse_duration(text) == span


@pytest.mark.parametrize("text", ["", "30", 30, "d", "30 days and", "-1d", "1d,2h", True, None, "99999999999y"])
def test_what_is_no_duration(text):
    with pytest.raises(ValueError, match=r"duration|calendar"):
        parse_duration(text)


@pytest.mark.parametrize(("value", "fraction"), [("10%", 0.1), ("0.5%", 0.005), (0.1, 0.1), (1, 1.0), ("100%", 1.0)])
def test_shares(value, fraction):
    assert parse_share(value) == fraction


@pytest.mark.parametrize("value", ["140%", 0, "0%", 1.4, "ten", True, None, -0.1, "10", float("nan")])
def test_what_is_no_share(value):
    with pytest.raises(ValueError, match="share"):
        parse_share(value)


def test_a_percentage_without_its_sign_is_guessed():
    with pytest.raises(ValueError, match="did you mean 10%"):
        parse_share(10)


def test_objectives():
    objective = Objective.parse("recall at precision >= 0.80")
    assert objective.constraint == ("precision", ">=", 0.8)
    assert objective.maximise
    assert Objective.parse("cost(fn=100, fp=1)").costs == {"fn": 100.0, "fp": 1.0}
    assert not Objective.parse("cost(fn=100, fp=1)").maximise
    assert Objective.parse("ndcg@10").metric == "ndcg@10"


@pytest.mark.parametrize(
    "text",
    [
        "recall at precision >= 0.80",
        "cost(fn=100, fp=1)",
        "average_precision",
        "recall at precision >= 0.825",
        "ndcg@10",
    ],
)
def test_objectives_are_written_as_they_are_read(text):
    assert str(Objective.parse(text)) == text


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("recal at precision >= 0.8", "did you mean 'recall'"),
        ("recall at precison >= 0.8", "did you mean 'precision'"),
        ("recall at precision >= 80", "did you mean 80%"),
        ("cost(fn=1)", "fn and for fp"),
        ("cost(fn=1, fp=2, xx=3)", "prices once each"),
        ("cost", "is not an objective"),
        ("as good as can be", "such as"),
        (7, "is not an objective"),
    ],
)
def test_what_is_no_objective(text, sentence):
    with pytest.raises(ValueError, match="^.*" + sentence.replace("(", r"\(")):
        Objective.parse(text)


@pytest.mark.parametrize(
    ("text", "gate"),
    [
        ("accuracy >= 0.90", MetricGate(metric="accuracy", op=">=", bound=0.9)),
        ("recall >= 0.75 at 95%", MetricGate(metric="recall", op=">=", bound=0.75, at_level=0.95)),
        ("recall >= 0.60 for each country", MetricGate(metric="recall", op=">=", bound=0.6, segment="country")),
        ("log_loss <= 0.05", MetricGate(metric="log_loss", op="<=", bound=0.05)),
        ("beats yardstick", BeatsGate(reference="yardstick")),
        ("beats champion", BeatsGate(reference="champion")),
        ("not worse than champion by 0.01", NotWorseGate(margin=0.01)),
        ("not worse than champion by 0.01 for each country", NotWorseGate(margin=0.01, segment="country")),
    ],
)
def test_gates_are_written_as_they_are_read(text, gate):
    assert parse_gate(text) == gate
    assert str(gate) == text


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("recal >= 0.7", "did you mean 'recall'"),
        ("beats yardstik", "did you mean 'yardstick'"),
        ("recall > = 0.7", "is not a gate"),
        ("recall >= 75", "recall lies from 0 to 1 and is never >= 75; did you mean 75%?"),
        ("recall >= 140% for each country", "recall lies from 0 to 1 and is never >= 140%$"),
        ("brier <= -0.1", "brier lies from 0 to 1"),
        ("not worse than champion by -0.1", "below 0"),
        ("recall >= 0.7 at 5%", "level"),
        ({"recall": 0.7}, "is not a gate"),
    ],
)
def test_what_is_no_gate(text, sentence):
    with pytest.raises(ValueError, match=sentence):
        parse_gate(text)


def test_a_condition_holds_on_its_side_only_and_never_for_nan():
    assert Condition(metric="recall", op=">=", bound=0.7).holds(0.7)
    assert not Condition(metric="recall", op=">", bound=0.7).holds(0.7)
    assert not any(Condition(metric="recall", op=op, bound=0.7).holds(float("nan")) for op in ("<", "<=", ">", ">="))


@pytest.mark.parametrize(
    ("text", "step"),
    [
        ("shadow 1d", Step(kind="shadow", share=0.0, duration=DAY)),
        ("shadow", Step(kind="shadow", share=0.0)),
        ("1%", Step(kind="canary", share=0.01)),
        ("10% 1d", Step(kind="canary", share=0.1, duration=DAY)),
        ("100%", Step(kind="canary", share=1.0)),
    ],
)
def test_steps_are_written_as_they_are_read(text, step):
    assert parse_step(text) == step
    assert str(step) == text


def test_a_step_above_everyone_is_no_share():
    with pytest.raises(ValueError, match=r"^140% is not a share \(0 < step ≤ 100 %\)$"):
        parse_step("140%")


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("errors", StopRule(kind="errors", bound=0.0)),
        ("errors > 1%", StopRule(kind="errors", bound=0.01)),
        ("latency p99 > 20ms", StopRule(kind="latency", bound=20.0, quantile=0.99)),
        ("latency p99.9 > 20ms", StopRule(kind="latency", bound=20.0, quantile=0.999)),
        ("decision share moves > 10%", StopRule(kind="decision_share", bound=0.1)),
        ("decision share moves > 3x", StopRule(kind="decision_share", bound=3.0)),
        ("score shifts > 0.05", StopRule(kind="score_shift", bound=0.05)),
    ],
)
def test_stop_rules_are_written_as_they_are_read(text, rule):
    assert parse_stop_rule(text) == rule
    assert str(rule) == text


@pytest.mark.parametrize(
    "text", ["error", "latency > 20ms", "decision share moves > 0.5x", "errors > 200%", 5, "score shifts > much"]
)
def test_what_is_no_stop_rule(text):
    with pytest.raises(ValueError):
        parse_stop_rule(text)


def test_budgets():
    assert Budget.parse("1 per 10y") == Budget(count=1, per=3650 * DAY)
    assert [str(Budget.parse(text)) for text in ("1 per 10y", "2 per 400d")] == ["1 per 10y", "2 per 400d"]
    assert Budget.parse("3 per 30d").per_day == pytest.approx(0.1)
    assert str(Budget.parse("1 per 30d")) == "1 per 30d"
    for wrong in ("0 per 30d", "1 per 0d", "often", 1):
        with pytest.raises(ValueError):
            Budget.parse(wrong)


naive = datetime.fromisoformat


def test_naive_times_are_read_in_the_zone_and_turned_clocks_are_refused():
    assert localise(naive("2026-01-01"), "Europe/Amsterdam") == datetime(2025, 12, 31, 23, tzinfo=UTC)
    assert localise(datetime(2026, 1, 1, tzinfo=UTC), "Europe/Amsterdam") == datetime(2026, 1, 1, tzinfo=UTC)
    with pytest.raises(ValueError, match="is there twice"):
        localise(naive("2026-10-25T02:30"), "Europe/Amsterdam")
    with pytest.raises(ValueError, match="does not exist"):
        localise(naive("2026-03-29T02:30"), "Europe/Amsterdam")
