"""learners.py: a small class is a learner everywhere, and every mistake of it is one sentence with its line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from everloop.bundle import Graph
from everloop.errors import ConfigurationError, EverloopError, GraphDisagrees
from everloop.models import FitRequest, Validation, fit, fit_here, learner, learners, own_content, resolve_params
from tests.models.rows import request, rows

TREES = """\
from everloop.models import FittedPipeline, Hyperparameter, Int, own_learner, weighted_up


@own_learner
class ExtraTrees:
    name = "extra_trees"
    hyperparameters = (
        Hyperparameter(name="n_estimators", search=Int(20, 60), default=30, minimum=1, aliases=("trees",)),
    )

    def fit(self, training):
        from sklearn.ensemble import ExtraTreesClassifier

        model = ExtraTreesClassifier(training.params["n_estimators"], max_depth=6, random_state=training.seed)
        return FittedPipeline(model.fit(training.X, training.y, sample_weight=weighted_up(training)))
"""


def written(folder: Path, text: str = TREES) -> Path:
    path = folder / "fraud" / "learners.py"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


def asked(path: Path, name: str = "extra_trees", **changes: Any) -> FitRequest:
    return request("constant", learner=name, params={}, own=path, **changes)


def test_a_small_class_is_a_learner(tmp_path: Path) -> None:
    path = written(tmp_path)
    item = learner("extra_trees", own=path)
    assert (item.yardstick, item.reads_missing, item.row_block, dict(item.fixed)) == (False, False, 16, {})
    assert resolve_params(item, {"trees": 40}) == {"n_estimators": 40}
    known = learners("classification", own=path)
    assert list(known) == [*learners("classification"), "extra_trees"]
    result = fit_here(asked(path))
    X, y = rows(2000, seed=3)
    scores = Graph(result.graph).scores(X)
    assert scores[y == 1].mean() > scores[y == 0].mean() + 0.05


def test_the_child_reads_the_file_too_and_calibrates(tmp_path: Path) -> None:
    path = written(tmp_path)
    X, y = rows(2000, seed=3)
    said = asked(path, validation=Validation(X=X, y=y), calibration="logistic")
    there = fit(said, scratch=tmp_path)
    here = fit_here(said)
    assert there.graph == here.graph
    assert there.calibration == here.calibration


def test_a_file_that_was_saved_again_is_read_again(tmp_path: Path) -> None:
    path = written(tmp_path)
    before = own_content(["extra_trees"], own=path)
    assert own_content(["xgboost"], own=path) is None
    assert own_content(["extra_trees", "xgboost"], own=path) == before
    assert fit_here(asked(path)).params == {"n_estimators": 30}
    written(tmp_path, TREES.replace("default=30", "default=20"))
    assert fit_here(asked(path)).params == {"n_estimators": 20}
    assert own_content(["extra_trees"], own=path) != before


def test_an_unknown_name_is_told_with_the_line_of_the_likely_one(tmp_path: Path) -> None:
    path = written(tmp_path)
    sentence = r"no learner 'extra_tres'; did you mean 'extra_trees', which fraud/learners\.py:5 defines\?"
    with pytest.raises(ConfigurationError, match=sentence):
        learner("extra_tres", own=path)
    with pytest.raises(ConfigurationError, match=r"no learner 'extra_trees'"):
        learner("extra_trees")


def test_a_mistake_in_the_file_keeps_nobody_from_our_own(tmp_path: Path) -> None:
    path = written(tmp_path, "1 / 0\n")
    assert learner("xgboost", own=path) == learner("xgboost")
    with pytest.raises(ConfigurationError, match=r"^fraud/learners\.py:1: ZeroDivisionError: division by zero$"):
        learner("extra_trees", own=path)


def changed(old: str, new: str) -> str:
    assert old in TREES
    return TREES.replace(old, new)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("def f(:\n", r"fraud/learners\.py:1: invalid syntax"),
        (
            changed('"extra_trees"', '"xgboost"'),
            r"fraud/learners\.py:5: ExtraTrees is called 'xgboost', as one of ever",
        ),
        (changed('"extra_trees"', '"extra trees"'), r"learners\.py:5: ExtraTrees has the name 'extra trees'; give it"),
        (changed("    name =", "    nam ="), r"learners\.py:5: ExtraTrees has the name None; give it one of letters"),
        (
            changed("def fit", "def fitt"),
            r"learners\.py:5: ExtraTrees has no fit\(training\); it is what makes a model",
        ),
        (
            changed("default=30", "default=0"),
            r"learners\.py:8: hyperparameter n_estimators: its default 0 is not from 1",
        ),
        (
            changed("Int(20, 60)", "Int(0, 60)"),
            r"learners\.py:8: hyperparameter n_estimators: a search looks from 0 to",
        ),
        (changed('"trees"', '"seed"'), r"learners\.py:5: ExtraTrees has a hyperparameter 'seed'; training\.seed"),
        (changed('("trees",)', '("a", "a")'), r"learners\.py:5: ExtraTrees has two meanings for 'a'"),
        (changed("(\n        Hyper", "[\n        Hyper").replace(",\n    )\n", ",\n    ]\n"), "are a tuple of Hyperpa"),
        (changed("    def fit", "    row_block = 3\n\n    def fit"), "has the row_block 3; it is a power of two"),
        (changed("    def fit", "    task = 'ranking'\n\n    def fit"), "is for the task 'ranking'"),
        (changed("    def fit", "    def __init__(self, n): ...\n\n    def fit"), r"cannot be made without arguments"),
        (
            TREES + TREES.partition("\n\n\n")[2].replace("ExtraTrees:", "More:"),
            r"py:17: More is called 'extra_trees', as",
        ),
        ("from everloop.models import own_learner\n@own_learner\ndef f(): ...\n", r"py:2: @own_learner marks a class"),
    ],
)
def test_what_is_wrong_with_the_file_is_one_sentence_with_its_line(tmp_path: Path, text: str, sentence: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(ConfigurationError, match=sentence) as caught:
        learners("classification", own=path)
    assert len(caught.value.mistakes) == 1


FIT = TREES[TREES.index("        from sklearn") :]
RETURNS = "        return FittedPipeline(model.fit(training.X, training.y, sample_weight=weighted_up(training)))\n"


def told(path: Path) -> str:
    """What the child says; the same as a fit in this process."""
    sentences = []
    for attempt in (fit_here, fit):
        with pytest.raises(EverloopError) as caught:
            attempt(asked(path))
        sentences.append(str(caught.value))
    assert sentences[0] == sentences[1]
    return sentences[0]


def test_a_fit_that_fails_names_the_line(tmp_path: Path) -> None:
    path = written(tmp_path, changed("max_depth=6", "max_depth=-6"))
    assert told(path).startswith("fitting extra_trees failed: fraud/learners.py:15: InvalidParameterError: The 'max_de")


@pytest.mark.parametrize("error", [ValueError("no such tree"), MemoryError()])
def test_what_everloops_own_learners_raise_is_not_blamed_on_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("lightgbm.train", fails)
    with pytest.raises(type(error)) as caught:
        fit_here(request("lightgbm", own=written(tmp_path, TREES)))
    assert caught.value is error


def test_a_fit_that_runs_out_of_memory_says_so_itself(tmp_path: Path) -> None:
    out_of_memory = FIT.replace("        from sklearn", "        raise MemoryError\n        from sklearn", 1)
    with pytest.raises(MemoryError):
        fit_here(asked(written(tmp_path, TREES.replace(FIT, out_of_memory))))


def test_what_is_no_model_is_told(tmp_path: Path) -> None:
    path = written(tmp_path, changed("FittedPipeline(model.fit", "(model.fit"))
    assert told(path) == (
        "fitting extra_trees gave a ExtraTreesClassifier, which has no scores(X) and onnx(); "
        "where it is scikit-learn's, return FittedPipeline(estimator)"
    )


def test_an_estimator_that_does_not_convert_is_told(tmp_path: Path) -> None:
    own_kind = FIT.replace("ExtraTreesClassifier(training", "Mine(training")
    made = (
        "        from sklearn.ensemble import ExtraTreesClassifier\n\n        class Mine(ExtraTreesClassifier): ...\n\n"
    )
    text = TREES.replace(FIT, made + own_kind.partition("\n\n")[2])
    sentence = told(written(tmp_path, text))
    assert sentence.startswith(
        "the model of extra_trees could not be made into an ONNX graph, which is what is served: "
    )
    assert sentence.endswith("; take an estimator that its converter knows")


def test_a_graph_that_disagrees_is_told(tmp_path: Path) -> None:
    text = TREES.replace(RETURNS, RETURNS.replace("return FittedPipeline", "return Shifted")) + (
        "\n\nclass Shifted(FittedPipeline):\n    def scores(self, X):\n        return super().scores(X) / 2\n"
    )
    path = written(tmp_path, text)
    with pytest.raises(GraphDisagrees, match=r"the graph and its model differ by up to 0\."):
        fit_here(asked(path))
    wide = text.replace("super().scores(X) / 2", "self.estimator.predict_proba(X)")
    assert "have the shape (4000, 2) and not one number per row" in told(written(tmp_path, wide))


def test_a_file_that_is_gone_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"fraud/learners\.py:1: the file cannot be read: No such file"):
        learner("extra_trees", own=tmp_path / "fraud" / "learners.py")
