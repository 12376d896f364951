"""The table of ids claims too much at times, and never too little."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everloop.traffic.known_ids import ROWS_A_TABLE, KnownIds, places_of

OWNER = "00000000-0000-4000-8000-000000000000"


def filled(path: Path, blocks: list[tuple[int, str, list[str]]] | None = None) -> KnownIds:
    known = KnownIds(path, OWNER)
    known.fill(blocks or [])
    return known


def seqs(known: KnownIds, model: str, one: str) -> list[int]:
    return [seq for _, seq in known.hits(places_of(model, [one]))]


@settings(max_examples=30, deadline=None)
@given(blocks=st.lists(st.lists(st.text("abcXYZ019._:-", min_size=1, max_size=64), max_size=30), max_size=8))
def test_an_id_is_found_in_every_block_that_holds_it(
    blocks: list[list[str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    known = filled(tmp_path_factory.mktemp("ids") / "slot-0.ids")
    for seq, ids in enumerate(blocks, start=1):
        known.add(places_of("fraud", ids), seq)
    for seq, ids in enumerate(blocks, start=1):
        for one in ids:
            assert seq in seqs(known, "fraud", one)
    assert seqs(known, "fraud", "never seen") == []
    known.close()


def test_models_and_owners_do_not_share_ids(tmp_path: Path) -> None:
    path = tmp_path / "slot-0.ids"
    known = filled(path, [(7, "fraud", ["a"])])
    assert (seqs(known, "fraud", "a"), seqs(known, "churn", "a")) == ([7], [])
    other = KnownIds(path, OWNER.replace("0", "1"))
    other.refresh()
    assert not other.mapped


def test_what_one_process_enters_another_finds_also_after_a_table_became_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "slot-0.ids"
    one, other = filled(path), KnownIds(path, OWNER)
    other.refresh()
    one.add(places_of("fraud", ["a"]), 1)
    assert seqs(other, "fraud", "a") == [1]
    # When the table is full
    one._tables[0]._words[511] = ROWS_A_TABLE
    one.add(places_of("fraud", ["b"]), 2)
    # Then it is asked still, and one is emptied only after another million
    other.refresh()
    assert (seqs(other, "fraud", "a"), seqs(other, "fraud", "b")) == ([1], [2])
    one._tables[0]._words[511] = ROWS_A_TABLE
    one.add(places_of("fraud", ["c"]), 3)
    other.refresh()
    assert (seqs(other, "fraud", "a"), seqs(other, "fraud", "b"), seqs(other, "fraud", "c")) == ([], [2], [3])


@pytest.mark.parametrize("damage", ["gone", "short", "another run of the machine"])
def test_a_table_that_cannot_be_trusted_is_none(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "slot-0.ids"
    filled(path, [(1, "fraud", ["a"])]).close()
    if damage == "gone":
        path.unlink()
    elif damage == "short":
        os.truncate(path, 5_000)
    else:
        with path.open("r+b") as file:
            file.seek(8 + 36)
            file.write(b"another")
    known = KnownIds(path, OWNER)
    known.refresh()
    assert not known.mapped
    known.fill([(1, "fraud", ["a"])])
    assert seqs(known, "fraud", "a") == [1]


def test_places_are_spread_and_have_a_model_s_own_key() -> None:
    places = places_of("fraud", [f"pay_{n}" for n in range(10_000)])
    assert len(set(places)) == 10_000
    assert len({place & 0xFF for place in places}) == 256
    assert places_of("churn", ["pay_1"]) != places_of("fraud", ["pay_1"])
