from __future__ import annotations

import pytest

from everloop.bundle import BundleParts
from everloop.models import fit_here
from tests.bundle.parts import parts
from tests.models.rows import NAMES, request


@pytest.fixture(scope="session")
def graphs() -> dict[str, bytes]:
    return {name: fit_here(request(name)).graph for name in NAMES}


@pytest.fixture(scope="session")
def logistic(graphs: dict[str, bytes]) -> BundleParts:
    return parts("logistic", graph=graphs["logistic"])
