"""This room's pages as a person opens them: in a real browser, with nothing fetched and every chart drawn."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

from everloop.clock import SystemClock
from everloop.experiment import explore, plan_online, search
from everloop.project import Model, Project

from .made import numeric_project, payments, project

CHROMIUM = shutil.which("chromium")


@dataclass(frozen=True)
class Opened:
    """A page as the browser drew it. fetched: addresses outside of the page itself."""

    heading: str
    lead: str
    charts: int
    fits: bool
    mistakes: list[str]
    fetched: list[str]


def opened(page_file: Path) -> Opened:
    assert CHROMIUM is not None, "CI needs chromium"
    asked: list[str] = []
    mistakes: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-background-networking"]
        )
        page = browser.new_page(viewport={"width": 1000, "height": 1400})
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: mistakes.append(str(error)))
        page.goto(page_file.as_uri())
        page.wait_for_selector("svg, canvas")
        seen = Opened(
            heading=page.locator("h1").inner_text(),
            lead=page.locator("p").first.inner_text(),
            charts=page.locator("svg, canvas").count(),
            fits=page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"),
            mistakes=mistakes,
            fetched=[url for url in asked if not url.startswith(("file:", "blob:", "data:"))],
        )
        browser.close()
    return seen


needs_chromium = pytest.mark.skipif(
    CHROMIUM is None and not os.environ.get("CI"), reason="Debian's chromium is not installed"
)


@pytest.mark.slow
@needs_chromium
def test_the_page_draws_its_charts_and_fetches_nothing(tmp_path: Path) -> None:
    found, model = project(tmp_path / "shop", payments(2_000))
    page_file = tmp_path / "explore.html"
    explore(found, model, out=page_file)
    seen = opened(page_file)
    assert seen.heading == "fraud: what the data looks like"
    assert seen.charts >= 2
    assert seen.fits
    assert (seen.mistakes, seen.fetched) == ([], [])


@pytest.mark.slow
@needs_chromium
def test_the_plan_of_an_experiment_draws_its_chart_and_fetches_nothing(tmp_path: Path) -> None:
    found, model = project(tmp_path / "shop", payments(2_000))
    plan = plan_online(found, model, share="1%", out=tmp_path / "plan.html")
    seen = opened(tmp_path / "plan.html")
    assert seen.heading == "fraud: is an experiment online ready?"
    assert seen.lead == plan.sentence
    assert seen.charts == 1
    assert seen.fits
    assert (seen.mistakes, seen.fetched) == ([], [])


def payments_project(root: Path) -> tuple[Project, Model]:
    return project(root, payments(), learners="lightgbm")


@pytest.mark.slow
@needs_chromium
@pytest.mark.parametrize(("made", "charts"), [(payments_project, 4), (numeric_project, 3)])
def test_a_leaderboard_draws_its_charts_and_fetches_nothing(
    tmp_path: Path, made: Callable[[Path], tuple[Project, Model]], charts: int
) -> None:
    board = search(*made(tmp_path / "p"), clock=SystemClock(), trials=2, jobs=1, out=tmp_path / "board.html")
    seen = opened(tmp_path / "board.html")
    assert seen.heading == f"{board.model}: {board.objective}"
    assert seen.lead == board.verdict.sentence
    assert seen.charts == charts
    assert seen.fits
    assert (seen.mistakes, seen.fetched) == ([], [])
