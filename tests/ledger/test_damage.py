"""Every kind of damage, on each database: the sentence names the row, whatever was done to hide it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from everloop.clock import SimulatedClock
from everloop.ledger import Head, Ledger
from everloop.ledger.facts import verify_chain
from everloop.ledger.queries import rows_of
from everloop.ledger.row import GENESIS, Row, fact_hash

from . import scenes

Open = Callable[[], Ledger]
FACTS = 8


@pytest.fixture
def whole(open_ledger: Open) -> Ledger:
    """A ledger of eight facts that verifies."""
    ledger = open_ledger()
    scenes.improvement(ledger)
    assert ledger.head().seq == FACTS
    assert ledger.verify().ok
    return ledger


def rows(ledger: Ledger) -> list[Row]:
    with ledger._database.reading() as connection:
        return list(rows_of(connection))


def put(ledger: Ledger, new: Sequence[Row]) -> None:
    """Write the table anew, as whoever owns the database can."""
    with ledger._database.engine.begin() as connection:
        if ledger._database.is_sqlite:
            for name in ("fact_is_never_changed", "fact_is_never_removed"):
                connection.exec_driver_sql(f"DROP TRIGGER IF EXISTS {name}")
        connection.execute(sa.text("DELETE FROM fact"))
        connection.execute(sa.text(_INSERT), [row._asdict() for row in new])


_INSERT = (
    "INSERT INTO fact (seq, at_us, actor, kind, subject, cause, schema, payload, prev, hash, run, step, n) VALUES "
    "(:seq, :at_us, :actor, :kind, :subject, :cause, :schema, :payload, :prev, :hash, :run, :step, :n)"
)


def rehashed(row: Row, **changed: object) -> Row:
    new = row._replace(**changed)  # type: ignore[arg-type]
    return new._replace(hash=fact_hash(new))


def chained(old: Sequence[Row]) -> list[Row]:
    """The rows with every number, link and hash written anew: a chain that is whole in itself."""
    new: list[Row] = []
    for row in old:
        new.append(rehashed(row, seq=len(new) + 1, prev=new[-1].hash if new else GENESIS))
    return new


def problem(ledger: Ledger, noted: Head | None = None) -> str:
    report = ledger.verify(noted=noted)
    assert not report.ok
    return report.problem or ""


@pytest.mark.parametrize("seq", [1, 5, FACTS])
def test_a_changed_payload(whole: Ledger, seq: int) -> None:
    old = rows(whole)
    put(whole, [row._replace(payload=row.payload.replace(b"e", b"a", 1)) if row.seq == seq else row for row in old])
    assert problem(whole) == f"fact {seq} ({old[seq - 1].kind} {old[seq - 1].subject}) was changed after it was written"


@pytest.mark.parametrize("seq", [1, 4, FACTS - 1])
def test_a_changed_payload_whose_hash_was_written_anew(whole: Ledger, seq: int) -> None:
    put(whole, [rehashed(row, payload=b'{"a":1}') if row.seq == seq else row for row in rows(whole)])
    assert problem(whole).startswith(f"fact {seq} was changed and its hash written anew")


def test_a_changed_last_fact_whose_hash_was_written_anew(whole: Ledger) -> None:
    put(whole, [rehashed(row, payload=b'{"a":1}') if row.seq == FACTS else row for row in rows(whole)])
    assert f"fact {FACTS} is not the one the head file has seen" in problem(whole)


def test_a_link_that_was_changed_and_hashed_anew(whole: Ledger) -> None:
    put(whole, [rehashed(row, prev="a" * 64) if row.seq == 4 else row for row in rows(whole)])
    assert problem(whole) == "fact 4 was changed and its hash written anew: it does not follow fact 3"


@pytest.mark.parametrize(
    ("gone", "named"), [((4,), "fact 4 was removed"), ((3, 4, 5), "facts 3 to 5 were removed"), ((1,), "fact 1 was")]
)
def test_removed_rows_in_the_middle(whole: Ledger, gone: tuple[int, ...], named: str) -> None:
    put(whole, [row for row in rows(whole) if row.seq not in gone])
    assert problem(whole).startswith(named)


def test_a_removed_row_behind_which_the_others_were_numbered_anew(whole: Ledger) -> None:
    left = [row for row in rows(whole) if row.seq != 4]
    put(whole, [row._replace(seq=place) for place, row in enumerate(left, 1)])
    assert problem(whole).startswith("fact 4 was removed and the later ones numbered anew: at 4 stands what was fact 5")


def test_a_begin_that_is_gone(whole: Ledger) -> None:
    put(whole, [rehashed(row, seq=row.seq - 2) for row in rows(whole)[2:]])
    assert "does not begin a chain" in problem(whole)


@pytest.mark.parametrize("first", [1, 3, FACTS - 1])
def test_two_rows_swapped(whole: Ledger, first: int) -> None:
    other = {first: first + 1, first + 1: first}
    put(whole, [row._replace(seq=other.get(row.seq, row.seq)) for row in rows(whole)])
    assert problem(whole).startswith(f"facts {first} and {first + 1} were swapped")


def test_rows_in_another_order(whole: Ledger) -> None:
    other = {2: 6, 6: 2}
    put(whole, [row._replace(seq=other.get(row.seq, row.seq)) for row in rows(whole)])
    assert problem(whole).startswith("fact 2 was moved: what stands there was written as fact 6")


def test_a_cut_tail_is_found_by_the_head_file(whole: Ledger) -> None:
    put(whole, rows(whole)[:-2])
    assert problem(whole).endswith(
        f"ends at fact {FACTS - 2}, but the head file has seen fact {FACTS}; facts {FACTS - 1} to {FACTS} are gone"
    )


def test_a_cut_tail_is_found_by_a_head_noted_elsewhere_alone(whole: Ledger, place: tuple[object, Path]) -> None:
    noted = whole.head()
    put(whole, rows(whole)[:-1])
    left = whole.head()
    place[1].write_text(f"{left.seq} {left.hash}\n")  # whoever cut it knew of the file beside it
    whole.rebuild_state()
    assert whole.verify().ok
    told = problem(whole, noted)
    assert told.endswith(f"but the head noted elsewhere has seen fact {FACTS}; fact {FACTS} is gone")


def test_a_wholly_rewritten_chain(whole: Ledger, place: tuple[object, Path]) -> None:
    noted, old = whole.head(), rows(whole)
    early = Head(seq=3, hash=old[2].hash)
    put(whole, chained([row._replace(actor="eve") if row.seq == 3 else row for row in old]))
    assert f"fact {FACTS} is not the one the head file has seen, so fact {FACTS} or one before it" in problem(whole)
    head = whole.head()
    place[1].write_text(f"{head.seq} {head.hash}\n")
    whole.rebuild_state()
    assert whole.verify().ok
    assert f"fact {FACTS} is not the one the head noted elsewhere has seen" in problem(whole, noted)
    assert "fact 3 is not the one the head noted elsewhere has seen" in problem(whole, early)
    before = Head(seq=2, hash=old[1].hash)
    assert whole.verify(noted=before).ok, "what was noted before the change is still so"


def test_a_noted_head_holds_while_the_chain_grows(whole: Ledger, clock: SimulatedClock) -> None:
    noted = Head.parse(str(whole.head()))
    for _ in range(5):
        clock.advance(timedelta(hours=1))
        scenes.notice(whole)
        assert whole.verify(noted=noted).ok
    assert whole.verify(noted=Head(seq=0, hash=GENESIS)).ok


def test_every_damage_of_one_row_is_found_and_names_it(whole: Ledger) -> None:
    """Whatever single row is left out, doubled in another's place or changed, the first sentence names a place near."""
    old = rows(whole)
    for row in old[:-1]:
        for damaged in (
            [one for one in old if one is not row],
            [one._replace(actor="eve") if one is row else one for one in old],
            [old[row.seq]._replace(seq=row.seq) if one is row else one for one in old],
        ):
            report = verify_chain(iter(damaged), None)
            assert not report.ok
            assert report.facts == row.seq - 1
            assert f"fact {row.seq}" in (report.problem or "") or f"facts {row.seq}" in (report.problem or "")


@pytest.mark.parametrize(
    "text", ["", "7", "7:abc", "x:" + "a" * 64, "7:" + "g" * 64, "-1:" + "a" * 64, "7 " + "a" * 64]
)
def test_what_is_no_head_is_said(text: str) -> None:
    with pytest.raises(ValueError, match="is not a head"):
        Head.parse(text)
    assert Head.parse("7:" + "A" * 64) == Head(seq=7, hash="a" * 64)


def test_steps_that_were_overwritten_change_nothing_in_the_replay(open_ledger: Open) -> None:
    """What `verify` replays, the steps in force, gives the state of all of them."""
    ledger = open_ledger()
    for number in range(3):
        run = f"r-{number}"
        payload = {"run": run, "workflow": "train", "model": "fraud"}
        ledger.append("run.started", run, payload, actor="worker")
        for step in ("snapshot", "check", "fit"):
            ledger.append("run.step", run, {"run": run, "step": step, "position": 1, "seconds": 1.0}, actor="worker")
        if number == 1:
            ledger.append("run.taken", run, {"run": run, "slot": "w2"}, actor="w2")
            ledger.append("run.step", run, {"run": run, "step": "gate", "position": 2, "seconds": 1.0}, actor="w2")
            ledger.append("run.refused", run, {"run": run, "sentence": "no", "step": "gate"}, actor="w2")
    assert ledger.verify().ok
    before = ledger.dump_state()
    ledger.rebuild_state()
    assert ledger.dump_state() == before
