"""Notices follow the ledger: each channel in a thread of its own, in order, from where the ledger says it is.

What a channel has heard is in the ledger: `notice.sent` under a key per fact and channel. So a receiver that is down
or slow holds up nothing but itself, is tried again ever later, and hears all once it answers; where more than `BURST`
wait for it then, they come as digests. A worker that dies after a notice went out and before that is written down sends
it again, once: it carries the number of its fact. A channel hears of what happens after it was first seen.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Final

from everloop.control.beside import going_on
from everloop.control.channels import send
from everloop.control.notices import Notice, digest_of, fact_kinds, notice_of, trial_notice
from everloop.errors import EverloopError
from everloop.ledger import Key, Ledger, NoticeSent, NoticeSet
from everloop.project import Channel, Project

__all__ = ["ACTOR", "BURST", "ChannelStatus", "Teller", "channel_status", "note_channels", "telling", "try_channels"]

ACTOR: Final = "notify"
BURST: Final = 5
"""As many notices are sent one by one; where more wait, they are sent as a digest."""
_PAGE: Final = 200
_POLL_S: Final = 1.0
_FIRST_PAUSE_S: Final = 1.0
_LONGEST_PAUSE_S: Final = 300.0
_AFTER_TROUBLE_S: Final = 10.0
_GOODBYE_S: Final = 12.0

Say = Callable[[str], None]
Send = Callable[[Channel, Notice], str]


def _sent_key(channel: str, seq: int) -> Key:
    """Under which it is kept that a channel heard of all up to the fact `seq`."""
    return f"notice:{channel}", "sent", seq


def _missed_key(channel: str, seq: int) -> Key:
    """Under which it is kept, once, that the channel could not be told at first of what begins with this fact."""
    return f"notice:{channel}", "missed", seq


def note_channels(ledger: Ledger, channels: tuple[Channel, ...]) -> None:
    """Write down what each channel hears of, where that is another than before; one that is gone hears of nothing.

    A kind that comes new to a channel counts from now on.
    """
    with ledger.transaction() as transaction:
        head = transaction.head().seq
        wanted = {channel.name: channel.kinds for channel in channels}
        known = {fact.subject: dict(fact.payload["kinds"]) for fact in transaction.facts(kind="notice.set")}
        for name in sorted(wanted.keys() | known.keys()):
            before = known.get(name, {})
            kinds = {kind: before.get(kind, head) for kind in wanted.get(name, ())}
            if kinds != before:
                transaction.append("notice.set", name, NoticeSet(channel=name, kinds=kinds), actor=ACTOR)


def _since(ledger: Ledger, channel: str) -> dict[str, int]:
    """Kind of notice → the fact after which the channel hears of it."""
    fact = ledger.last("notice.set", channel)
    return {} if fact is None else dict(fact.payload["kinds"])


def _heard(ledger: Ledger, channel: str) -> int:
    """The newest fact that the channel heard of; 0 before the first."""
    # Asked for by its step: what was missed since then may be written down several times, once for each fact that was
    # the first to wait, and another one is where the channel's kinds were changed meanwhile.
    run, step, _ = _sent_key(channel, 0)
    facts = ledger.facts(run=run, step=step, newest_first=True, limit=1)
    return next((fact.n for fact in facts if fact.n is not None), 0)


def _waiting(ledger: Ledger, since: dict[str, int], after: int) -> tuple[list[Notice], int | None]:
    """The next notices after a fact, and how far was looked; None where that was to the end."""
    facts = ledger.facts(kind=fact_kinds(tuple(since)), after=after, limit=_PAGE)
    found = [notice for fact in facts if (notice := notice_of(fact, ledger)) is not None]
    waiting = [notice for notice in found if notice.last > since[notice.kind]]
    return waiting, None if len(facts) < _PAGE else facts[-1].seq


class Teller:
    """Tells one channel what it has not heard; `turn` by `turn`, each of which sends one notice at most.

    leads: whether this process is the one that tells. crash: a test's point to die at.
    """

    def __init__(
        self,
        ledger: Ledger,
        channel: Channel,
        *,
        leads: Callable[[], bool] = lambda: True,
        say: Say = lambda _sentence: None,
        deliver: Send = send,
        crash: Callable[[str], None] = lambda _point: None,
    ) -> None:
        self._ledger = ledger
        self._channel = channel
        self._leads = leads
        self._say = say
        self._deliver = deliver
        self._crash = crash
        self._seen = -1
        self._at = 0
        self._pause_s = _FIRST_PAUSE_S

    def turn(self) -> float:
        """Send what is next, if anything is; for how many seconds to wait before the next turn, 0 for none."""
        head = self._ledger.head().seq
        if head <= self._seen or not self._leads():
            return _POLL_S
        notice = self._next(head)
        if notice is None:
            self._seen = head
            return _POLL_S
        problem = self._deliver(self._channel, notice)
        self._crash("sent")
        return self._missed(notice, problem) if problem else self._sent(notice)

    def _next(self, head: int) -> Notice | None:
        """The oldest notice that waits, or a digest of many."""
        since = _since(self._ledger, self._channel.name)
        if not since:
            return None
        self._at = max(self._at, min(since.values()), _heard(self._ledger, self._channel.name))
        while self._at < head:
            waiting, last = _waiting(self._ledger, since, self._at)
            if waiting:
                return digest_of(waiting) if len(waiting) > BURST else waiting[0]
            self._at = head if last is None else last
        return None

    def _sent(self, notice: Notice) -> float:
        name = self._channel.name
        self._write(notice, _sent_key(name, notice.last), problem="")
        self._at = notice.last
        if self._pause_s > _FIRST_PAUSE_S:
            self._say(f"the channel {name} is reached again")
        self._pause_s = _FIRST_PAUSE_S
        return 0.0

    def _missed(self, notice: Notice, problem: str) -> float:
        """Write it down once for what is next in the line, and wait longer each time."""
        name, pause_s = self._channel.name, self._pause_s
        self._write(notice, _missed_key(name, notice.first), problem=problem)
        if pause_s == _FIRST_PAUSE_S:
            self._say(f"the channel {name} was not told: {problem}. Nothing is lost: it is tried again, ever later")
        self._pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        return pause_s

    def _write(self, notice: Notice, key: Key, *, problem: str) -> None:
        name = self._channel.name
        payload = NoticeSent(
            channel=name,
            sentence=notice.sentence,
            delivered=not problem,
            problem=problem,
            notice=notice.kind,
            facts=notice.facts,
        )
        self._ledger.append("notice.sent", name, payload, actor=ACTOR, cause=notice.last, key=key)


class _Watch:
    """Says whether this process tells; where it begins to, what the channels hear of is written down first."""

    def __init__(self, ledger: Ledger, channels: tuple[Channel, ...], leads: Callable[[], bool]) -> None:
        self._ledger = ledger
        self._channels = channels
        self._leads = leads
        self._lock = threading.Lock()
        self._held = False

    def tells(self) -> bool:
        with self._lock:
            leads = self._leads()
            if leads and not self._held:
                note_channels(self._ledger, self._channels)
            self._held = leads
            return leads

    def turn(self) -> float:
        """For a project without channels: those of before hear of nothing more."""
        return _LONGEST_PAUSE_S if self.tells() else _POLL_S


def telling(project: Project, ledger: Ledger, *, leads: Callable[[], bool], say: Say) -> AbstractContextManager[None]:
    """Within the block every channel of the project is told, each by a thread of its own.

    leads: whether this process is the one, of several that share the ledger, that tells.
    """
    channels = project.settings.channels
    watch = _Watch(ledger, channels, leads)
    turns = [Teller(ledger, channel, leads=watch.tells, say=say).turn for channel in channels]
    if not channels and ledger.last("notice.set") is not None:
        turns = [watch.turn]
    acts = [partial(_follow, turn, say) for turn in turns]
    return going_on(acts, name="everloop-notices", goodbye_s=_GOODBYE_S)


def _follow(turn: Callable[[], float], say: Say, stop: threading.Event) -> None:
    pause_s, trouble = 0.0, ""
    while not stop.wait(pause_s):
        try:
            pause_s = turn()
            trouble = ""
            continue
        except EverloopError as error:
            said = str(error)
        except Exception as error:  # a thread of the worker: one mistake must not end the notices for good
            said = f"a mistake of everloop itself: {type(error).__name__}; it is tried again"
        pause_s = _AFTER_TROUBLE_S
        if said != trouble:  # what lasts is said once
            say(f"notices: {said}")
        trouble = said


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelStatus:
    """How a channel stands.

    kinds: what it hears of. reached: whether it was, the last time; None before the first. at: when that was.
    problem: why not. waiting: how many notices wait for it.
    """

    channel: str
    kinds: tuple[str, ...]
    reached: bool | None
    at: str | None
    problem: str
    waiting: int

    def to_dict(self) -> dict[str, object]:
        """Plain JSON."""
        names = ("channel", "reached", "at", "problem", "waiting")
        return {"kinds": list(self.kinds)} | {name: getattr(self, name) for name in names}


def channel_status(ledger: Ledger, channel: Channel) -> ChannelStatus:
    """How the channel stands, as the ledger tells it; looking changes nothing."""
    last = ledger.last("notice.sent", channel.name)
    return ChannelStatus(
        channel=channel.name,
        kinds=channel.kinds,
        reached=None if last is None else bool(last.payload["delivered"]),
        at=None if last is None else last.at.isoformat(),
        problem="" if last is None else str(last.payload["problem"]),
        waiting=_count_waiting(ledger, channel.name),
    )


def _count_waiting(ledger: Ledger, channel: str) -> int:
    since, count = _since(ledger, channel), 0
    at: int | None = max(min(since.values()), _heard(ledger, channel)) if since else None
    while at is not None:
        waiting, at = _waiting(ledger, since, at)
        count += len(waiting)
    return count


def try_channels(project: Project, ledger: Ledger, *, actor: str, deliver: Send = send) -> list[ChannelStatus]:
    """Send a test to every channel and write down what came back; how each stands then."""
    notice = trial_notice(project.name)
    found = []
    for channel in project.settings.channels:
        problem = deliver(channel, notice)
        payload = NoticeSent(
            channel=channel.name,
            sentence=notice.sentence,
            delivered=not problem,
            problem=problem,
            notice=notice.kind,
            facts=0,
        )
        ledger.append("notice.sent", channel.name, payload, actor=actor)
        found.append(channel_status(ledger, channel))
    return found
