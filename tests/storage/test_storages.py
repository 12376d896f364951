"""Every storage is held to one suite; and S3 to what goes wrong with it."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

import pytest

from everloop.errors import IntegrationError, StorageFull
from everloop.storage import FolderStorage, MemoryStorage, Storage, is_address, open_storage
from everloop.testing import StorageSuite

from ..object_store import ObjectStore, answering, aws, failing, object_store, without_waits


@pytest.fixture(scope="module")
def store() -> Iterator[ObjectStore]:
    with object_store("artefacts") as store:
        yield store


def in_s3(store: ObjectStore, monkeypatch: pytest.MonkeyPatch, prefix: str = "payments") -> Storage:
    for name, value in store.variables.items():
        monkeypatch.setenv(name, value)
    open_storage.cache_clear()  # the variables of this test, not of the one before
    return open_storage(f"s3://{store.bucket}/{prefix}")


class TestFolderStorage(StorageSuite):
    @pytest.fixture
    def storage(self, tmp_path: Path) -> Storage:
        return FolderStorage(tmp_path / "objects")


class TestMemoryStorage(StorageSuite):
    @pytest.fixture
    def storage(self) -> Storage:
        return MemoryStorage()


class TestS3Storage(StorageSuite):
    @pytest.fixture
    def storage(self, store: ObjectStore, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Storage:
        return in_s3(store, monkeypatch, prefix=f"of/{abs(hash(request.node.nodeid))}")


class TestS3StorageThatAnswers500HalfTheTime(StorageSuite):
    @pytest.fixture
    def storage(
        self, store: ObjectStore, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
    ) -> Iterator[Storage]:
        without_waits(monkeypatch)
        with failing(store, share=0.5) as door:
            yield in_s3(door, monkeypatch, prefix=f"half/{abs(hash(request.node.nodeid))}")


def test_a_place_that_cannot_be_reached_is_said_in_a_sentence(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_waits(monkeypatch)
    storage = in_s3(store, monkeypatch)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    open_storage.cache_clear()
    closed = open_storage(f"s3://{store.bucket}/payments")
    with pytest.raises(IntegrationError, match=r"s3://artefacts/payments cannot be written: .*; try again later"):
        closed.write("a", b"x")
    with pytest.raises(IntegrationError, match="there is no such bucket; make it, or mend `artifacts`"):
        in_s3(store, monkeypatch).__class__(storage._session, bucket="other", prefix="").write("a", b"x")  # type: ignore[attr-defined, call-arg]


def test_a_store_that_refuses_connections_is_waited_for(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    from botocore.retries import standard

    without_waits(monkeypatch)
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
    storage = in_s3(replace(store, url=f"http://127.0.0.1:{port}"), monkeypatch)
    waits = 0
    with ExitStack() as started:

        def back_after_six_waits(*_: object) -> float:
            nonlocal waits
            waits += 1
            if waits == 6:  # AWS's library by itself gives up after two
                started.enter_context(aws(port=port, kept=True))
            return 0.0

        monkeypatch.setattr(standard.ExponentialBackoff, "delay_amount", back_after_six_waits)
        storage.write("restarted", b"x")
    found = in_s3(store, monkeypatch).open("restarted")
    assert found is not None
    with found as stream:
        assert stream.read() == b"x"


def test_a_file_that_may_not_be_put_is_refused_at_once_and_says_what_to_look_at(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    without_waits(monkeypatch)
    (tmp_path / "file").write_bytes(b"x")
    with answering(store, *[(403, "AccessDenied")] * 50) as (door, given):
        storage = in_s3(door, monkeypatch)
        with pytest.raises(IntegrationError, match="cannot be written: AccessDenied; check the access keys"):
            storage.write("a", tmp_path / "file")
    assert given == [403]


def test_a_file_whose_put_fails_for_a_while_is_put(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    without_waits(monkeypatch)
    (tmp_path / "file").write_bytes(b"x")
    with answering(store, *[(503, "SlowDown")] * 8) as (door, given):
        in_s3(door, monkeypatch).write("slow", tmp_path / "file")
    assert len(given) == 8
    assert "slow" in [entry.key for entry in in_s3(store, monkeypatch).list("")]


def test_a_put_beside_another_of_the_same_object_is_asked_again(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_waits(monkeypatch)
    conflict = (409, "ConditionalRequestConflict")
    with answering(store, conflict, conflict) as (door, given):
        # the other was given up: this one is the first
        assert in_s3(door, monkeypatch).create("both", b"x")
    assert given == [409, 409]
    with answering(store, conflict) as (door, _):
        assert in_s3(door, monkeypatch).create("both", b"x")  # the other wrote the same
    with answering(store, conflict) as (door, _):
        assert not in_s3(door, monkeypatch).create("both", b"y")
    with answering(store, *[conflict] * 100) as (door, _), pytest.raises(IntegrationError, match="try again later"):
        in_s3(door, monkeypatch).create("never", b"x")


def test_what_is_no_address_is_said(tmp_path: Path) -> None:
    assert is_address("s3://bucket/prefix")
    assert not is_address(str(tmp_path))
    with pytest.raises(IntegrationError, match=r"nothing here can keep artefacts in ftp://x/y; .* s3://"):
        open_storage("ftp://x/y")
    with pytest.raises(IntegrationError, match="write s3://BUCKET or s3://BUCKET/PREFIX"):
        open_storage("s3://UPPER/x")


def test_a_full_disk_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = FolderStorage(tmp_path)
    storage.write("a", b"before")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    file = tmp_path / "file"
    file.write_bytes(b"after")
    with pytest.raises(StorageFull):
        storage.write("a", file)
    found = storage.open("a")
    assert found is not None
    with found as stream:
        assert stream.read() == b"before"
    assert [entry.key for entry in storage.list("")] == ["a", "file"]
