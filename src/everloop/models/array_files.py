"""Arrays as .npy files that another process maps: one that lies in a file already is not written again."""

from __future__ import annotations

import contextlib
import os
import weakref
from pathlib import Path

import numpy as np

__all__ = ["ArrayFiles"]


class ArrayFiles:
    """The files that arrays of this process lie in, for as long as these arrays are."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[weakref.ref[np.ndarray], Path]] = {}

    def room(self, path: Path, shape: tuple[int, ...]) -> np.ndarray:
        """An array to be filled, in the new file `path`: Float32, zeros. Raises OSError where it has no room."""
        array = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
        if hasattr(os, "posix_fallocate"):  # else a disk that is full is told by a signal, as the array is filled
            with path.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
        self._remember(array, path)
        return array

    def put(self, array: np.ndarray, path: Path) -> None:
        """Let the new file `path` hold the array, in C order. Raises OSError.

        One that was put, or that there was room for, is in the same file under another name, where the file system
        has such; it must not have been written to since it was put.
        """
        known, there = self._known.get(id(array), (None, path))
        if known is not None and known() is array:
            with contextlib.suppress(OSError):
                os.link(there, path)
                return
        np.save(path, np.ascontiguousarray(array), allow_pickle=False)
        self._remember(array, path)

    def _remember(self, array: np.ndarray, path: Path) -> None:
        self._known = {key: known for key, known in self._known.items() if known[0]() is not None}
        self._known[id(array)] = (weakref.ref(array), path)
