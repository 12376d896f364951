from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serving.place import Endpoint, Place, endpoint


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place.make(tmp_path)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Place, Endpoint]]:
    """One project with one version, served for all tests of a module."""
    place = Place.make(tmp_path_factory.mktemp("served"))
    place.deployed()
    with endpoint(place.project.root) as running:
        yield place, running
