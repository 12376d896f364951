"""What all tests have in common."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from .ready import ready_fits

# What a shell begins in the background ignores Ctrl-C, and so would every process of ours that a test sends one.
signal.signal(signal.SIGINT, signal.default_int_handler)

_BEGIN_THEM_ANEW = ("tests.test_child_process", "tests.models.test_process")


@pytest.fixture(autouse=True, scope="module")
def fits_begin_at_once(request: pytest.FixtureRequest) -> Iterator[None]:
    """The libraries that a fit's process loads are loaded once, not for every training; not where that is tested."""
    if request.module.__name__ in _BEGIN_THEM_ANEW:
        yield
        return
    with ready_fits():
        yield
