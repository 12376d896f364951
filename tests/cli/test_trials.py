"""`everloop trial`: what a search tried, one looked at, and a notebook that gives the same number."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ..experiment.made import payments, project
from .terminal import everloop


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("trials") / "shop"
    project(root, payments(2_000, positives=0.2), objective="average_precision", learners="lightgbm", trials=2)
    (root / "fraud" / "model.yaml").write_text(
        (root / "fraud" / "model.yaml").read_text().replace("search: {", "search: {folds: 2, ")
    )
    before = everloop("trial", "list", cwd=root)
    assert (before.code, before.err) == (1, "everloop: fraud has no search yet; 'everloop search' runs one\n")
    searched = everloop("search", "--jobs", "1", cwd=root)
    assert searched.code == 0, searched.err
    assert (root / ".everloop" / "reports" / "fraud-leaderboard.html").exists()
    assert "page: " in searched.out
    return root


def test_trials_are_listed_the_best_first(shop: Path) -> None:
    listed = everloop("trial", "list", cwd=shop)
    assert listed.code == 0, listed.err
    assert listed.err.startswith("search ")
    assert max(map(len, listed.out.splitlines())) <= 80
    record = everloop("trial", "list", "fraud", "--json", cwd=shop).json
    names = [f"y{one['number']}" if one["kind"] == "yardstick" else str(one["number"]) for one in record["trials"]]
    assert [line.split()[0] for line in listed.out.splitlines()[1:]] == names
    assert record["search"]["objective"] == "average_precision"
    assert everloop("trial", "list", "--search", record["search"]["id"], "--json", cwd=shop).json == record


def test_one_trial_is_shown_with_its_folds(shop: Path) -> None:
    shown = everloop("trial", "show", "1", cwd=shop)
    assert shown.code == 0, shown.err
    assert max(map(len, shown.out.splitlines())) <= 80
    trial = everloop("trial", "show", "1", "--json", cwd=shop).json["trial"]
    assert f"{trial['folds'][1]['value']:.4f}" in shown.out
    assert "num_leaves" in shown.out


def test_a_notebook_is_written_twice_the_same_and_run(shop: Path) -> None:
    made = everloop("trial", "notebook", "1", cwd=shop)
    assert (made.code, made.out) == (0, "fraud/notebooks/trial-1.ipynb\n"), made.err
    path = shop / "fraud" / "notebooks" / "trial-1.ipynb"
    text = path.read_bytes()
    assert everloop("trial", "notebook", "1", cwd=shop).code == 0
    assert path.read_bytes() == text
    ran = everloop("trial", "notebook", "y1", "--run", "--out", "base.ipynb", "--json", cwd=shop)
    assert ran.code == 0, ran.err
    assert ran.json["executed"] is True
    last = json.loads((shop / "base.ipynb").read_text())["cells"][-1]["outputs"][-1]
    assert "".join(last["text"]) == f"{ran.json['value']!r}, as on the leaderboard\n"


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (("show", "9"), 1, "has no trial 9; it has trials 1 to 2 and y1, y2"),
        (("notebook", "1", "--search", "nope"), 1, "fraud has no search nope; it has "),
        (("list", "frod"), 1, "frod"),
        (("notebook",), 2, "number"),
    ],
)
def test_what_is_not_there_is_one_sentence(shop: Path, words: tuple[str, ...], code: int, sentence: str) -> None:
    ended = everloop("trial", *words, cwd=shop)
    assert ended.code == code
    assert sentence in ended.err
    assert ended.out == ""


def test_changed_rows_are_told_and_nothing_is_written(shop: Path) -> None:
    features = shop / "fraud" / "features.py"
    before = features.read_text()
    features.write_text(before.replace("log1p", "sqrt"))
    ended = everloop("trial", "notebook", "2", cwd=shop)
    features.write_text(before)
    assert ended.code == 1
    assert "have changed since" in ended.err
    assert not (shop / "fraud" / "notebooks" / "trial-2.ipynb").exists()


def test_no_page_is_written_where_none_is_wanted(shop: Path) -> None:
    page = shop / ".everloop" / "reports" / "fraud-leaderboard.html"
    page.unlink()
    assert everloop("search", "--jobs", "1", "--no-page", cwd=shop).code == 0
    assert not page.exists()
