from __future__ import annotations

import pytest

from everloop.models import FitResult, fit_here
from tests.models.rows import NAMES, request


@pytest.fixture(scope="session")
def fitted() -> dict[str, FitResult]:
    return {name: fit_here(request(name)) for name in NAMES}
