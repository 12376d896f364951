"""A storage that lasts as long as its process: for tests, and to try something out."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO

from everloop.storage.storage import Entry, check_key

__all__ = ["MemoryStorage"]


class MemoryStorage:
    """Objects in a dictionary."""

    def __init__(self) -> None:
        self._objects: dict[str, bytes] = {}
        self._lock = threading.Lock()

    @property
    def address(self) -> str:
        """No place that anyone else could reach."""
        return "memory:"

    def open(self, key: str) -> AbstractContextManager[BinaryIO] | None:
        """The bytes as a stream; None where there are none."""
        with self._lock:
            data = self._objects.get(check_key(key))
        return None if data is None else io.BytesIO(data)

    def write(self, key: str, data: bytes | Path) -> None:
        """Keep the bytes."""
        kept = data.read_bytes() if isinstance(data, Path) else data
        with self._lock:
            self._objects[check_key(key)] = kept

    def create(self, key: str, data: bytes) -> bool:
        """Keep the bytes where nothing is kept."""
        with self._lock:
            return self._objects.setdefault(check_key(key), data) == data

    def list(self, prefix: str) -> Iterator[Entry]:
        """The keys that begin so."""
        with self._lock:
            found = sorted((key, len(data)) for key, data in self._objects.items() if key.startswith(prefix))
        return (Entry(key=key, size=size) for key, size in found)

    def remove(self, key: str) -> None:
        """Forget the bytes."""
        with self._lock:
            self._objects.pop(check_key(key), None)

    def reader_options(self) -> Mapping[str, str]:
        """Nothing: no other reader reaches it."""
        return {}
