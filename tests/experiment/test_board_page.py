"""A leaderboard as people look at it: the page, the fragment of a notebook, and what its charts hold."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from everloop.clock import SystemClock
from everloop.experiment import Leaderboard, Trial, search
from everloop.experiment.board_charts import board_charts, history_chart, interval_chart
from everloop.experiment.decision_curves import POINTS
from tests.experiment.made import numeric_project, payments, project

CLOCK = SystemClock()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("board")


@pytest.fixture(scope="module")
def board(folder: Path) -> Leaderboard:
    """Eleven trials of one learner, with the page."""
    made = project(folder / "p", payments(), learners="lightgbm")
    return search(*made, clock=CLOCK, trials=11, jobs=1, out=folder / "board.html")


@pytest.fixture(scope="module")
def numbers(folder: Path) -> Leaderboard:
    return search(*numeric_project(folder / "n"), clock=CLOCK, jobs=1, out=folder / "numbers.html")


def data_of(chart: Any) -> list[list[dict[str, Any]]]:
    """The rows of every layer of a chart, in order."""
    spec = chart.to_dict()
    found: list[list[dict[str, Any]]] = []

    def visit(node: Any) -> None:
        if isinstance(node, list):
            for inner in node:
                visit(inner)
        elif isinstance(node, dict):
            data = node.get("data")
            if data is not None:
                found.append(data["values"] if "values" in data else spec["datasets"][data["name"]])
            for name, inner in node.items():
                if name not in ("data", "datasets"):
                    visit(inner)

    visit(spec)
    assert found
    return found


def test_the_page_holds_every_chart_and_fetches_nothing(board: Leaderboard, folder: Path) -> None:
    page = (folder / "board.html").read_text()
    assert board.page == str(folder / "board.html")
    titles = ["Objective", "Precision, recall and false alarms", "Calibration and threshold", "How the search went"]
    assert list(board_charts(board)) == [*titles, "Hyperparameters"]
    for title in board_charts(board):
        assert f"<h2>{title}</h2>" in page
    assert board.verdict.sentence in page.replace("&gt;", ">")
    head = page[: page.index("<script>")] + page[page.rindex('<body class="everloop">') :]
    for word in ("src=", "href=", "@import", "<link"):
        assert word not in head


def test_a_numbers_page_shows_residuals(numbers: Leaderboard, folder: Path) -> None:
    assert list(board_charts(numbers)) == ["Objective", "Residuals", "How the search went"]
    assert "<h2>Residuals</h2>" in (folder / "numbers.html").read_text()
    winner = numbers.curves[0].residuals
    assert winner is not None
    assert all(one.residuals is not None and one.residuals.edges == winner.edges for one in numbers.curves)


def test_the_charts_hold_no_row_beyond_what_a_curve_needs(board: Leaderboard, numbers: Leaderboard) -> None:
    drawn = [*board_charts(board).values(), *board_charts(numbers).values()]
    for rows in (rows for chart in drawn for rows in data_of(chart)):
        trials = {row.get("trial") for row in rows}
        assert len(rows) <= (POINTS + 2) * len(trials)
    assert len(board.curves) <= 1 + 3 + 2


def test_the_winner_is_in_front_and_the_yardsticks_are_there(board: Leaderboard) -> None:
    assert board.winner is not None
    assert (board.curves[0].name, board.curves[0].role) == (board.winner.trial.name, "winner")
    assert {one.learner for one in board.curves if one.role == "yardstick"} == {"constant", "logistic"}
    assert len({one.name for one in board.curves}) == len(board.curves)
    assert board.curves[0].decisions is not None
    assert board.curves[0].decisions.chosen is not None
    assert board.curves[0].decisions.chosen.threshold == board.winner.trial.threshold
    assert board.curves[0].rows == board.data.validation[0]
    assert board.curves[0].positives == board.data.validation[1]


def test_the_history_has_every_trial_and_the_best_so_far(board: Leaderboard) -> None:
    best, points = data_of(history_chart(board))[-2:]
    assert [row["number"] for row in points] == list(range(1, 12))
    values = [row["value"] for row in best]
    assert values == sorted(values)
    assert values[-1] == max(t.value for t in board.trials if t.kind == "trial" and t.status == "done" and t.value)
    marks = {t.number: {"done": "done", "pruned": "given up"}[t.status] for t in board.trials if t.kind == "trial"}
    assert {row["number"]: row["is"] for row in points} == marks


def test_failed_trials_are_marked_and_none_at_all_still_makes_a_page(board: Leaderboard) -> None:
    failed = Trial(number=12, kind="trial", learner="lightgbm", hyperparameters={}, status="failed", sentence="<b>no")
    more = replace(board, trials=(*board.trials, failed))
    points = data_of(history_chart(more))[-1]
    assert [row["is"] for row in points if row["number"] == 12] == ["failed"]
    nothing = replace(board, trials=(failed,), winner=None, curves=(), parameters={})
    fragment = nothing._repr_html_()
    assert "&lt;b&gt;no" in fragment
    assert "<b>no" not in fragment


def test_at_most_fifteen_trials_have_their_interval_drawn(board: Leaderboard) -> None:
    rows = data_of(interval_chart(board, most=5))[0]
    assert sum(row["role"] != "yardsticks" for row in rows) in (5, 6)
    assert sum(row["role"] == "winner" for row in rows) == 1


def test_a_notebook_shows_pictures_and_no_script(board: Leaderboard, numbers: Leaderboard) -> None:
    for one in (board, numbers):
        fragment = one._repr_html_()
        assert fragment.count("<svg") == len(board_charts(one))
        assert "<script" not in fragment


def test_the_same_curves_give_the_same_picture(numbers: Leaderboard) -> None:
    picture = numbers.curves[0]._repr_html_()
    assert "<svg" in picture
    assert picture == numbers.curves[0]._repr_html_()


def test_the_record_stays_small(board: Leaderboard) -> None:
    record = board.to_dict()
    assert "curves" not in record
    assert record["parameters"] == board.parameters
    assert len(json.dumps({**record, "trials": []})) < 4_000
