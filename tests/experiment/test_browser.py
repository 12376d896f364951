"""The exploration's page as a person opens it: in a real browser, with nothing fetched and every chart drawn."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

from everloop.experiment import explore

from .made import payments, project

CHROMIUM = shutil.which("chromium")


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None and not os.environ.get("CI"), reason="Debian's chromium is not installed")
def test_the_page_draws_its_charts_and_fetches_nothing(tmp_path: Path) -> None:
    assert CHROMIUM is not None, "CI needs chromium"
    found, model = project(tmp_path / "shop", payments(2_000))
    page_file = tmp_path / "explore.html"
    explore(found, model, out=page_file)
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
        charts = page.locator("svg, canvas").count()
        heading = page.locator("h1").inner_text()
        wide = page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        browser.close()
    assert heading == "fraud: what the data looks like"
    assert charts >= 2
    assert wide
    assert mistakes == []
    assert [url for url in asked if not url.startswith(("file:", "blob:", "data:"))] == []
