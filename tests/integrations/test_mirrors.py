"""Mirrors are found by entry point; one that is broken costs the others nothing."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import EntryPoint, EntryPoints
from typing import Any

import pytest

from everloop.control import mirrors
from everloop.errors import IntegrationError
from everloop.integrations.mlflow import Mirror
from tests.integrations.conftest import Place


def test_the_mlflow_mirror_is_found_where_it_is_wanted(made: Callable[..., Place]) -> None:
    place = made()
    (found,) = mirrors.load_mirrors(place.project, place.ledger, place.clock)
    assert isinstance(found, Mirror)
    off = made("null")
    assert mirrors.load_mirrors(off.project, off.ledger, off.clock) == []


def test_a_broken_integration_says_so_once(made: Callable[..., Place], monkeypatch: pytest.MonkeyPatch) -> None:
    place = made("null")
    broken = EntryPoint(name="jira", value="no_such_package:Mirror", group=mirrors.GROUP)

    def installed(**_: Any) -> EntryPoints:
        return EntryPoints([broken])

    monkeypatch.setattr(mirrors, "entry_points", installed)
    (mirror,) = mirrors.load_mirrors(place.project, place.ledger, place.clock)
    with pytest.raises(IntegrationError, match=r"the integration jira .* cannot be loaded: No module named"):
        mirror.sync()
    assert mirror.sync() == 0
    mirror.close()
