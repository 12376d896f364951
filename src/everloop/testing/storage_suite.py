"""The conformance suite of storages: what every implementation of `Storage` is held to.

class TestMine(StorageSuite):
    @pytest.fixture
    def storage(self):
        return MyStorage(…)
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

from everloop.storage import Entry, Storage

__all__ = ["StorageSuite"]


class StorageSuite:
    """Derive from it, and give a fixture `storage` that is empty."""

    @staticmethod
    def read(storage: Storage, key: str) -> bytes | None:
        """The bytes under a key; None where there are none."""
        found = storage.open(key)
        if found is None:
            return None
        with found as stream:
            return stream.read()

    def test_what_was_written_is_read(self, storage: Storage) -> None:
        """Bytes come back as they went, none and many alike."""
        for data in (b"", b"one", bytes(range(256)) * 8192):
            storage.write("a/b.bin", data)
            assert self.read(storage, "a/b.bin") == data

    def test_a_file_is_written_as_its_bytes(self, storage: Storage, tmp_path: Path) -> None:
        """A path stands for what the file holds."""
        file = tmp_path / "file"
        file.write_bytes(b"12345" * 1000)
        storage.write("f", file)
        assert self.read(storage, "f") == file.read_bytes()

    def test_what_is_not_there_is_none(self, storage: Storage) -> None:
        """No object, no error; a prefix of a key is no object."""
        storage.write("a/b", b"x")
        assert storage.open("a") is None
        assert storage.open("nothing") is None

    def test_create_gives_way_to_what_is_there(self, storage: Storage) -> None:
        """The first bytes stay; the same again are as good as made."""
        assert storage.create("log/1", b"first")
        assert not storage.create("log/1", b"second")
        assert storage.create("log/1", b"first")
        assert self.read(storage, "log/1") == b"first"

    def test_of_many_who_create_at_once_one_does(self, storage: Storage) -> None:
        """However they race, all agree on whose bytes are there."""
        made: list[int] = []
        begin = threading.Barrier(8)

        def try_it(number: int) -> None:
            begin.wait()
            if storage.create("log/2", str(number).encode()):
                made.append(number)

        threads = [threading.Thread(target=try_it, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [str(number).encode() for number in made] == [self.read(storage, "log/2")]

    def test_a_listing_is_sorted_and_keeps_to_its_prefix(self, storage: Storage) -> None:
        """Keys and sizes, with no other than those asked for."""
        for key in ("b/2", "a/1", "b/1", "b/10", "c"):
            storage.write(key, key.encode())
        assert list(storage.list("b/")) == [Entry(key=key, size=len(key)) for key in ("b/1", "b/10", "b/2")]
        assert [entry.key for entry in storage.list("")] == ["a/1", "b/1", "b/10", "b/2", "c"]
        assert list(storage.list("nothing")) == []

    def test_what_is_removed_is_gone(self, storage: Storage) -> None:
        """Once and twice."""
        storage.write("a", b"x")
        storage.remove("a")
        storage.remove("a")
        assert storage.open("a") is None

    def test_no_key_leads_out(self, storage: Storage) -> None:
        """A key that could mean another place is refused before anything is reached."""
        for key in ("", "/a", "a/", "a//b", "../a", "a/../b", "a/./b", "a\nb", "a?b"):
            assert _refusal(partial(storage.write, key, b"x")), f"{key!r} was taken for a key"
            assert _refusal(partial(storage.open, key)), f"{key!r} was taken for a key"


def _refusal(reach: Callable[[], object]) -> str:
    try:
        reach()
    except ValueError as error:
        return str(error)
    return ""
