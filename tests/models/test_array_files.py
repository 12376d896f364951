"""Arrays in files: the same values whichever way they came there, and no file written twice."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from everloop.errors import FitFailed
from everloop.models import FitProcess, FitResult, fit_all
from everloop.models.array_files import ArrayFiles
from tests.models.rows import request


def test_what_is_put_is_read(tmp_path: Path) -> None:
    files, across = ArrayFiles(), np.arange(12, dtype=np.float32).reshape(3, 4).T
    files.put(across, tmp_path / "a.npy")
    found = np.load(tmp_path / "a.npy", mmap_mode="r")
    assert found.flags.c_contiguous
    np.testing.assert_array_equal(found, across)


def test_a_room_is_the_file_that_it_is_put_into(tmp_path: Path) -> None:
    files = ArrayFiles()
    array = files.room(tmp_path / "room.npy", (5, 2))
    assert not array.any()
    array[:] = 7
    files.put(array, tmp_path / "a.npy")
    files.put(array, tmp_path / "b.npy")
    assert os.path.samefile(tmp_path / "room.npy", tmp_path / "a.npy")
    assert os.path.samefile(tmp_path / "room.npy", tmp_path / "b.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "b.npy"), np.full((5, 2), 7, np.float32))


def test_another_array_is_another_file(tmp_path: Path) -> None:
    """Also one that lies where one that is gone lay, and one that is a part of one that is there."""
    files, whole = ArrayFiles(), np.arange(10, dtype=np.float32).reshape(5, 2)
    files.put(whole, tmp_path / "whole.npy")
    files.put(whole[1:], tmp_path / "part.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "part.npy"), whole[1:])
    for at in range(50):
        array = np.full((4, 4), at, np.float32)
        files.put(array, tmp_path / f"{at}.npy")
        del array
    assert [float(np.load(tmp_path / f"{at}.npy")[0, 0]) for at in range(50)] == list(range(50))


def test_no_rows_are_an_array_too(tmp_path: Path) -> None:
    files = ArrayFiles()
    files.put(files.room(tmp_path / "room.npy", (0, 3)), tmp_path / "a.npy")
    assert np.load(tmp_path / "a.npy", mmap_mode="r").shape == (0, 3)


def test_where_there_are_no_hard_links_it_is_written_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_paths: object) -> None:
        raise OSError(errno.EPERM, "no hard links here")

    monkeypatch.setattr(os, "link", refused)
    files = ArrayFiles()
    array = files.room(tmp_path / "room.npy", (2, 2))
    array[:] = 3
    files.put(array, tmp_path / "a.npy")
    assert not os.path.samefile(tmp_path / "room.npy", tmp_path / "a.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), array)


def test_a_fit_of_rows_that_were_made_in_its_room_is_the_same(fitted: dict[str, FitResult], tmp_path: Path) -> None:
    process = FitProcess(scratch=tmp_path)
    asked = request("xgboost")
    X = process.room((len(asked.X), asked.X.shape[1]))
    X[:] = asked.X
    found = fit_all([request("xgboost", X=X), request("constant", X=X)], process=process)
    assert [one.graph for one in found] == [fitted["xgboost"].graph, fitted["constant"].graph]
    assert list(tmp_path.iterdir()) == []


def test_without_room_it_says_how_much_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_said: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with FitProcess(scratch=tmp_path) as process:
        with pytest.raises(
            FitFailed, match=r"the rows for a fit \(40 MB\) could not be written to .*No space left"
        ) as found:
            process.room((1_000_000, 10))
        assert "make room there and run it again" in str(found.value)
    assert list(tmp_path.iterdir()) == []
