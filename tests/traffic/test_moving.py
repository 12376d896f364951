"""The mover beside who records: it ends, and keeps the journals of the spools small, in nobody's way."""

from __future__ import annotations

import time
from contextlib import closing
from typing import Final

import pytest

from everloop.traffic import Spool
from everloop.traffic import mover as mover_module
from everloop.traffic.spool import connect, databases

from .world import World, batch, row

_TURNS: Final = 40


def _recorded(world: World, monkeypatch: pytest.MonkeyPatch, *, every_s: float) -> int:
    """Record and move in turn; the bytes of the journal at its largest."""
    monkeypatch.setattr(mover_module, "_FOLD_EVERY_S", every_s)
    monkeypatch.setattr(mover_module, "_WAL_PAGES", 50)
    largest = 0
    with world.spool() as spool, world.mover() as mover:
        (path,) = databases(world.spools)
        for turn in range(_TURNS):
            spool.append_predictions(batch([row(f"{every_s}-{turn}-{n}") for n in range(50)]))
            assert mover.move_once().predictions == 50
            largest = max(largest, path.with_name(f"{path.name}-wal").stat().st_size)
    return largest


def test_the_journal_is_begun_anew_while_rows_keep_coming(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    folded = _recorded(world, monkeypatch, every_s=0.0)
    assert folded * 4 < _recorded(world, monkeypatch, every_s=3600.0)
    assert len(world.ids()) == 2 * 50 * _TURNS


def test_who_reads_a_spool_holds_up_neither_the_mover_nor_who_records(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    with world.spool() as spool:
        spool.append_predictions(batch([row("before")]))
        (path,) = databases(world.spools)
        with closing(connect(path, durability="process", read_only=True)) as reader:
            reader.execute("BEGIN")
            assert reader.execute("SELECT count(*) FROM block").fetchone() == (1,)
            began_s = time.monotonic()
            folded = _recorded_beside(world, spool, monkeypatch)
            assert time.monotonic() - began_s < 20, "a reader is waited for by nobody"
            assert reader.execute("SELECT count(*) FROM block").fetchone() == (1,), "and keeps what it saw"
    assert sorted(world.ids()) == sorted(["before", *folded])


def _recorded_beside(world: World, spool: Spool, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr(mover_module, "_FOLD_EVERY_S", 0.0)
    monkeypatch.setattr(mover_module, "_WAL_PAGES", 1)
    ids = [f"beside-{n}" for n in range(100)]
    with world.mover() as mover:
        for one in ids:
            spool.append_predictions(batch([row(one)]))
            mover.move_once()
    return ids


def test_a_move_ends_while_rows_keep_coming(world: World) -> None:
    with world.spool() as spool:
        spool.append_predictions(batch([row("first")]))
        came = iter(range(1_000))

        def more(point: str) -> None:
            if point == "committed":
                spool.append_predictions(batch([row(f"p{next(came)}")]))

        with world.mover(crash=more) as mover:
            assert mover.move_once().predictions == 1
            assert mover.move_once().predictions == 1
    assert sorted(world.ids()) == ["first", "p0"]


def test_more_than_one_commit_holds_is_moved_at_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mover_module, "_COMMIT_BYTES", 1)
    with world.spool() as one, world.spool() as other:
        for n in range(3):
            one.append_predictions(batch([row(f"a{n}")]))
            other.append_predictions(batch([row(f"b{n}")]))
        with world.mover() as mover:
            assert mover.move_once().predictions == 6
    assert sorted(world.ids()) == ["a0", "a1", "a2", "b0", "b1", "b2"]
