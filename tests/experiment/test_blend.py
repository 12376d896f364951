"""`choose: blend`: one more trial, the mean of the best, which is handed over, trained and improved as any other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from everloop.bundle import Graph
from everloop.clock import SystemClock
from everloop.errors import DataError
from everloop.experiment import Leaderboard, Trial, kept_search, leaderboard_screen, search, trial_notebook
from everloop.experiment.leaderboard import ranked
from everloop.experiment.search import BLENDED
from everloop.experiment.winner import winner_spec
from everloop.models import fitted_learners
from everloop.project import Project
from tests.experiment.made import numeric_project, opened, payments, project
from tests.experiment.test_search import TREES, same, trial_lines
from tests.experiment.test_trial_notebook import run

CLOCK = SystemClock()


def made(root: Path, *, search_too: str = "choose: blend, ", learners: str = "logistic, lightgbm") -> Path:
    project(root, payments(positives=0.25), learners=learners)
    model = root / "fraud" / "model.yaml"
    model.write_text(model.read_text().replace("search: {", f"search: {{{search_too}"))
    return root


def members(board: Leaderboard) -> list[Trial]:
    """The best single trials."""
    done = [trial for trial in board.trials if trial.kind == "trial" and trial.status == "done"]
    return list(ranked([trial for trial in done if trial.learner != "blend"], maximise=board.maximise))[:BLENDED]


def blend_of(board: Leaderboard) -> Trial:
    (found,) = [trial for trial in board.trials if trial.learner == "blend"]
    return found


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("blend") / "p", search_too="choose: blend, calibration: none, ")


@pytest.fixture(scope="module")
def board(root: Path) -> Leaderboard:
    return search(*opened(root), clock=CLOCK, trials=10, jobs=1)


def test_one_more_trial_is_the_mean_of_the_best(board: Leaderboard, root: Path) -> None:
    found, best = blend_of(board), members(board)
    assert (found.number, found.status, len(best)) == (11, "done", BLENDED)
    assert f"trial 11 is the mean of trials {', '.join(trial.name for trial in best)}" in board.notes
    (folder,) = (root / ".everloop" / "searches").iterdir()
    said = [np.load(folder / "predictions" / f"{trial.name}.npy") for trial in (found, *best)]
    assert said[0] == pytest.approx(np.mean(said[1:], axis=0, dtype=np.float64), abs=1e-6)
    assert len(Graph((folder / "graphs" / "11.onnx").read_bytes()).scores(np.zeros((3, 7), dtype=np.float32))) == 3


def test_it_is_handed_over_where_nothing_is_surely_better(board: Leaderboard) -> None:
    assert board.winner is not None
    assert board.tied(blend_of(board))
    assert board.winner.trial == blend_of(board)
    spec = winner_spec(board, name="fraud-s1", clock=CLOCK)
    assert (spec.learner, spec.hyperparameters) == ("blend", blend_of(board).hyperparameters)
    assert spec.reason.startswith("trial 11 of search")
    assert board.trials[0] == blend_of(board) or "chosen as the mean of several of" in spec.reason


def test_the_screen_names_its_learners_in_80_columns(board: Leaderboard) -> None:
    console = Console(width=80, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(leaderboard_screen(board))
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= 80
    assert f"1.learner={members(board)[0].learner}" in text
    assert "1.num_leaves" not in text


def test_repeated_or_with_more_jobs_it_is_the_same_and_with_more_trials_another(board: Leaderboard, root: Path) -> None:
    lines = trial_lines(root)
    assert same(search(*opened(root), clock=CLOCK, trials=10, jobs=2), board)
    assert trial_lines(root) == lines
    more = search(*opened(root), clock=CLOCK, trials=12, jobs=2)
    assert blend_of(more).number == 13
    assert next(trial for trial in more.trials if trial.name == "11").learner != "blend"
    assert same(search(*opened(root), clock=CLOCK, trials=10, jobs=1), board)


def test_its_notebook_gives_its_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = made(tmp_path / "p", search_too="choose: blend, calibration: logistic, ")
    search(*opened(place), clock=CLOCK, trials=2, jobs=1, fit_rows=600)
    found = kept_search(project=Project.open(place, environment={}))
    blend = next(trial for trial in found.ranked if trial.learner == "blend")
    text = trial_notebook(found, blend)
    assert run(text, place, monkeypatch)["value"] == blend.value
    assert "choose: blend" in text
    assert "method: grid" not in text


def test_a_champion_that_is_a_blend_is_trial_one(board: Leaderboard, root: Path) -> None:
    spec = winner_spec(board, name="fraud-s1", clock=CLOCK)
    found = search(*opened(root), clock=CLOCK, trials=3, jobs=1, champion=spec)
    first = next(trial for trial in found.trials if trial.kind == "trial" and trial.number == 1)
    assert (first.learner, first.hyperparameters) == ("blend", dict(spec.hyperparameters))
    assert first.value == blend_of(board).value
    assert found.notes == ("trial 4 is the mean of trials " + ", ".join(trial.name for trial in members(found)),)


def test_a_learner_of_ones_own_may_be_a_member(tmp_path: Path) -> None:
    place = made(tmp_path / "p")
    own, model = place / "fraud" / "learners.py", place / "fraud" / "model.yaml"
    own.write_text(TREES)
    model.write_text(model.read_text().replace("[logistic, lightgbm]", "[extra_trees, lightgbm]"))
    found = search(*opened(place), clock=CLOCK, trials=4, jobs=1)
    assert "extra_trees" in fitted_learners("blend", blend_of(found).hyperparameters)
    kept = kept_search(project=Project.open(place, environment={}))
    kept.check(blend_of(found))
    own.write_text(TREES + "\n# other\n")
    with pytest.raises(DataError, match="has changed since search"):
        kept.check(blend_of(found))


def test_one_trial_alone_makes_no_blend(tmp_path: Path) -> None:
    found = search(*opened(made(tmp_path / "p")), clock=CLOCK, trials=1, jobs=1)
    assert {trial.name for trial in found.trials} == {"y1", "y2", "1"}
    assert found.winner is not None
    assert found.winner.trial.name == "1"


def test_numbers_are_blended_too(tmp_path: Path) -> None:
    root = tmp_path / "p"
    numeric_project(root)
    model = root / "trip" / "model.yaml"
    model.write_text(model.read_text().replace("search: {", "search: {choose: blend, "))
    found = search(*opened(root), clock=CLOCK, jobs=1)
    blend = blend_of(found)
    assert blend.status == "done"
    assert blend.value is not None
    assert blend.value <= max(trial.value or 0.0 for trial in members(found))
