"""A ledger and a folder, as an engine needs them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from everloop.clock import SystemClock
from everloop.ledger import Ledger
from everloop.workflows import Engine, Workflow

OpenEngine = Callable[..., Engine]


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.open(tmp_path / "ledger.db", clock=SystemClock()) as ledger:
        yield ledger


@pytest.fixture
def open_engine(tmp_path: Path, ledger: Ledger) -> OpenEngine:
    """Opens an engine on the test's folder."""

    def open_it(workflows: Sequence[Workflow], *, slot: str = "cli", resources: object = None) -> Engine:
        return Engine.open(
            tmp_path, ledger=ledger, clock=SystemClock(), slot=slot, workflows=workflows, resources=resources
        )

    return open_it
