"""A run that someone logged in MLflow by hand becomes a spec, or one sentence says why not."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from everloop.ledger import Ledger
from everloop.project import Project, read_spec
from tests.cli.terminal import Ended, everloop
from tests.experiment.made import payments, project

pytest.importorskip("mlflow", reason="the extra [mlflow] is not installed")
pytest.importorskip("sklearn", reason="the extra [train] is not installed")

Log = Callable[..., str]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from everloop.integrations.mlflow.connection import connect

    root = tmp_path_factory.mktemp("by-hand") / "shop"
    project(root, payments(300))
    (root / "everloop.yaml").write_text("mlflow: sqlite:///mlflow.db\n")
    connect("sqlite:///mlflow.db", root=root, state=root)
    return root


@pytest.fixture
def log(root: Path) -> Iterator[Log]:
    """Logs a run as a notebook does, with plain mlflow; gives its id."""
    import mlflow

    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{root / 'mlflow.db'}")

    def logged(tags: dict[str, str] | None = None, **params: Any) -> str:
        with mlflow.start_run(run_name="by hand", tags=tags) as run:
            mlflow.log_params(params)
            mlflow.log_metric("recall", 0.9)
        found: str = run.info.run_id
        return found

    yield logged
    mlflow.set_tracking_uri(before)


def got(root: Path, run: str, *more: str) -> Ended:
    return everloop("spec", "get", "--from-mlflow", run, *more, cwd=root)


def test_native_names_become_a_spec_that_nobody_has_measured_or_approved(root: Path, log: Log) -> None:
    run = log(learner="xgboost", max_depth=7, eta=0.1, num_round=150, subsample=0.8, random_state=42, n_jobs=-1)
    done = got(root, run)
    assert done.code == 0, done.err
    name = done.out.split()[2]
    spec = read_spec(root / "fraud" / "specs" / f"{name}.yaml")
    assert spec.learner == "xgboost"
    wanted = {"max_depth": 7, "learning_rate": 0.1, "n_estimators": 150, "subsample": 0.8}
    assert {name: spec.hyperparameters[name] for name in wanted} == wanted
    assert spec.seed == 42
    assert (spec.expected, spec.yardsticks, spec.threshold, spec.approval) == ({}, {}, None, None)
    assert spec.reason == f"MLflow run {run} (by hand); nothing was measured here: training judges it"
    assert "note: n_jobs=-1 was left out: how many threads a fit takes" in done.err
    assert "nothing was measured here" in done.err
    again = got(root, run, "--json")
    assert (again.json["spec"], again.json["new"]) == (name, False)
    with Ledger.open(Project.open(root), clock=Project.open(root).clock()) as ledger:
        facts = [fact for fact in ledger.facts(kind="spec.written") if fact.subject == name]
    assert [(fact.payload["trigger"], fact.payload["spec_hash"]) for fact in facts] == [("mlflow", spec.hash)]


@pytest.mark.parametrize(
    ("tags", "params", "learner"),
    [
        ({"estimator_name": "XGBClassifier"}, {"max_depth": 5, "missing": "nan", "gamma": "None"}, "xgboost"),
        ({}, {"algorithm": "LightGBM", "num_leaves": 15, "objective": "binary"}, "lightgbm"),
        ({}, {"model_type": "Random Forest", "n_estimators": 80}, "random_forest"),
        ({"learner": "logistic"}, {"C": 0.5, "penalty": "l2"}, "logistic"),
        ({"mlflow.log-model.history": json.dumps([{"flavors": {"xgboost": {}}}])}, {"max_depth": 4}, "xgboost"),
    ],
)
def test_the_learner_is_what_a_param_a_tag_or_the_saved_model_says(
    root: Path, log: Log, tags: dict[str, str], params: dict[str, Any], learner: str
) -> None:
    done = got(root, log(tags, **params), "--json")
    assert done.code == 0, done.err
    assert read_spec(root / done.json["path"]).learner == learner
    assert [note.split("=")[0] for note in done.json["notes"]] == [name for name in params if name == "penalty"]


@pytest.mark.parametrize(
    ("params", "sentence"),
    [
        ({"max_depth": 5}, "does not say what was fitted; log a param or tag `learner`, one of constant, logistic"),
        ({"learner": "catboost"}, "learner is 'catboost', and fraud has no such learner; there are constant, logistic"),
        ({"learner": "xgboost", "max_depth": 99}, "hyperparameters.max_depth: 99 "),
        ({"learner": "xgboost", "eta": 0.1, "learning_rate": 0.2}, "which means the same; keep one"),
        ({"learner": "xgboost", "objective": "rank:ndcg"}, "hyperparameters.objective: 'rank:ndcg' cannot be chosen"),
    ],
)
def test_what_cannot_be_trained_is_one_sentence_and_no_file(
    root: Path, log: Log, params: dict[str, Any], sentence: str
) -> None:
    before = sorted((root / "fraud" / "specs").glob("*"))
    done = got(root, log(**params))
    assert (done.code, done.out) == (1, "")
    assert sentence in done.err
    assert sorted((root / "fraud" / "specs").glob("*")) == before


def test_a_run_that_is_not_there_is_said(root: Path) -> None:
    done = got(root, "0" * 32)
    assert done.code == 1
    assert f"has no run {'0' * 32}; its page shows a run's id" in done.err


def test_a_project_without_mlflow_is_told_how_to_name_it(tmp_path: Path) -> None:
    project(tmp_path / "p", payments(300))
    done = got(tmp_path / "p", "0" * 32)
    assert done.code == 2
    assert "everloop.yaml does not say where MLflow is" in done.err


def test_a_logged_models_flavour_says_the_learner(root: Path, log: Log, tmp_path: Path) -> None:
    """As MLflow 3 keeps it: a logged model of the run, with a file that names its flavours."""
    import mlflow
    from mlflow.entities import LoggedModelOutput

    run = log(max_depth=4)
    client = mlflow.MlflowClient()
    model = client.create_logged_model("0", name="boosted", source_run_id=run)
    client.log_model_artifact(
        model.model_id, _file(tmp_path / "MLmodel", "flavors: {python_function: {}, xgboost: {}}\n")
    )
    client.finalize_logged_model(model.model_id, "READY")
    client.log_outputs(run, [LoggedModelOutput(model.model_id, step=0)])
    done = got(root, run, "--json")
    assert done.code == 0, done.err
    assert read_spec(root / done.json["path"]).learner == "xgboost"


def _file(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)
