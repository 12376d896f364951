"""A channel hears all, in order and once, whatever becomes of its receiver; and no other waits for it."""

from __future__ import annotations

import io
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from everloop.clock import SimulatedClock, SystemClock
from everloop.control.channels import send
from everloop.control.notices import Notice
from everloop.control.telling import BURST, Teller, channel_status, note_channels, telling, try_channels
from everloop.ledger import Fact, Ledger
from everloop.project import Channel, Project

from .receiver import SECRET, Receiver, receiver, until

NOW = datetime(2026, 3, 9, tzinfo=UTC)
TESTS = Path(__file__).parents[1]


def channel(address: str, *kinds: str, name: str = "json-1") -> Channel:
    return Channel(name=name, kinds=kinds or ("alert",), address=address)


def alert(ledger: Ledger, number: int) -> Fact:
    payload = {
        "alert": f"a-{number}",
        "model": "fraud",
        "check": "recall",
        "window": {"start": NOW, "end": NOW},
        "sentence": f"recall fell, for the {number}. time",
        "evidence_kind": "labels",
    }
    return ledger.append("alert.opened", f"a-{number}", payload, actor="monitor")


def titles(*numbers: int) -> list[str]:
    return [f"everloop: fraud: alert a-{number}" for number in numbers]


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.open(tmp_path / "ledger.db", clock=SimulatedClock(NOW)) as found:
        yield found


def drained(teller: Teller) -> float:
    """Turns until one of them would wait; for how long."""
    while (pause_s := teller.turn()) == 0.0:
        pass
    return pause_s


def everything(ledger: Ledger, said: list[str]) -> str:
    return "".join([*said, *(f"{fact.subject} {fact.payload}" for fact in ledger.facts())])


def test_a_channel_hears_what_came_after_it_was_seen_in_order_and_once(ledger: Ledger) -> None:
    alert(ledger, 1)
    with receiver() as one:
        mine = channel(one.address)
        note_channels(ledger, (mine,))
        alert(ledger, 2)
        fact = alert(ledger, 3)
        for _ in range(2):  # another worker, or the same one started again
            drained(Teller(ledger, mine))
            note_channels(ledger, (mine,))
        assert one.titles() == titles(2, 3)
        assert one.came[1]["message"].splitlines()[:2] == [
            "recall fell, for the 3. time",
            "next: everloop alert show a-3",
        ]
    sent = ledger.facts(kind="notice.sent")
    assert [(each.payload["delivered"], each.payload["notice"], each.subject) for each in sent] == [
        (True, "alert", "json-1"),
        (True, "alert", "json-1"),
    ]
    assert sent[1].cause == fact.seq
    assert ledger.verify().ok


def test_a_dead_receiver_is_tried_ever_later_and_hears_all_once_it_answers(ledger: Ledger) -> None:
    said: list[str] = []
    with receiver() as one:
        mine = channel(one.address)
        note_channels(ledger, (mine,))
        teller = Teller(ledger, mine, say=said.append)
        one.stop()  # down
        for number in (1, 2):
            alert(ledger, number)
        assert [teller.turn() for _ in range(3)] == [1.0, 2.0, 4.0]
        one.start()
        one.status = 500  # back, and ill
        assert [teller.turn() for _ in range(7)] == [8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 300.0]
        status = channel_status(ledger, mine)
        assert (status.reached, status.waiting) == (False, 2)
        one.status = 200
        assert drained(teller) == 1.0
        assert one.titles() == titles(1, 2)
        assert channel_status(ledger, mine).waiting == 0
        alert(ledger, 3)
        assert drained(teller) == 1.0
        assert one.titles() == titles(1, 2, 3)
    told = [(fact.payload["delivered"], fact.cause) for fact in ledger.facts(kind="notice.sent")]
    assert [delivered for delivered, _ in told] == [False, True, True, True]  # an outage is written down once
    assert len(said) == 2
    assert said[1] == "the channel json-1 is reached again"


def test_a_channel_whose_kinds_change_while_it_is_down_hears_nothing_again(ledger: Ledger) -> None:
    declined = {"model": "fraud", "run": "r-1", "sentence": "the spec was changed"}
    with receiver() as one:
        both, fewer = channel(one.address, "alert", "schedule"), channel(one.address, "alert")
        note_channels(ledger, (both,))
        for number in (1, 2):
            alert(ledger, number)
        drained(Teller(ledger, both))
        one.stop()
        ledger.append("schedule.declined", "fraud", declined, actor="control")
        alert(ledger, 3)
        drained(Teller(ledger, both))  # the schedule's waits first
        note_channels(ledger, (fewer,))
        drained(Teller(ledger, fewer))  # now the alert's does
        assert channel_status(ledger, fewer).waiting == 1
        one.start()
        drained(Teller(ledger, fewer))
        assert one.titles() == titles(1, 2, 3)
    missed = [fact for fact in ledger.facts(kind="notice.sent") if not fact.payload["delivered"]]
    assert len(missed) == 2


def test_a_burst_after_an_outage_is_one_message(ledger: Ledger) -> None:
    with receiver() as one:
        mine = channel(one.address, "alert", "failed")
        note_channels(ledger, (mine,))
        one.stop()
        teller = Teller(ledger, mine)
        for number in range(BURST + 1):
            alert(ledger, number)
        assert teller.turn() > 0
        one.start()
        drained(teller)
        alert(ledger, 99)
        drained(teller)
        first, second = one.titles()
        assert first == f"everloop: {BURST + 1} notices that could not be sent before"
        assert [second] == titles(99)
        assert all(f"alert a-{number}: recall fell" in one.came[0]["message"] for number in range(BURST + 1))
    sent = [fact for fact in ledger.facts(kind="notice.sent") if fact.payload["delivered"]]
    assert [fact.payload["facts"] for fact in sent] == [BURST + 1, 1]


def test_a_receiver_that_hangs_holds_up_no_other_channel_and_not_the_worker(tmp_path: Path) -> None:
    """The threads as the worker runs them: one receiver hangs, one is down, the third hears at once."""
    with receiver() as hanging, receiver() as dead, receiver() as well:
        hanging.hang = threading.Event()
        dead.stop()
        (tmp_path / "everloop.yaml").write_text(
            f"notify: {{alert: ['{hanging.address}', '{dead.address}', '{well.address}']}}\n"
        )
        project = Project.open(tmp_path, environment={})
        assert [each.name for each in project.settings.channels] == ["json-1", "json-2", "json-3"]
        said: list[str] = []
        with Ledger.open(tmp_path / "ledger.db", clock=SystemClock()) as ledger:
            with telling(project, ledger, leads=lambda: True, say=said.append):
                until(lambda: len(ledger.facts(kind="notice.set")) == 3)
                for number in (1, 2):
                    alert(ledger, number)
                until(lambda: well.titles() == titles(1, 2))
                assert (hanging.came, dead.came) == ([], [])
                until(lambda: sum("was not told" in sentence for sentence in said) == 2)
                dead.start()
                hanging.hang.set()
                hanging.hang = None
                until(lambda: dead.titles() == hanging.titles() == titles(1, 2))
            for name in ("json-1", "json-2", "json-3"):
                sent = [fact for fact in ledger.facts(kind="notice.sent", subject=name) if fact.payload["delivered"]]
                assert [fact.cause for fact in sent] == [fact.seq for fact in ledger.facts(kind="alert.opened")]
            assert SECRET not in everything(ledger, said)


def test_only_the_worker_that_leads_tells(ledger: Ledger) -> None:
    with receiver() as one:
        mine = channel(one.address)
        note_channels(ledger, (mine,))
        alert(ledger, 1)
        other = Teller(ledger, mine, leads=lambda: False)
        assert (other.turn(), one.titles()) == (1.0, [])
        drained(Teller(ledger, mine))
        assert one.titles() == titles(1)


def test_kinds_that_come_new_count_from_then_on_and_a_channel_that_left_hears_nothing(ledger: Ledger) -> None:
    def failed(number: int) -> None:
        name = f"r-{number}"
        ledger.append("run.started", name, {"run": name, "workflow": "train", "model": "fraud"}, actor="bob")
        ledger.append("run.failed", name, {"run": name, "sentence": "it broke"}, actor="bob")

    with receiver() as one:
        note_channels(ledger, (channel(one.address, "alert"),))
        failed(1)
        both = channel(one.address, "alert", "failed")
        note_channels(ledger, (both,))
        failed(2)
        alert(ledger, 1)
        drained(Teller(ledger, both))
        assert one.titles() == ["everloop: fraud: train failed", *titles(1)]
        note_channels(ledger, ())
        alert(ledger, 2)
        note_channels(ledger, (both,))
        alert(ledger, 3)
        drained(Teller(ledger, both))
        assert one.titles()[2:] == titles(3)


def test_a_worker_killed_between_sending_and_writing_sends_that_notice_again_and_nothing_else(tmp_path: Path) -> None:
    """At least once: what went out twice carries the number of its fact."""
    path = tmp_path / "ledger.db"
    with receiver() as one:
        mine = channel(one.address)
        with Ledger.open(path, clock=SystemClock()) as ledger:
            note_channels(ledger, (mine,))
            for number in (1, 2, 3):
                alert(ledger, number)
        program = [sys.executable, "-m", "control.test_telling", str(path), one.address]
        ended = subprocess.run(program, cwd=TESTS, capture_output=True, text=True, timeout=120)
        assert ended.returncode == -9, ended.stderr
        with Ledger.open(path, clock=SystemClock()) as ledger:
            drained(Teller(ledger, mine))
            assert one.titles() == titles(1, 2, 2, 3)
            assert one.came[1]["message"] == one.came[2]["message"]
            sent = [fact.cause for fact in ledger.facts(kind="notice.sent")]
            assert sent == [fact.seq for fact in ledger.facts(kind="alert.opened")]
            assert ledger.verify().ok


def die_after_second(path: str, address: str) -> None:
    """A worker that is killed once its second notice went out."""
    points: list[str] = []

    def crash(point: str) -> None:
        points.append(point)
        if len(points) == 2:
            os.kill(os.getpid(), 9)

    with Ledger.open(Path(path), clock=SystemClock()) as ledger:
        drained(Teller(ledger, channel(address), crash=crash))


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    """What a program that logs everything would have logged."""
    text, root = io.StringIO(), logging.getLogger()
    handler, level = logging.StreamHandler(text), root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        yield text
    finally:
        root.removeHandler(handler)
        root.setLevel(level)


@pytest.mark.parametrize("address", ["carrier-pigeon://" + SECRET, f"slack://{SECRET}", f"json://127.0.0.1:1/{SECRET}"])
def test_nothing_that_is_said_or_written_holds_an_address(
    tmp_path: Path, address: str, capfd: pytest.CaptureFixture[str], logged: io.StringIO
) -> None:
    (tmp_path / "everloop.yaml").write_text(f"notify: {{all: ['{address}']}}\n")
    project = Project.open(tmp_path, environment={})
    said: list[str] = []
    with Ledger.open(tmp_path / "ledger.db", clock=SystemClock()) as ledger:
        (mine,) = project.settings.channels
        note_channels(ledger, (mine,))
        alert(ledger, 1)
        Teller(ledger, mine, say=said.append).turn()
        (status,) = try_channels(project, ledger, actor="alice")
        assert (status.reached, status.waiting) == (False, 1)
        assert len(ledger.facts(kind="notice.sent")) == 2
        written = everything(
            ledger, [*said, str(status.to_dict()), repr(mine), repr(project.settings), logged.getvalue()]
        )
    told = capfd.readouterr()
    assert SECRET not in written + told.out + told.err


def test_what_a_receiver_answered_is_told(ledger: Ledger) -> None:
    notice = Notice(kind="test", title="t", body="b", first=0, last=0)
    with receiver() as one:
        one.status = 503
        assert send(channel(one.address), notice) == "it answered 503"
        one.status = 200
        assert send(channel(one.address), notice) == ""
        one.stop()
        assert send(channel(one.address), notice) == "it could not be reached, or gave no answer in time"
    assert isinstance(one, Receiver)


if __name__ == "__main__":
    die_after_second(*sys.argv[1:])
