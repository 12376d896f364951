"""Bundles, traffic and runs in a storage that machines share: whole, once, and also where it fails half the time."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO

import polars as pl
import pytest

from everloop.bundle import BundleStore
from everloop.errors import BundleCorrupt, IntegrationError, NotFound
from everloop.storage import MemoryStorage, Storage, open_storage
from everloop.traffic import Mover, TrafficLog, pending_rows

from ..bundle.parts import parts
from ..object_store import ObjectStore, failing, object_store, without_waits
from ..traffic.world import MODEL, START, World, batch, row, said


@pytest.fixture(scope="module")
def store() -> Iterator[ObjectStore]:
    with object_store("artefacts") as store:
        yield store


@pytest.fixture(params=["sound", "failing"])
def storage(request: pytest.FixtureRequest, store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> Iterator[Storage]:
    """A place in S3 of the test's own; once behind a door that answers 500 half the time."""
    without_waits(monkeypatch)
    with failing(store, share=0.5 if request.param == "failing" else 0.0) as door:
        for name, value in door.variables.items():
            monkeypatch.setenv(name, value)
        open_storage.cache_clear()
        yield open_storage(f"s3://{store.bucket}/{abs(hash(request.node.nodeid))}")


class Dying:
    """A storage whose process dies before its n-th object is put there."""

    def __init__(self, storage: Storage, *, after: int) -> None:
        self._storage = storage
        self._left = after

    def __getattr__(self, name: str) -> object:
        return getattr(self._storage, name)

    def create(self, key: str, data: bytes) -> bool:
        if self._left == 0:
            raise KeyboardInterrupt
        self._left -= 1
        return self._storage.create(key, data)

    def open(self, key: str) -> AbstractContextManager[BinaryIO] | None:
        return self._storage.open(key)


def test_a_bundle_that_one_machine_wrote_is_loaded_by_another(storage: Storage, tmp_path: Path) -> None:
    here, there = (BundleStore(tmp_path / name, remote=storage) for name in ("here", "there"))
    bundle_id = here.write(parts())
    here.write_evidence(bundle_id, "report.md", b"passed")
    assert here.write(parts()) == bundle_id
    assert there.ids() == [bundle_id]
    assert there.load(bundle_id).id == bundle_id
    assert (there.evidence_path(bundle_id) / "report.md").read_bytes() == b"passed"
    with pytest.raises(NotFound, match="there is no bundle"):
        there.load("0" * 64)


def test_a_half_written_bundle_is_never_seen_and_can_be_written_again(tmp_path: Path) -> None:
    storage = MemoryStorage()
    whole = BundleStore(tmp_path / "whole", remote=MemoryStorage())
    bundle_id = whole.write(parts())
    files = len(list((tmp_path / "whole" / "sha256" / bundle_id).iterdir()))
    for after in range(files):
        dying = BundleStore(tmp_path / "dying", remote=Dying(storage, after=after))  # type: ignore[arg-type]
        with pytest.raises(KeyboardInterrupt):
            dying.write(parts())
        other = BundleStore(tmp_path / f"other{after}", remote=storage)
        assert other.ids() == []
        with pytest.raises(NotFound):
            other.load(bundle_id)
    assert BundleStore(tmp_path / "dying", remote=storage).write(parts()) == bundle_id
    assert BundleStore(tmp_path / "last", remote=storage).load(bundle_id).id == bundle_id


def test_a_bundle_that_was_changed_there_is_not_served(tmp_path: Path) -> None:
    storage = MemoryStorage()
    bundle_id = BundleStore(tmp_path / "here", remote=storage).write(parts())
    storage.write(f"bundles/sha256/{bundle_id}/graph.onnx", b"another")
    with pytest.raises(BundleCorrupt, match=r"graph\.onnx was changed, so it is not served"):
        BundleStore(tmp_path / "there", remote=storage).load(bundle_id)


def mover_of(world: World, storage: Storage) -> Mover:
    return Mover.open(spool=world.spools, traffic=storage, clock=world.clock)


def test_traffic_is_moved_once_and_read_anywhere(storage: Storage, tmp_path: Path) -> None:
    world = World(tmp_path)
    with world.spool() as spool, mover_of(world, storage) as mover:
        for number in range(5):
            spool.append_predictions(batch([row(f"{number}-{i}", at=START.replace(day=1 + i)) for i in range(3)]))
            spool.append_outcomes(MODEL, [said(f"{number}-0", True, START)])
            mover.move_once()
        assert mover.compact() > 0
        assert pending_rows(world.spools) == 0
    log = TrafficLog(storage, MODEL)
    assert log.count() == (15, 5)
    assert log.predictions().collect()["prediction_id"].n_unique() == 15
    assert log.predictions(START, START.replace(day=2)).collect().height == 5
    options = dict(storage.reader_options())
    table = pl.read_delta(f"{storage.address}/traffic/{MODEL}/predictions", storage_options=options)
    assert table.height == 15


def test_movers_of_two_machines_share_a_table(storage: Storage, tmp_path: Path) -> None:
    worlds = [World(tmp_path / name) for name in ("one", "two")]

    def move(place: int) -> None:
        world = worlds[place]
        with world.spool() as spool, mover_of(world, storage) as mover:
            for number in range(8):
                spool.append_predictions(batch([row(f"{place}-{number}-{i}") for i in range(4)]))
                mover.move_once()
                if number % 3 == 2:
                    mover.compact()

    TrafficLog(storage, MODEL)
    with worlds[0].spool() as spool, mover_of(worlds[0], storage) as mover:
        spool.append_predictions(batch([row("first")]))
        mover.move_once()
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(move, range(2)))
    ids = TrafficLog(storage, MODEL).predictions().collect()["prediction_id"].to_list()
    expected = [f"{place}-{number}-{i}" for place in range(2) for number in range(8) for i in range(4)]
    assert sorted(ids) == sorted(["first", *expected])
    assert TrafficLog(storage, MODEL).count()[0] == len(ids)  # none is there twice


def test_traffic_waits_for_a_place_that_does_not_answer(storage: Storage, tmp_path: Path) -> None:
    class Away:
        address = "s3://away/payments"

        def __getattr__(self, name: str) -> object:
            raise IntegrationError("s3://away/payments cannot be reached; try again later")

    world = World(tmp_path)
    with world.spool() as spool:
        spool.append_predictions(batch([row("a")]))
        with (
            Mover.open(spool=world.spools, traffic=Away(), clock=world.clock) as mover,  # type: ignore[arg-type]
            pytest.raises(IntegrationError),
        ):
            mover.move_once()
        assert pending_rows(world.spools) == 1
        with mover_of(world, storage) as mover:
            assert mover.move_once().predictions == 1
