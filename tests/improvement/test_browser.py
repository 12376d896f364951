"""The investigation's report as a person opens it: in a real browser, drawn, and with nothing fetched."""

from __future__ import annotations

import os
import shutil

import pytest
from playwright.sync_api import sync_playwright

from .conftest import Case
from .place import Place

CHROMIUM = shutil.which("chromium")


@pytest.mark.skipif(CHROMIUM is None and not os.environ.get("CI"), reason="Debian's chromium is not installed")
def test_the_report_is_drawn_and_fetches_nothing(place: Place, case: Case) -> None:
    assert CHROMIUM is not None, "CI needs chromium"
    assert case.made.report_path is not None
    asked: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-background-networking"]
        )
        page = browser.new_page(viewport={"width": 700, "height": 900})
        page.on("request", lambda request: asked.append(request.url))
        page.goto((place.project.root / case.made.report_path).as_uri())
        heading, lead = page.locator("h1").inner_text(), page.locator("p.lead").inner_text()
        drawn = [box["height"] for box in (one.bounding_box() for one in page.locator("svg").all()) if box]
        wide = page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        told = page.locator("dt").all_inner_texts()
        browser.close()
    assert heading == "fraud/v1, alert a-named0: recall"
    assert lead == case.made.sentence
    assert {"Since when", "Where", "What it costs", "What would repair it"} <= set(told)
    assert len(drawn) == 2
    assert min(drawn) > 100
    assert wide
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
