"""A run that someone logged in MLflow by hand becomes a spec, or one sentence says why not."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from everloop.experiment import FromRun, spec_from_run
from everloop.ledger import Ledger, VersionRegistered
from everloop.project import Project, Spec, read_spec, write_spec
from everloop.rollout import deploy
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


def made_of(root: Path, run: str) -> FromRun:
    """What `got` makes of the run, without a process for it; the spec as its file has it."""
    from everloop.integrations.mlflow.foreign import foreign_run

    found = Project.open(root)
    model = found.model()
    with Ledger.open(found, clock=found.clock()) as ledger:
        made = spec_from_run(model, foreign_run(found, run), ledger=ledger, clock=found.clock(), actor="alice")
    return replace(made, spec=read_spec(model.spec_path(made.spec.number)))


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
    assert (again.json["spec"], again.json["new"], again.json["path"]) == (name, False, f"fraud/specs/{name}.yaml")
    assert any(note.startswith("n_jobs=-1 was left out") for note in again.json["notes"])
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
    made = made_of(root, log(tags, **params))
    assert made.spec.learner == learner
    left_out = [note for note in made.notes if "left out" in note]
    assert left_out == ["left out, as logistic has nothing of the kind: penalty=l2"] * ("penalty" in params)


def of_library(root: Path, log: Log, learner: str, params: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """The hyperparameters and the notes of a run that logged all of an estimator's params."""
    made = made_of(root, log({"estimator_name": learner}, **params))
    return dict(made.spec.hyperparameters), "\n".join(made.notes)


def test_what_a_run_leaves_out_is_as_its_library_has_it(root: Path, log: Log) -> None:
    from sklearn.ensemble import RandomForestClassifier
    from xgboost import XGBClassifier

    boosted = XGBClassifier(n_estimators=200, max_depth=5)
    found, notes = of_library(root, log, "XGBClassifier", boosted.get_params())
    assert (found["n_estimators"], found["max_depth"], found["max_bin"]) == (200, 5, 256)
    boosted.fit([[0.0], [1.0]], [0, 1])
    trained = json.loads(boosted.get_booster().save_config())["learner"]["gradient_booster"]["tree_train_param"]
    shared = found.keys() & trained.keys() - {"max_bin"}
    assert {name: float(found[name]) for name in shared} == {
        name: pytest.approx(float(trained[name])) for name in shared
    }
    assert "learning_rate" in shared
    assert "learning_rate is 0.3, as in XGBoost where nothing is said; otherwise it is 0.1 here" in notes
    found, notes = of_library(root, log, "RandomForestClassifier", RandomForestClassifier().get_params())
    wanted = {"max_depth": 20, "min_child_samples": 1, "tree_rows": 1_000_000_000, "scale_pos_weight": 1.0}
    assert {name: found[name] for name in wanted} == wanted
    assert "max_depth is 20, as in scikit-learn, which has no limit where nothing is said; otherwise it is 8" in notes
    assert "left out, as random_forest has nothing of the kind: bootstrap=True, ccp_alpha=0.0" in notes


def test_a_librarys_own_words_are_said_in_ours(root: Path, log: Log) -> None:
    from lightgbm import LGBMClassifier
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.neural_network import MLPClassifier

    found, notes = of_library(root, log, "LGBMClassifier", LGBMClassifier(subsample=0.8).get_params())
    assert (found["max_depth"], found["reg_lambda"], found["subsample"]) == (50, 0.0, 1.0)
    assert "max_depth=-1 is no limit; it is 50 here" in notes
    assert "subsample=0.8 had no effect in LightGBM" in notes
    # v0 to v3, amount, and two of features.py
    for said, share in (("sqrt", 7**0.5 / 7), ("log2", 0.4011), (3, 3 / 7), (None, 1.0), (0.5, 0.5)):
        forest = RandomForestClassifier(max_features=said, class_weight="balanced")
        found, _ = of_library(root, log, "RandomForestClassifier", forest.get_params())
        assert found["max_features"] == pytest.approx(share, abs=1e-4)
        assert int(found["max_features"] * 7) == int(share * 7 + 1e-9)
        assert found["scale_pos_weight"] == "balanced"
    found, notes = of_library(root, log, "MLPClassifier", MLPClassifier(alpha=0.01).get_params())
    assert (found["reg_lambda"], found["learning_rate"], found["epochs"]) == (0.01, 0.001, 200)
    assert "early_stopping_rounds" not in found
    assert "hidden_layer_sizes=[100] was left out: it is not one of" in notes


@pytest.mark.parametrize(
    ("params", "kept", "note"),
    [
        ({"max_depth": 99}, ("max_depth", 20), "max_depth=99 is not from 1 to 20; it is 20 here"),
        ({"eta": 0.1, "learning_rate": 0.2}, ("learning_rate", 0.2), "eta=0.1 was left out: learning_rate is said too"),
        ({"objective": "rank:ndcg"}, ("max_depth", 6), "objective=rank:ndcg was left out: xgboost is fitted with"),
        ({"gamma": "much"}, ("gamma", 0.0), "gamma=much was left out: it is not a number"),
    ],
)
def test_what_cannot_be_said_here_is_left_out_with_a_note(
    root: Path, log: Log, params: dict[str, Any], kept: tuple[str, object], note: str
) -> None:
    found, notes = of_library(root, log, "xgboost", params)
    assert found[kept[0]] == kept[1]
    assert note in notes


def test_a_blend_that_a_search_logged_is_read_member_by_member(root: Path, log: Log) -> None:
    said = {"1.learner": "xgboost", "1.max_depth": 99, "2.learner": "lightgbm", "2.num_leaves": 7}
    done = got(root, log(learner="blend", calibration="isotonic", **said))
    assert done.code == 0
    assert "member 1: max_depth=99 is not from 1 to 20; it is 20 here" in done.err
    spec = Project.open(root).model().specs()[-1]
    assert spec.learner == "blend"
    assert spec.hyperparameters.items() >= {"1.max_depth": 20, "2.learner": "lightgbm", "2.num_leaves": 7}.items()


def test_a_diff_says_what_the_run_says(root: Path, log: Log, tmp_path: Path) -> None:
    """Features are the model's, calibration and seed the champion's, and a threshold is for training to choose."""
    from everloop.integrations.mlflow.foreign import foreign_run

    found = Project.open(root)
    model = found.model()
    features = ("v0", "v1", "v2", "v3", "amount", "amount_log", "night")
    parent = Spec.new(
        name="fraud-s900",
        objective=str(model.objective),
        learner="xgboost",
        features=features,
        threshold=0.4,
        calibration="logistic",
        seed=7,
        hyperparameters={"max_depth": 4},
    )
    write_spec(model.spec_path(900), parent)
    run = foreign_run(found, log(learner="xgboost", max_depth=4))
    version = VersionRegistered(
        model="fraud", bundle="b", run="r-1", spec=parent.name, spec_hash=parent.hash, threshold=0.4, metrics={}
    )
    with Ledger.open(tmp_path / "ledger.db", clock=found.clock()) as ledger:
        number = ledger.register_version("fraud", version, actor="test")[0].number
        deploy(ledger, "fraud", number, actor="alice", reason="the first version")
        made = spec_from_run(model, run, ledger=ledger, clock=found.clock(), actor="alice").spec
    assert (made.features, made.calibration, made.seed, made.threshold) == (features, "logistic", 7, None)
    assert made.parent == "fraud-s900"
    assert {key.split(".")[0] for key in made.diff} == {"hyperparameters"}
    assert "hyperparameters.max_depth" not in made.diff


@pytest.mark.parametrize(
    ("params", "sentence"),
    [
        ({"max_depth": 5}, "does not say what was fitted; log a param or tag `learner`, one of constant, logistic"),
        ({"learner": "catboost"}, "learner is 'catboost', and fraud has no such learner; there are constant, logistic"),
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
