"""A disk that is full: one sentence that says so, and the project as it was."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..experiment.made import payments
from .terminal import everloop


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A disk of 3 MB."""
    place = tmp_path / "small"
    place.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(place)], capture_output=True)
    if made.returncode:
        pytest.skip("only root may make a small disk, and not in every container")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill(place: Path) -> Path:
    """A file that takes all the room that is left."""
    path = place / "filler"
    with path.open("wb", buffering=0) as handle, contextlib.suppress(OSError):
        while True:
            handle.write(bytes(4096))
    assert shutil.disk_usage(place).free == 0
    return path


def test_every_command_says_that_the_disk_is_full_and_leaves_the_project_as_it_was(small: Path) -> None:
    payments(2_000, positives=0.2).write_parquet(small.parent / "pay.parquet")
    assert everloop("init", "shop", "--data", "../pay.parquet", cwd=small).code == 0
    shop = small / "shop"
    filler = fill(small)
    before = {path: path.read_bytes() for path in shop.rglob("*") if path.is_file()}
    for words in (("explore",), ("search", "--trials", "1"), ("status",), ("train",), ("audit", "verify"), ("up",)):
        ended = everloop(*words, cwd=shop)
        assert (ended.code, ended.out) == (1, ""), words
        assert "is full" in ended.err, words
        assert "free some space" in ended.err, words
        assert "backup" not in ended.err, words
    assert {path: path.read_bytes() for path in shop.rglob("*") if path.is_file() and path in before} == before
    filler.unlink()
    assert everloop("audit", "verify", cwd=shop).code == 0


def test_a_project_that_does_not_fit_is_not_begun(small: Path) -> None:
    ended = everloop("init", "shop", cwd=small)
    assert ended.code == 1
    assert "everloop: the disk is full" in ended.err
    assert list(small.iterdir()) == []
