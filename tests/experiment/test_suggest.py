"""Suggestions depend on the seed and the results, and on nothing else."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from everloop.errors import ConfigurationError
from everloop.experiment.space import LearnerSpace, grid, learner_spaces
from everloop.experiment.suggest import LAG, Suggester, Suggestion
from everloop.models import Choice, Float, Int, defaults, learner, search_space

NAMES = ("logistic", "random_forest", "xgboost", "lightgbm", "neural_network")
LEARNERS = tuple(learner(name) for name in NAMES)
SPACES = learner_spaces(LEARNERS, {})


def played(
    asked: int,
    value: Callable[[int, Suggestion], float | None] = lambda number, _: None if number % 8 == 4 else number % 7 / 10,
    *,
    spaces: dict[str, LearnerSpace] | None = None,
    **options: Any,
) -> list[Suggestion]:
    """`asked` suggestions, each asked when those `LAG` before it and earlier were told."""
    suggester = Suggester(SPACES if spaces is None else spaces, **{"seed": 1, "maximise": True, **options})
    found: list[Suggestion] = []
    for number in range(1, asked + 1):
        if number > LAG:
            suggester.tell(number - LAG, value(number - LAG, found[number - LAG - 1]))
        suggestion = suggester.ask()
        if suggestion is None:
            break
        found.append(suggestion)
    return found


@pytest.mark.parametrize("method", ["bayesian", "random", "grid"])
def test_the_same_seed_suggests_the_same_and_another_something_else(method: str) -> None:
    assert played(30, method=method) == played(30, method=method)
    assert played(30, method=method) != played(30, method=method, seed=2)


@pytest.mark.parametrize("method", ["bayesian", "random", "grid"])
def test_a_longer_search_begins_like_a_shorter_one(method: str) -> None:
    assert played(20, method=method) == played(33, method=method)[:20]


def test_every_learner_is_first_tried_as_it_is() -> None:
    first = played(len(NAMES))
    assert [suggestion.learner for suggestion in first] == list(NAMES)
    by_name = {item.name: item for item in LEARNERS}
    assert all(s.params.keys() == search_space(by_name[s.learner]).keys() for s in first)
    assert first[0].params.items() <= defaults(by_name["logistic"]).items()


@pytest.mark.parametrize("method", ["bayesian", "random", "grid"])
@pytest.mark.parametrize("depth", [5, 19])
def test_the_champions_own_configuration_is_always_trial_one(method: str, depth: int) -> None:
    """Also where it lies outside of what is searched: a depth of 19 is not."""
    champion = Suggestion(learner="xgboost", params=defaults(LEARNERS[2]) | {"max_depth": depth})
    with_it, without = played(20, method=method, first=champion), played(19, method=method)
    assert with_it[0] == champion
    if method != "bayesian":
        assert with_it[1:] == without


def test_a_champion_of_a_learner_that_is_not_searched_is_trial_one_too() -> None:
    champion = Suggestion(learner="extra_trees", params={"n_estimators": 5})
    found = played(10, first=champion)
    assert found[0] == champion
    assert [suggestion.learner for suggestion in found[1 : len(NAMES) + 1]] == list(NAMES)


def test_a_random_search_learns_nothing() -> None:
    told = played(30, lambda number, _: float(number), method="random")
    assert told == played(30, lambda number, _: -float(number), method="random")
    bayesian = played(40, lambda number, _: float(number)), played(40, lambda number, _: -float(number))
    assert bayesian[0] != bayesian[1]


def test_a_grid_is_the_product_of_the_lists_and_ends() -> None:
    said = {"xgboost": {"max_depth": [3, 5, 7], "eta": [0.1, 0.3], "subsample": 0.8}}
    spaces = learner_spaces([LEARNERS[2]], said)
    found = played(50, spaces=spaces, method="grid")
    assert len(found) == 6
    assert {(s.params["max_depth"], s.params["learning_rate"]) for s in found} == {
        (depth, rate) for depth in (3, 5, 7) for rate in (0.1, 0.3)
    }
    assert {s.params["subsample"] for s in found} == {0.8}
    assert {(s.params["max_depth"]) for s in played(4, spaces=spaces, method="grid")} == {3, 5, 7}


def test_a_grid_without_lists_takes_three_points_of_three_hyperparameters() -> None:
    points = list(grid(learner_spaces([LEARNERS[3]], {})))
    assert len(points) == 27
    assert len({str(point) for point in points}) == 27


def test_a_space_is_read_as_people_write_it() -> None:
    said = {"lightgbm": {"num_leaves": [15, 31], "eta": {"low": 0.01, "high": 0.2, "log": True}, "num_round": 300}}
    said["lightgbm"]["max_depth"] = {"low": 2, "high": 4}
    space = learner_spaces([LEARNERS[3]], said)["lightgbm"]
    assert space.searched["num_leaves"] == Choice((15, 31))
    assert space.searched["learning_rate"] == Float(0.01, 0.2, log=True)
    assert space.searched["max_depth"] == Int(2, 4)
    assert space.fixed == {"n_estimators": 300}
    assert space.start["max_depth"] == 4
    assert space.start["num_leaves"] == 31


@pytest.mark.parametrize(
    ("said", "says"),
    [
        ({"xgbost": {}}, "search.space.xgbost: the search does not try 'xgbost'; did you mean 'xgboost'?"),
        ({"xgboost": {"max_dept": [3]}}, "no such hyperparameter; did you mean 'max_depth'?"),
        ({"xgboost": {"max_depth": [3, "deep"]}}, "'deep' is not a number"),
        ({"xgboost": {"max_depth": [3, 3]}}, "no list of different values"),
        ({"xgboost": {"max_depth": []}}, "no list of different values"),
        ({"xgboost": {"max_depth": 2.5}}, "2.5 is not a whole number"),
        ({"xgboost": {"eta": {"low": 0.3, "high": 0.1}}}, "low must be below high"),
        ({"xgboost": {"eta": {"low": 0, "high": 0.1}}}, "is not from 1e-06 to 1"),
        ({"xgboost": {"gamma": {"low": 0, "high": 1, "log": True}}}, "on a logarithmic scale low must be above 0"),
        (
            {"xgboost": {"scale_pos_weight": {"low": "balanced", "high": 5}}},
            "'balanced' is a word, and the ends of a range",
        ),
        ({"xgboost": {"eta": {"from": 0.1, "to": 0.3}}}, "a range is {low: NUMBER, high: NUMBER"),
        ({"xgboost": {"eta": [0.1], "learning_rate": [0.2]}}, "means the same as 'eta'; keep one"),
        ({"neural_network": {"hidden": {"low": 1, "high": 2}}}, "so a list is asked for, no range"),
    ],
)
def test_a_space_that_is_none_is_told_with_its_place(said: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        learner_spaces(LEARNERS, said)
    assert says in str(error.value)
    assert str(error.value).startswith("search.space.")


def test_every_suggestion_lies_in_its_learners_space() -> None:
    by_name = {item.name: item for item in LEARNERS}
    for suggestion in played(40, seed=5):
        space = search_space(by_name[suggestion.learner])
        assert suggestion.params.keys() == space.keys()
        assert all(space[name].holds(value) for name, value in suggestion.params.items())


def test_what_it_is_told_is_where_it_looks() -> None:
    """Told that one learner is best where trees are many and slow, it looks there: Bayesian, and not by chance."""

    def value(suggestion: Suggestion) -> float:
        if suggestion.learner != "lightgbm":
            return 0.0
        return (
            3.0
            - abs(math.log10(float(suggestion.params["learning_rate"]) / 0.02))
            - int(suggestion.params["n_estimators"] < 200)
        )

    late: dict[str, float] = {}
    for name, said in (("told", value), ("ignored", lambda _: 0.0)):
        found = played(72, lambda _, suggestion, said=said: said(suggestion), seed=0)  # type: ignore[misc]
        late[name] = sum(map(value, found[-24:])) / 24
    assert late["told"] > 4 * late["ignored"]


def test_what_was_given_up_after_a_good_fold_is_no_better_than_what_went_through_all() -> None:
    """Its value is of other rows: told as a whole trial's, an easy first fold would draw the search there."""

    def late(given_up_after: int | None) -> float:
        suggester = Suggester({"lightgbm": SPACES["lightgbm"]}, seed=0, maximise=True)
        found: list[Suggestion] = []
        for number in range(1, 61):
            if number > LAG:
                slow = float(found[number - LAG - 1].params["learning_rate"]) < 0.05
                suggester.tell(number - LAG, 0.9 if slow else 0.5, given_up_after=given_up_after if slow else None)
            suggestion = suggester.ask()
            assert suggestion is not None
            found.append(suggestion)
        return sum(float(one.params["learning_rate"]) < 0.05 for one in found[-24:]) / 24

    assert late(None) > 0.7
    assert late(1) < 0.5


def test_a_search_for_numbers_begins_with_the_loss_of_its_objective_and_with_a_large_model_too() -> None:
    item = learner("lightgbm", task="regression")
    space = learner_spaces([item], {}, metric="mae")["lightgbm"]
    assert space.start["loss"] == "absolute"
    assert learner_spaces([item], {}, metric="rmse")["lightgbm"].start["loss"] == "squared"
    suggester = Suggester({"lightgbm": space}, seed=0, maximise=False)
    first, second = suggester.ask(), suggester.ask()
    assert first is not None
    assert second is not None
    assert (first.params["num_leaves"], second.params["num_leaves"]) == (31, 127)
    assert second.params["learning_rate"] == first.params["learning_rate"]
    said = {"lightgbm": {"num_leaves": {"low": 7, "high": 31}, "n_estimators": 100, "max_depth": 8}}
    assert learner_spaces([item], said)["lightgbm"].ample is None
