"""model.yaml: everything in it becomes a type, every mistake in it a line."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from everloop.errors import NotFound
from everloop.project import (
    Acts,
    Budget,
    NotWorseGate,
    Spec,
    Weight,
    explain,
    explain_records,
    parse_document,
    parse_model,
    write_spec,
)

EXAMPLE = """\
task: classification
timezone: UTC
data:
  source: s3://payments/scored/*.parquet
  time: {column: paid_at}            # or {column: Time, unit: s, origin: 2013-09-01T00:00Z}
  id: payment_id                     # the caller's own; a retry with the same id counts once
  entity: card_id                    # sticky side of a rollout; key of `traffic forget`
  target: fraud
  segments: [country, channel]
outcome:
  delay: 30d                         # nothing younger is trained on or judged
  absent: negative                   # silence means legitimate (or: unknown)
  acts: {column: action, blocked: [declined], holdout: 0.5%}   # an answer that censors its own outcome
objective: recall at precision >= 0.80
search: {learners: [logistic, random_forest, xgboost, lightgbm, neural_network], trials: 60}
train: {window: 90d, holdout: 10%, schedule: "0 2 * * SUN"}
gates:
  - accuracy >= 0.90
  - beats yardstick                  # a constant has 0.998 accuracy here
  - recall >= 0.75                   # the point estimate; "at 95%" asks it of the interval's lower end
  - not worse than champion by 0.01
  - recall >= 0.60 for each country
rollout:
  steps: [shadow 1d, 1%, 10%, 50%, 100%]
  stop if: [errors, latency p99 > 20ms, decision share moves > 10%]
monitor:
  every: 1d
  false_alarms: 1 per 30d            # over all columns, checks and windows together
  checks: [schema, drift, score, recall]
on_alert: propose                    # notify | propose | rollout
"""
SHORT = "data: {source: a.csv, time: t, target: y}\nobjective: f1\n"


def read(text):
    model, mistakes = parse_model(text, name="fraud")
    assert mistakes == ()
    return model


def mistakes_of(text):
    model, mistakes = parse_model(text, name="fraud")
    assert model is None
    return list(mistakes)


def test_the_example_of_the_design_reads_entirely():
    model = read(EXAMPLE)
    assert model.data.time.column == "paid_at"
    assert model.data.segments == ("country", "channel")
    assert model.outcome.delay == timedelta(days=30)
    assert model.outcome.acts == Acts(column="action", blocked=("declined",), holdout=0.005)
    assert str(model.objective) == "recall at precision >= 0.80"
    assert model.search.trials == 60
    assert model.train.holdout == 0.1
    assert model.train.schedule == "0 2 * * SUN"
    assert model.gates[3] == NotWorseGate(margin=0.01)
    assert [str(step) for step in model.rollout.steps] == ["shadow 1d", "1%", "10%", "50%", "100%"]
    assert [rule.kind for rule in model.rollout.stop_if] == ["errors", "latency", "decision_share"]
    assert model.monitor.false_alarms == Budget(count=1, per=timedelta(days=30))
    assert model.on_alert == "propose"


def test_defaults():
    model = read(SHORT)
    assert model.outcome.delay == timedelta(0)
    assert model.search.learners == ("logistic", "random_forest", "xgboost", "lightgbm", "neural_network")
    assert [str(gate) for gate in model.gates] == ["beats yardstick"]
    assert (model.positive_label, model.negative_label) == ("fraud", "not_fraud")
    assert model.promotes_if(answers_alert=True) == "not_worse"
    assert model.promotes_if(answers_alert=False) == "better"
    assert read(SHORT + "promote: better\n").promotes_if(answers_alert=True) == "better"


def test_a_search_may_ask_for_calibration():
    assert read(SHORT).search.calibration == "auto"
    for said in ("none", "logistic", "isotonic", "auto"):
        assert read(SHORT + f"search: {{calibration: {said}}}\n").search.calibration == said
    (mistake,) = mistakes_of(SHORT + "search: {calibration: isotonc}\n")
    assert mistake.endswith(
        "search.calibration: 'isotonc' is not one of none, logistic, isotonic, auto; did you mean 'isotonic'?"
    )


def test_names_that_are_not_ours_are_left_to_learners_py(tmp_path):
    text = SHORT + "search: {learners: [xgboost, extra_trees]}\n"
    folder = tmp_path / "fraud"
    folder.mkdir()
    (mistake,) = parse_model(text, name="fraud", folder=folder)[1]
    assert "search.learners[1]: 'extra_trees' is not a learner" in mistake
    (folder / "learners.py").write_text("raise SystemExit('reading a model.yaml runs nothing')\n")
    model, mistakes = parse_model(text, name="fraud", folder=folder)
    assert mistakes == ()
    assert model is not None
    assert model.search.learners == ("xgboost", "extra_trees")
    assert model.own_learners == folder / "learners.py"
    assert read(SHORT).own_learners is None
    for wrong in ("extra trees", "3", "[]"):
        (mistake,) = parse_model(text.replace("extra_trees", wrong), name="fraud", folder=folder)[1]
        assert "search.learners[1]" in mistake


def test_a_least_gain_is_a_number_or_a_share():
    assert read(SHORT).rollout.least_gain == 0
    for said in ("0.02", "2%"):
        assert read(SHORT + f"rollout: {{least gain: {said}}}\n").rollout.least_gain == 0.02
    for wrong in ("much", "-0.1", "2", "nan"):
        (mistake,) = mistakes_of(SHORT + f"rollout: {{least gain: {wrong}}}\n")
        assert "rollout.least gain" in mistake
        assert "is not a gain" in mistake


def test_paths():
    model = read(SHORT)
    assert model.contract_path == Path("fraud/contract.yaml")
    assert model.features_path == Path("fraud/features.py")
    assert model.spec_path(3) == Path("fraud/specs/fraud-s3.yaml")
    assert model.notebooks == Path("fraud/notebooks")


def test_every_mistake_at_once_with_its_line():
    wrong = (
        EXAMPLE.replace("100%]", "140%]")
        .replace("entity:", "entty:")
        .replace("on_alert: propose", "on_alert: propse")
        .replace("xgboost", "xgbost")
        .replace("accuracy >=", "acuracy >=")
        .replace("trials: 60", "trials: many")
        .replace("stop if", "stop_if")
        .replace("timezone: UTC", "timezone: Mars")
        .replace("delay: 30d", "delay: 30")
        .replace("1 per 30d", "none")
    )
    found = mistakes_of(wrong)
    assert "fraud/model.yaml:24: rollout.steps[4]: 140% is not a share (0 < step ≤ 100 %)" in found
    for line, words in [
        (2, "timezone: 'Mars' is not a time zone"),
        (7, "data.entty: unknown key; did you mean 'entity'?"),
        (11, "outcome.delay: 30 is not a duration"),
        (15, "search.learners[2]: 'xgbost' is not a learner; did you mean 'xgboost'?"),
        (15, "search.trials: 'many' is not allowed: the value is a whole number"),
        (18, "gates[0]: 'acuracy' is not a metric; did you mean 'accuracy'?"),
        (25, "rollout.stop_if: unknown key; did you mean 'stop if'?"),
        (28, "monitor.false_alarms: 'none' is not a budget"),
        (30, "on_alert: 'propse' is not one of notify, propose, rollout; did you mean 'propose'?"),
    ]:
        assert any(mistake.startswith(f"fraud/model.yaml:{line}: {words}") for mistake in found), words
    assert len(found) == 10
    assert found == sorted(found, key=lambda mistake: int(mistake.split(":")[1]))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (("target: fraud", "target: card_id"), "8: data.target: the column 'card_id' already is the entity"),
        (
            ("[country, channel]", "[country, fraud]"),
            "9: data.segments[1]: the column 'fraud' is the target, no segment",
        ),
        (("column: action", "column: fraud"), "13: outcome.acts.column: the column 'fraud' already is the target"),
        (
            ("each country", "each contry"),
            "22: gates[4]: 'contry' is not one of data.segments; did you mean 'country'?",
        ),
        (("10%, 50%", "50%, 10%"), "24: rollout.steps[3]: 10% does not come after 50%: steps rise"),
        (("score, recall]", "score, mape]"), "29: monitor.checks[3]: mape is a metric of regression"),
        (("column: paid_at", "column: paid_at, origin: 2013-09-01"), "5: data.time.origin: an origin needs the unit"),
        (("  target: fraud\n", ""), "3: data.target: is missing and has no default"),
        (("task: classification", "task: ranking"), "1: task: 'ranking' is not one of classification, regression"),
        (("holdout: 10%", "holdout: 60%"), "16: train.holdout: 60% held out leaves less than half"),
        (("timezone: UTC", "timezone: UTC\ntimezone: UTC"), "3: timezone: the key stands twice, first in line 2"),
        (("every: 1d", "every: 0d"), "27: monitor.every: 0d is not a span above 0"),
        (("  delay: 30d", "  delay: [30d]"), "11: outcome.delay: ['30d'] is not a duration"),
        (("data:\n", "data: &d\n"), None),
    ],
)
def test_one_mistake(change, sentence):
    text = EXAMPLE.replace(*change)
    assert text != EXAMPLE
    if sentence is None:
        read(text)
    else:
        (only,) = mistakes_of(text)
        assert only.startswith(f"fraud/model.yaml:{sentence}"), only


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "data: is missing"),
        ("- a\n", "is a mapping"),
        ("a: [1\n", "not YAML"),
        ("a: &x {b: 1}\nc: *x\n", "aliases"),
        ("a: !!python/object:os.system {}\n", "unknown key"),
        ("a: !thing 5\n", "the tag !thing is not read"),
        ("? [a]\n: 5\n", "a key is one word"),
        ("a: \x01\n", "not YAML"),
        ("[" * 400, "not YAML"),
    ],
)
def test_what_is_hardly_yaml_is_told_and_not_raised(text, words):
    assert any(words in mistake for mistake in mistakes_of(text))


def test_weights():
    assert read(SHORT.replace("target: y", "target: y, weight: w")).data.weight == Weight(column="w")
    weighted = read(SHORT.replace("target: y", "target: y, weight: {negative: 59.23}"))
    assert weighted.data.weight == Weight(negative=59.23)
    for wrong in ("{}", "{negative: 0}", "{column: w, negative: 2}"):
        assert mistakes_of(SHORT.replace("target: y", f"target: y, weight: {wrong}"))


def test_an_origin_is_read_in_the_time_zone():
    def origin(value):
        time = "{column: t, unit: s, origin: " + value + "}"
        return parse_model("timezone: Europe/Amsterdam\n" + SHORT.replace("time: t", f"time: {time}"))

    assert origin("2013-09-01T00:00Z")[0].data.time.origin == datetime(2013, 9, 1, tzinfo=UTC)
    assert origin("2013-09-01")[0].data.time.origin == datetime(2013, 8, 31, 22, tzinfo=UTC)
    assert "is there twice" in origin("2026-10-25T02:30")[1][0]
    assert "is not a time" in origin("soon")[1][0]


def test_columns_may_be_called_what_yaml_reads_as_something_else():
    model = read("data: {source: a.csv, time: on, target: yes, entity: no, id: 12:30}\nobjective: f1\n")
    assert (model.data.time.column, model.data.target, model.data.entity, model.data.id) == ("on", "yes", "no", "12:30")


def test_explain_reads_back_and_shows_the_defaults():
    _, model_part = explain().split("---\n")
    explained = read(model_part)
    short = read(SHORT)
    for key in ("timezone", "outcome", "search", "train", "gates", "rollout", "monitor", "on_alert", "promote"):
        assert getattr(explained, key) == getattr(short, key), key
    settings = parse_document(explain().split("---\n")[0], name="x")
    assert settings.value["endpoint"]["port"] == 8080
    assert max(len(line) for line in explain().splitlines()) <= 80
    records = explain_records()
    assert {"key": "endpoint.port", "value": "8080", "about": "0 takes a free one and prints it"} in records[
        "everloop.yaml"
    ]
    assert all(record["about"] for file in records.values() for record in file)
    assert all(
        f"{record['key'].split('.')[-1]}: " in explain() + " "
        for file in records.values()
        for record in file
        if record["value"]
    )


def test_specs_of_a_model(tmp_path):
    model, _ = parse_model(SHORT, name="fraud", folder=tmp_path / "fraud")
    assert model.specs() == []
    assert model.next_spec_number() == 1
    with pytest.raises(NotFound, match="'everloop search' writes the first"):
        model.spec("s1")
    for number in (1, 2, 10):
        spec = Spec.new(name=f"fraud-s{number}", objective="f1", learner="xgboost")
        write_spec(model.spec_path(number), spec)
    assert [spec.number for spec in model.specs()] == [1, 2, 10]
    assert model.next_spec_number() == 11
    assert model.spec("fraud-s2") == model.spec("s2") == model.spec(2)
    with pytest.raises(NotFound, match="the newest is fraud-s10"):
        model.spec("s7")
