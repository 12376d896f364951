from __future__ import annotations

from dataclasses import dataclass

import polars as pl
import pytest

from everloop.improvement import Investigation
from everloop.ledger import AlertState

from .place import Place


@dataclass(frozen=True)
class Case:
    """An investigated alert."""

    alert: AlertState
    made: Investigation
    coming: pl.DataFrame


@pytest.fixture(scope="package")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A bank where a new fraud pattern appeared on day 19; each test opens alerts of its own."""
    return Place(tmp_path_factory.mktemp("improvement"))


@pytest.fixture(scope="package")
def case(place: Place) -> Case:
    """The alert of the new pattern, investigated; of the payments since, none has its outcome yet."""
    coming = place.source.filter(pl.col("Time") >= 27 * 86_400)
    place.serve(coming)
    alert = place.alert("a-named0")
    return Case(alert=alert, made=place.investigate(alert, execute=True), coming=coming)
