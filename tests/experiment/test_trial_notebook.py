"""Any trial as a notebook: it runs on its own and ends in the leaderboard's number, or it is not made."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest
import yaml

from everloop.clock import SystemClock
from everloop.errors import DataError, FitFailed, NotFound, UsageError
from everloop.experiment import (
    KeptSearch,
    Leaderboard,
    combined,
    kept_search,
    kept_searches,
    search,
    trial_notebook,
    write_trial_notebook,
)
from everloop.project import Project, Spec, executed
from tests.experiment.made import FEATURES, numeric_project, opened, payments, project
from tests.experiment.test_search import TREES

CLOCK = SystemClock()


def cells(text: str, kind: str) -> list[str]:
    return ["".join(cell["source"]) for cell in json.loads(text)["cells"] if cell["cell_type"] == kind]


def run(text: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The code of every cell, in order, from the project's folder: what a kernel does, without its start."""
    monkeypatch.chdir(root)
    names: dict[str, Any] = {}
    for source in cells(text, "code"):
        exec(source, names)
    return names


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search on two folds with trials of two learners, calibrated."""
    root = tmp_path_factory.mktemp("kept") / "p"
    project(root, payments(positives=0.25))
    model = root / "fraud" / "model.yaml"
    model.write_text(model.read_text().replace("search: {", "search: {calibration: logistic, "))
    search(*opened(root), clock=CLOCK, trials=4, jobs=1, fit_rows=1_200)
    return root


@pytest.fixture
def kept(place: Path) -> KeptSearch:
    return kept_search(project=Project.open(place, environment={}))


def test_a_fresh_kernel_finds_the_same_number(kept: KeptSearch, place: Path) -> None:
    trial = next(trial for trial in kept.ranked if trial.learner == "lightgbm")
    text, problem = executed(trial_notebook(kept, trial), folder=place / "fraud")
    assert problem is None
    outputs = [output for cell in json.loads(text)["cells"] for output in cell.get("outputs", [])]
    assert "".join(outputs[-1]["text"]) == f"{trial.value!r}, as on the leaderboard\n"
    assert any("<svg" in "".join(output.get("data", {}).get("text/html", "")) for output in outputs)


def test_every_kind_of_trial_finds_its_number(kept: KeptSearch, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logistic = next(trial for trial in kept.ranked if trial.learner == "logistic" and trial.kind == "trial")
    value, interval = combined(logistic.folds[:1])
    first = logistic.folds[:1]
    pruned = msgspec.structs.replace(
        logistic, status="pruned", folds=first, value=value, interval=interval.to_dict(), threshold=first[0].threshold
    )
    for trial in (pruned, logistic, kept.trial("y2")):
        names = run(trial_notebook(kept, trial), place, monkeypatch)
        assert names["value"] == trial.value
        assert names["interval"] == trial.range
        assert [score.threshold for score in names["scores"]] == [fold.threshold for fold in trial.folds]
        assert [score.metrics for score in names["scores"]] == [fold.metrics for fold in trial.folds]


def test_a_number_with_quantiles_is_found_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "p"
    search(*numeric_project(root, objective="pinball", learners="lightgbm"), clock=CLOCK, trials=1, jobs=1)
    found = kept_search(project=Project.open(root, environment={}))
    for trial in (found.trial(1), found.trial("y1")):
        names = run(trial_notebook(found, trial), root, monkeypatch)
        assert (names["value"], names["interval"]) == (trial.value, trial.range)


def test_a_number_of_a_model_with_categories_is_found_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "p"
    frame = payments(1_500, positives=0.2)
    bank = pl.Series("bank", [("ab", "cd", "ef")[at % 3] for at in range(frame.height)])
    project(root, frame.with_columns(bank, fraud=(pl.col("fraud") + (bank == "cd")).clip(0, 1)), learners="logistic")
    search(*opened(root), clock=CLOCK, trials=1, jobs=1)
    found = kept_search(project=Project.open(root, environment={}))
    for trial in (found.trial(1), found.trial("y2")):
        assert run(trial_notebook(found, trial), root, monkeypatch)["value"] == trial.value


def test_a_learner_of_ones_own_is_found_and_a_changed_one_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "p"
    project(root, payments(), learners="logistic, lightgbm")
    (root / "fraud" / "learners.py").write_text(TREES)
    model = root / "fraud" / "model.yaml"
    model.write_text(model.read_text().replace("lightgbm", "extra_trees"))
    search(*opened(root), clock=CLOCK, trials=2, jobs=1)
    found = kept_search(project=Project.open(root, environment={}))
    trees, logistic = (
        next(t for t in found.ranked if (t.kind, t.learner) == ("trial", name)) for name in ("extra_trees", "logistic")
    )
    assert run(trial_notebook(found, trees), root, monkeypatch)["value"] == trees.value
    (root / "fraud" / "learners.py").write_text(TREES.replace("max_depth=8", "max_depth=3"))
    with pytest.raises(DataError, match=r"fraud/learners.py has changed since search \w+, so extra_trees"):
        found.check(trees)
    found.check(logistic)


def test_the_same_trial_gives_the_same_bytes_also_after_the_search_was_repeated(kept: KeptSearch, place: Path) -> None:
    trial = kept.trial(1)
    first = trial_notebook(kept, trial)
    search(*opened(place), clock=CLOCK, trials=4, jobs=1, fit_rows=1_200)
    again = kept_search(kept.plan.id, project=Project.open(place, environment={}))
    assert trial_notebook(again, again.trial("1")) == first
    assert str(place) not in first


def test_what_it_says_of_the_hand_over_leads_to_the_same_trial(kept: KeptSearch, tmp_path: Path) -> None:
    trial = next(trial for trial in kept.ranked if trial.learner == "lightgbm")
    said = next(text for text in cells(trial_notebook(kept, trial), "markdown") if "hand it over" in text)
    keys = yaml.safe_load(said.split("```yaml")[1].split("```")[0])
    root = tmp_path / "p"
    project(root, payments(positives=0.25))
    model = root / "fraud" / "model.yaml"
    values = yaml.safe_load(model.read_text())
    values["search"] = {**keys["search"], "calibration": "logistic"}
    model.write_text(yaml.safe_dump(values))
    board: Leaderboard = search(*opened(root), clock=CLOCK, jobs=1, fit_rows=1_200)
    (only,) = (one for one in board.trials if one.kind == "trial")
    assert (only.value, only.hyperparameters) == (trial.value, trial.hyperparameters)
    assert board.verdict.outcome == "passed"
    spec = Spec.new(name="fraud-s1", objective=board.objective, learner="lightgbm", hyperparameters={"max_depth": 3})
    beside = search(*opened(root), clock=CLOCK, jobs=1, fit_rows=1_200, champion=spec)
    tried = {one.number: one.hyperparameters for one in beside.trials if one.kind == "trial"}
    assert (tried[1]["max_depth"], tried[2], len(tried)) == (3, trial.hyperparameters, 2)


def test_a_persons_notebook_is_not_written_over(kept: KeptSearch, tmp_path: Path) -> None:
    path, text = tmp_path / "n.ipynb", trial_notebook(kept, kept.trial(1))
    write_trial_notebook(path, text)
    with_results = json.loads(text)
    with_results["cells"][1]["execution_count"] = 7
    path.write_text(json.dumps(with_results))
    write_trial_notebook(path, text)  # results are no work of a person's
    assert path.read_text() == text
    for other in (text.replace("hyperparameters = {", "hyperparameters = {  # mine"), "not JSON"):
        path.write_text(other)
        with pytest.raises(UsageError, match="say --out FILE"):
            write_trial_notebook(path, text)
        assert path.read_text() == other


def test_what_is_not_there_is_named(kept: KeptSearch, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"has no trial 99; it has trials 1 to 4 and y1, y2"):
        kept.trial(99)
    with pytest.raises(NotFound, match=f"fraud has no search abc; it has {kept.plan.id}"):
        kept_search("abc", project=kept.project)
    empty, _ = project(tmp_path / "p", payments(500))
    for asked in (None, "abc"):
        with pytest.raises(NotFound, match="fraud has no search yet; 'everloop search' runs one"):
            kept_search(asked, project=empty)
    (tmp_path / "p" / ".everloop" / "searches" / "x").mkdir(parents=True)
    (tmp_path / "p" / ".everloop" / "searches" / "x" / "plan.json").write_text("{")
    with pytest.raises(DataError, match=r"plan.json cannot be read"):
        kept_search(project=empty)


def test_changed_rows_or_features_are_told_before_a_notebook_is_made(tmp_path: Path) -> None:
    root = tmp_path / "p"
    frame = payments(1_000, positives=0.2)
    search(*project(root, frame, learners="lightgbm"), clock=CLOCK, trials=1, jobs=1)
    found = kept_search(project=Project.open(root, environment={}))
    trial = found.trial(1)
    found.check(trial)
    (root / "fraud" / "features.py").write_text(FEATURES.replace("< 6", "< 5"))
    with pytest.raises(DataError, match=f"rows of search {found.plan.id} have changed since"):
        found.check(trial)
    (root / "fraud" / "features.py").write_text(FEATURES)
    found.check(trial)
    later = frame.with_columns(pl.col("payment") + "x", pl.col("paid_at") + pl.duration(days=3650))
    pl.concat([frame, later]).write_parquet(root / "payments.parquet")
    found.check(trial)  # rows that came later change nothing
    frame.with_columns(pl.when(pl.col("payment") == "p7").then(9.5).otherwise("amount").alias("amount")).write_parquet(
        root / "payments.parquet"
    )
    with pytest.raises(DataError, match="'everloop search' searches the rows as they are"):
        found.check(trial)


def test_a_failed_trial_has_no_number_to_find(tmp_path: Path) -> None:
    root = tmp_path / "p"
    project(root, payments(1_000, positives=0.2), learners="lightgbm, logistic")
    (root / "fraud" / "learners.py").write_text(TREES.replace("ExtraTreesClassifier(", "ExtraTreesClassifier(oops="))
    model = root / "fraud" / "model.yaml"
    model.write_text(model.read_text().replace("lightgbm, logistic", "extra_trees, logistic"))
    search(*opened(root), clock=CLOCK, trials=2, jobs=1)
    found = kept_search(project=Project.open(root, environment={}))
    failed = next(trial for trial in found.ranked if trial.status == "failed")
    with pytest.raises(FitFailed, match=f"trial {failed.name} of search {found.plan.id} has no number to find"):
        trial_notebook(found, failed)


def test_the_newest_search_comes_first_and_each_is_found_by_its_id(tmp_path: Path) -> None:
    root = tmp_path / "p"
    made = project(root, payments(1_000, positives=0.2), learners="lightgbm")
    ids = [search(*made, clock=CLOCK, trials=1, seed=seed, jobs=1).search for seed in (0, 1)]
    assert [plan.id for plan in kept_searches(*made)] == ids
    assert kept_search(project=made[0]).plan.seed == 1
    assert kept_search(ids[0], project=made[0]).plan.seed == 0
    search(*made, clock=CLOCK, trials=1, seed=0, jobs=1)
    assert kept_search(project=made[0], model="fraud").plan.id == ids[0]


def test_a_trial_that_is_read_while_its_line_is_written_is_not_there_yet(tmp_path: Path) -> None:
    root = tmp_path / "p"
    made = project(root, payments(1_000, positives=0.2), learners="lightgbm")
    board = search(*made, clock=CLOCK, trials=1, jobs=1)
    log = root / ".everloop" / "searches" / board.search / "trials.jsonl"
    half = log.read_bytes() + b'{"trial":{"num'
    log.write_bytes(half)
    assert len(kept_search(project=made[0]).trials) == 3
    assert log.read_bytes() == half  # whoever reads cuts nothing


def test_other_libraries_are_named(kept: KeptSearch) -> None:

    assert kept.other_libraries == ()
    older = msgspec.structs.replace(kept.plan, libraries={**kept.plan.libraries, "numpy": "1.0", "gone": "2"})
    said = replace(kept, plan=older).other_libraries
    assert said[0].endswith("and was 1.0")
    assert said[1] == "gone is not installed and was 2"
