"""The learners that the page shows are such: read from learners.py they keep every law of the suite."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from everloop.models import learner
from everloop.testing import LearnerSuite

PAGE = (Path(__file__).parents[2] / "docs" / "learners.md").read_text()
SHOWN, TESTED, NUMBERS = re.findall(r"```python\n(.*?)```", PAGE, re.S)
LAWS = tuple(name for name in vars(LearnerSuite) if name.startswith("test_"))


@pytest.fixture(scope="module", params=["extra_trees", "extra_trees_of_numbers"])
def suite(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LearnerSuite:
    path = tmp_path_factory.mktemp("page") / "learners.py"
    path.write_text(SHOWN + NUMBERS)
    name = str(request.param)

    class Suite(LearnerSuite):
        learner = learner(name, task="regression" if name.endswith("numbers") else "classification", own=path)

    return Suite()


@pytest.mark.parametrize("law", LAWS)
def test_the_page_shows_a_learner_that_keeps_the_law(suite: LearnerSuite, law: str) -> None:
    getattr(suite, law)()


def test_the_page_shows_how_it_is_tested() -> None:
    scope: dict[str, object] = {}
    exec(SHOWN + TESTED.replace("from fraud.learners import ExtraTrees\n", ""), scope)
    kind = scope["TestExtraTrees"]
    assert isinstance(kind, type)
    assert issubclass(kind, LearnerSuite)
