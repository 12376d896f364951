"""Suggestions depend on the seed and the results, and on nothing else."""

from __future__ import annotations

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
    assert all(s.params.keys() == defaults(by_name[s.learner]).keys() for s in first)
    assert first[0].params == defaults(by_name["logistic"])


def test_every_suggestion_lies_in_its_learners_space() -> None:
    by_name = {item.name: item for item in LEARNERS}
    for suggestion in asked(5):
        space = search_space(by_name[suggestion.learner])
        assert suggestion.params.keys() == space.keys()
        assert all(space[name].holds(value) for name, value in suggestion.params.items())
