"""A search in MLflow: a run, its trials nested in it, each once, whatever happens on the way."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from everloop.clock import SystemClock
from everloop.errors import IntegrationError
from everloop.experiment import Leaderboard, note_search, search
from everloop.integrations.mlflow import Mirror
from everloop.integrations.mlflow.searches import Searches
from everloop.ledger import Ledger
from everloop.project import FoldsPlan, Project
from tests.experiment.made import opened, payments, project

pytest.importorskip("mlflow", reason="the extra [mlflow] is not installed")
pytest.importorskip("sklearn", reason="the extra [train] is not installed")

CLOCK = SystemClock()


@dataclass(frozen=True)
class Searched:
    """A project that mirrors, with a search that ended in it."""

    project: Project
    board: Leaderboard


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Searched:
    """Two folds, so that metrics have a course."""
    from everloop.integrations.mlflow.connection import connect

    root = tmp_path_factory.mktemp("searched") / "shop"
    project(root, payments(2_000, positives=0.2), objective="average_precision", learners="lightgbm, logistic")
    (root / "everloop.yaml").write_text("mlflow: sqlite:///mlflow.db\n")
    connect("sqlite:///mlflow.db", root=root, state=root)
    made, model = opened(root)
    board = search(made, model, clock=CLOCK, trials=2, jobs=1, folds=FoldsPlan.parse("2 by time"))
    return Searched(project=made, board=board)


@pytest.fixture
def place(searched: Searched, tmp_path: Path) -> Iterator[tuple[Searched, Ledger]]:
    """The same, in a folder of its own."""
    root = tmp_path / "shop"
    shutil.copytree(searched.project.root, root)
    here = Searched(project=opened(root)[0], board=searched.board)
    with Ledger.open(here.project, clock=CLOCK) as ledger:
        note_search(here.project, here.board, ledger=ledger, actor="alice")
        yield here, ledger


def _client(here: Searched) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=f"sqlite:///{here.project.root / 'mlflow.db'}")


def _runs(client: Any) -> dict[str, Any]:
    found = client.search_runs([client.get_experiment_by_name("everloop/shop/fraud").experiment_id])
    runs = {run.info.run_name: run for run in found}
    assert len(runs) == len(found), "a run is mirrored once"
    return runs


def _files(client: Any, run: Any, path: str | None = None) -> set[str]:
    listed = client.list_artifacts(run.info.run_id, path)
    return {one.path for one in listed if not one.is_dir}.union(
        *(_files(client, run, one.path) for one in listed if one.is_dir)
    )


def test_trials_are_nested_runs_with_params_metrics_and_plots(place: tuple[Searched, Ledger]) -> None:
    here, ledger = place
    mirror = Mirror(here.project, ledger, CLOCK)
    assert mirror.sync() == 1
    assert mirror.sync() == 0
    client, board = _client(here), here.board
    runs = _runs(client)
    parent = runs.pop(f"search {board.search}")
    assert set(runs) == {f"trial {trial.name}" for trial in board.trials}
    assert all(run.data.tags["mlflow.parentRunId"] == parent.info.run_id for run in runs.values())
    trial = next(one for one in board.trials if one.kind == "trial")
    run = runs[f"trial {trial.name}"]
    assert run.info.status == "FINISHED"
    assert run.data.params == {"learner": trial.learner} | {
        name: json.dumps(value) for name, value in trial.hyperparameters.items()
    }
    assert run.data.metrics["objective"] == trial.value
    assert run.data.metrics["recall"] == trial.metrics["recall"]
    course = client.get_metric_history(run.info.run_id, "fold/objective")
    assert [(one.step, one.value) for one in course] == [(1, trial.folds[0].value), (2, trial.folds[1].value)]
    assert board.winner is not None
    winner = runs[f"trial {board.winner.trial.name}"]
    assert any(name.endswith(".png") for name in _files(client, winner))


def test_the_search_has_the_leaderboard_and_its_pictures(place: tuple[Searched, Ledger]) -> None:
    here, ledger = place
    Mirror(here.project, ledger, CLOCK).sync()
    client, board = _client(here), here.board
    parent = _runs(client)[f"search {board.search}"]
    assert (parent.info.status, parent.data.tags["everloop.verdict"]) == ("FINISHED", board.verdict.outcome)
    assert parent.data.tags["everloop.sentence"] == board.verdict.sentence
    assert parent.data.metrics["trials"] == 2
    files = _files(client, parent)
    assert {"leaderboard.json", "leaderboard.html", "trials.json"} <= files
    assert any(name.startswith("plots/") and name.endswith(".png") for name in files)
    table = json.loads(Path(client.download_artifacts(parent.info.run_id, "trials.json")).read_text())
    assert [row[0] for row in table["data"]] == [trial.name for trial in board.trials]
    assert all(len(row) == len(table["columns"]) for row in table["data"])


def test_an_outage_in_the_middle_leaves_nothing_twice(
    place: tuple[Searched, Ledger], monkeypatch: pytest.MonkeyPatch
) -> None:
    here, ledger = place
    sound, tried = Searches._log_folds, []

    def stumbling(self: Searches, *given: Any, **more: Any) -> None:
        tried.append(given)
        if len(tried) == 3:
            raise ConnectionError("the server went away")
        sound(self, *given, **more)

    monkeypatch.setattr(Searches, "_log_folds", stumbling)
    with pytest.raises(IntegrationError, match="the server went away"):
        Mirror(here.project, ledger, CLOCK).sync()
    client = _client(here)
    assert len(_runs(client)) == 1 + 3
    assert Mirror(here.project, ledger, CLOCK).sync() == 1
    runs = _runs(client)
    assert len(runs) == 1 + len(here.board.trials)
    for name, run in runs.items():
        assert run.info.status in ("FINISHED", "KILLED", "FAILED"), name
        steps = [one.step for one in client.get_metric_history(run.info.run_id, "fold/objective")]
        assert steps == sorted(set(steps))


def test_a_search_that_goes_on_adds_its_trials_to_the_same_run(place: tuple[Searched, Ledger]) -> None:
    here, ledger = place
    mirror = Mirror(here.project, ledger, CLOCK)
    mirror.sync()
    before = len(_runs(_client(here)))
    more = search(here.project, here.project.model(), clock=CLOCK, trials=3, jobs=1, folds=FoldsPlan.parse("2 by time"))
    assert more.search == here.board.search
    note_search(here.project, more, ledger=ledger, actor="alice")
    note_search(here.project, more, ledger=ledger, actor="alice")
    assert mirror.sync() == 1
    runs = _runs(_client(here))
    assert len(runs) == before + 1
    assert runs[f"search {more.search}"].data.metrics["trials"] == 3


def test_without_the_folder_the_search_alone_is_mirrored(place: tuple[Searched, Ledger]) -> None:
    here, ledger = place
    shutil.rmtree(here.project.state / "searches")
    assert Mirror(here.project, ledger, CLOCK).sync() == 1
    (parent,) = _runs(_client(here)).values()
    assert parent.data.metrics["trials"] == 2
