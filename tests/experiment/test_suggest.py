"""Suggestions depend on the seed and the results, and on nothing else."""

from __future__ import annotations

import math

from everloop.experiment.suggest import BATCH, Suggester, Suggestion
from everloop.models import defaults, learner, search_space

NAMES = ("logistic", "random_forest", "xgboost", "lightgbm", "neural_network")
LEARNERS = tuple(learner(name) for name in NAMES)


def asked(seed: int, *, batches: int = 4, last: int = BATCH) -> list[Suggestion]:
    suggester = Suggester(LEARNERS, seed=seed, maximise=True)
    found: list[Suggestion] = []
    for batch in range(batches):
        suggestions = suggester.ask(last if batch == batches - 1 else BATCH)
        found += suggestions
        suggester.tell([None if i == 3 else len(s.learner) + 0.01 * i for i, s in enumerate(suggestions)])
    return found


def test_the_same_seed_suggests_the_same_and_another_something_else() -> None:
    assert asked(1) == asked(1)
    assert asked(1) != asked(2)


def test_a_longer_search_begins_like_a_shorter_one() -> None:
    assert asked(1, batches=3, last=4) == asked(1, batches=4)[: 2 * BATCH + 4]


def test_every_learner_is_first_tried_as_it_is() -> None:
    first = asked(3)[: len(NAMES)]
    assert [suggestion.learner for suggestion in first] == list(NAMES)
    by_name = {item.name: item for item in LEARNERS}
    assert all(s.params.keys() == search_space(by_name[s.learner]).keys() for s in first)
    assert first[0].params == defaults(by_name["logistic"])


def test_every_suggestion_lies_in_its_learners_space() -> None:
    by_name = {item.name: item for item in LEARNERS}
    for suggestion in asked(5):
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
        suggester = Suggester(LEARNERS, seed=0, maximise=True)
        found: list[float] = []
        for _ in range(8):
            suggestions = suggester.ask(BATCH)
            suggester.tell([said(suggestion) for suggestion in suggestions])
            found += map(value, suggestions)
        late[name] = sum(found[-3 * BATCH :]) / (3 * BATCH)
    assert late["told"] > 4 * late["ignored"]
