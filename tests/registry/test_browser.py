"""A version's card as a person opens it: in a real browser, with nothing fetched and all of it drawn."""

from __future__ import annotations

from pathlib import Path

import pytest

from everloop.clock import SimulatedClock
from everloop.ledger import Ledger
from everloop.registry import version_card, write_card

from ..experiment.test_browser import needs_chromium, opened
from ..production.shop import NOW
from .family import trained_family


@pytest.mark.slow
@needs_chromium
def test_the_card_is_drawn_and_fetches_nothing(tmp_path: Path) -> None:
    found = trained_family(tmp_path / "shop")
    clock = SimulatedClock(NOW)
    with Ledger.open(found, clock=clock) as ledger:
        write_card(version_card(found, ledger, clock, model="fraud", number=2), tmp_path / "card.html")
    seen = opened(tmp_path / "card.html")
    assert seen.heading == "fraud/v2"
    assert "approved by alice on 2024-04-01" in seen.lead
    assert seen.charts >= 3  # metrics, segments, lineage
    assert seen.fits
    assert (seen.mistakes, seen.fetched) == ([], [])
