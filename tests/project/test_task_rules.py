"""task: regression: what it has where nothing is said, and every key that makes no sense for it, in one sentence."""

import pytest

from everloop.project import (
    QUANTILES,
    TASK_LEARNERS,
    Spec,
    parse_model,
    parse_quantiles,
    parse_spec,
    quantile_level,
    spec_text,
)

TRIPS = """\
task: regression
data:
  source: trips.parquet
  time: left_at
  target: minutes
  segments: [borough]
objective: mae
gates: [mae <= 4, mape <= 15%, beats yardstick, not worse than champion by 0.2, mae <= 6 for each borough]
monitor: {checks: [schema, drift, score, mae]}
"""
# of a spec as it was written before there were quantiles
OLD_HASH = "cf5d05ad0eea4faf2f514db08bbde9e693f648fef4d977afbf20f2b1fb076f97"


def mistakes_of(text):
    model, mistakes = parse_model(text, name="eta")
    assert model is None
    return mistakes


def test_a_regression_has_its_own_learners_and_quantiles_where_nothing_is_said():
    model, mistakes = parse_model(TRIPS, name="eta")
    assert mistakes == ()
    assert model.search.learners == TASK_LEARNERS["regression"][1:]
    assert model.quantiles == QUANTILES
    assert str(model.objective) == "mae"
    assert not model.objective.maximise
    assert [str(gate) for gate in model.gates] == [
        "mae <= 4.00",
        "mape <= 0.15",
        "beats yardstick",
        "not worse than champion by 0.20",
        "mae <= 6.00 for each borough",
    ]


def test_quantiles_can_be_other_ones_or_none():
    assert parse_model(TRIPS + "quantiles: [p5, p97.5]\n", name="eta")[0].quantiles == ("p5", "p97.5")
    assert parse_model(TRIPS + "quantiles: []\n", name="eta")[0].quantiles == ()
    assert [quantile_level(name) for name in ("p5", "p50", "p97.5")] == [0.05, 0.5, 0.975]
    assert parse_quantiles("p50") == ("p50",)


@pytest.mark.parametrize("objective", ["mae", "mape", "rmse", "r2", "pinball"])
def test_every_objective_of_a_regression_is_read(objective):
    model, mistakes = parse_model(TRIPS.replace("objective: mae", f"objective: {objective}"), name="eta")
    assert mistakes == ()
    assert model.objective.maximise == (objective == "r2")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (("objective: mae", "objective: recall"), "7: objective: recall is a metric of classification, and this model"),
        (("objective: mae", "objective: cost(fn=2, fp=1)"), "7: objective: cost is a metric of classification"),
        (("objective: mae", "objective: mae at rmse <= 4"), "7: objective: a regression has no threshold"),
        (("mae <= 4,", "recall >= 0.5,"), "8: gates[0]: recall is a metric of classification"),
        (("mape <= 15%", "mape <= 15"), "8: gates[1]: mape is a share of the outcome, and 15 is 1500%; did you mean"),
        (("score, mae]", "score, accuracy]"), "9: monitor.checks[3]: accuracy is a metric of classification"),
        (("target: minutes", "target: minutes\n  positive: 1"), "6: data.positive: a regression has no positive class"),
        (
            ("target: minutes", "target: minutes\n  decision: {positive: late}"),
            "6: data.decision: a regression answers a number and decides nothing",
        ),
        (
            ("target: minutes", "target: minutes\n  weight: {negative: 3}"),
            "6: data.weight: a regression has no negative rows",
        ),
        (("objective:", "outcome: {absent: negative}\nobjective:"), "7: outcome.absent: silence says no number"),
        (
            ("objective:", "outcome: {acts: {column: action, blocked: no}}\nobjective:"),
            "7: outcome.acts: a regression flags no rows",
        ),
        (
            ("objective:", "rollout: {stop if: [errors, decision share moves > 5%]}\nobjective:"),
            "7: rollout.stop if[1]: a regression decides nothing",
        ),
        (
            ("objective:", "search: {learners: [logistic]}\nobjective:"),
            "7: search.learners[0]: 'logistic' is no learner of a regression (constant, linear, random_forest",
        ),
        (
            ("objective:", "search: {calibration: auto}\nobjective:"),
            "7: search.calibration: a regression answers no probability",
        ),
        (("objective:", "quantiles: [p90, p10]\nobjective:"), "7: quantiles: p10 does not come after p90"),
        (("objective:", "quantiles: [10]\nobjective:"), "7: quantiles: 10 is not a quantile, such as p10"),
        (("objective:", "quantiles: [p0]\nobjective:"), "7: quantiles: 'p0' is not a quantile"),
        (("task: regression", "task: regresion"), "1: task: 'regresion' is not one of classification, regression"),
    ],
)
def test_one_mistake(change, sentence):
    text = TRIPS.replace(*change)
    assert text != TRIPS
    (only,) = mistakes_of(text)
    assert only.startswith(f"eta/model.yaml:{sentence}"), only


@pytest.mark.parametrize(
    ("objective", "still", "metric", "gate"),
    [
        ("average_precision at precision >= 0.8", "average_precision", "average_precision", "precision >= 0.80"),
        ("recall at roc_auc >= 0.9", "roc_auc", "recall", "roc_auc >= 0.90"),
        ("log_loss at recall >= 0.5", "log_loss", "log_loss", "recall >= 0.50"),
    ],
)
def test_a_threshold_is_chosen_among_decisions_only(objective, still, metric, gate):
    (only,) = mistakes_of(f"data: {{source: a.csv, time: t, target: y}}\nobjective: {objective}\n")
    assert only.startswith(f"eta/model.yaml:2: objective: {still} is the same at every threshold")
    assert only.endswith(f"write {metric!r} here, and '{gate}' as a gate")


def test_a_classification_has_no_quantiles():
    text = "data: {source: a.csv, time: t, target: y}\nobjective: f1\nquantiles: [p10]\n"
    (only,) = mistakes_of(text)
    assert "a classification answers a probability" in only


def test_quantiles_are_in_a_spec_and_its_hash_only_where_there_are_some():
    plain = Spec.new(name="eta-s1", objective="mae", learner="lightgbm")
    with_them = plain.model_copy(update={"quantiles": ("p10", "p50", "p90")})
    assert plain.hash == OLD_HASH
    assert "quantiles" not in spec_text(plain)
    assert with_them.hash != plain.hash
    assert parse_spec(spec_text(with_them)) == with_them
