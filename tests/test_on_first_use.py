"""A name of a door is loaded where it is first used, and an unknown one is no name."""

from __future__ import annotations

import subprocess
import sys

import pytest

from everloop.on_first_use import on_first_use


def test_a_name_is_that_of_its_module() -> None:
    from everloop.ids import content_id

    assert on_first_use("everloop", {"content_id": "ids"})("content_id") is content_id


@pytest.mark.parametrize("door", ["everloop", "everloop.bundle", "everloop.control"])
def test_an_unknown_name_is_told_and_nothing_is_loaded_for_the_door(door: str) -> None:
    code = f"import {door}, sys; assert 'polars' not in sys.modules; {door}.nothing"
    done = subprocess.run([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, check=False)
    assert done.stderr.splitlines()[-1] == f"AttributeError: module '{door}' has no attribute 'nothing'"
