"""Ids stay known whatever becomes of the tables that find them quickly."""

from __future__ import annotations

import pytest

from everloop.errors import StorageFull
from everloop.traffic import answers, known_ids

from .world import MODEL, World, batch, row


def tables(world: World) -> list[str]:
    return sorted(path.name for path in world.spools.glob("*.ids*"))


def test_a_table_that_is_deleted_in_use_is_made_anew_from_the_blocks(world: World) -> None:
    with world.spool() as spool, world.spool() as other:
        spool.append_predictions(batch([row("a")]))
        for path in world.spools.glob("slot-0.ids"):
            path.unlink()
        spool.append_predictions(batch([row("b")]))
        assert other.append_predictions(batch([row("a"), row("b")], answer="other")).rows == 0


def test_the_tables_of_slots_whose_processes_are_gone_are_made_anew_when_a_slot_is_opened(world: World) -> None:
    with world.spool(slot=3) as gone:
        gone.append_predictions(batch([row("a")]))
    (world.spools / "slot-3.ids").unlink()
    with world.spool() as spool:
        assert tables(world) == ["slot-0.ids", "slot-3.ids"]
        assert spool.append_predictions(batch([row("a")], answer="other")).earlier == {0: b"a first"}


def test_an_id_entered_before_a_commit_that_never_came_is_new(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with world.spool(limit_bytes=300_000) as spool:
        with pytest.raises(StorageFull):
            spool.append_predictions(batch([row(f"much-{i}") for i in range(5_000)]))
        assert spool.append_predictions(batch([row("much-0", amount=3.0)])).rows == 1
        # the block has the number that the other was to have, and not its ids
        assert spool.append_predictions(batch([row("much-1", amount=3.0)])).rows == 1
        assert spool.append_predictions(batch([row("much-0", amount=3.0)], answer="again")).earlier == {
            0: b"much-0 first"
        }


def test_a_disk_without_room_for_a_table_refuses_and_records_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with world.spool() as spool:
        spool.append_predictions(batch([row("a")]))
        for path in world.spools.glob("*.ids"):
            path.unlink()
        with monkeypatch.context() as patched:
            patched.setattr(known_ids.os, "posix_fallocate", full)
            with pytest.raises(StorageFull, match="nothing of it was written"):
                spool.append_predictions(batch([row("b")]))
        assert not spool.answers_for(MODEL, ["b"])
        assert spool.append_predictions(batch([row("b"), row("a")], answer="later")).earlier == {1: b"a first"}


def test_another_layout_s_digest_counts_as_the_same_row(world: World) -> None:
    with world.spool() as spool:
        spool.append_predictions(batch([row("a")], layout="one"))
        again = batch([row("a", amount=2.0)], layout="two")
        assert spool.append_predictions(again).earlier == {0: b"a first"}


def test_the_tables_go_with_their_slot(world: World) -> None:
    with world.spool() as spool:
        spool.append_predictions(batch([row("a")]))
        answers.remove_ids(world.spools / "slot-0.db")
        assert tables(world) == []
