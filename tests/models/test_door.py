"""The doors of both rooms."""

from __future__ import annotations

import pytest

import everloop.bundle
import everloop.models


@pytest.mark.parametrize("room", [everloop.bundle, everloop.models])
def test_the_door_is_sorted_and_whole(room: object) -> None:
    names = room.__all__  # type: ignore[attr-defined]
    assert list(names) == sorted(names, key=lambda name: (not name.isupper(), name))
    assert all(getattr(room, name).__doc__ for name in names if name not in ("AGREEMENT", "Distribution", "Value"))
