"""Who was to answer when: the routing's history, from its facts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from everloop.ledger import Fact, Ledger

__all__ = ["ServedPeriod", "ServedShare", "served_periods"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedShare:
    """What a version was to answer. keys: the share of keys (entities or ids), 0 in shadow: scored, never answered."""

    version: int
    role: Literal["champion", "challenger"]
    mode: str
    keys: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedPeriod:
    """A time in which nothing changed, [start, end). end: None where it goes on.

    shares: empty where nobody answered. revision: 0 before the first routing. seq: the fact that began it.
    """

    model: str
    start: datetime
    end: datetime | None
    revision: int = 0
    shares: tuple[ServedShare, ...] = ()
    reason: str = ""
    actor: str = ""
    seq: int | None = None

    def cut(self, start: datetime, end: datetime) -> ServedPeriod | None:
        """The part of it in [start, end], or None where there is none."""
        begin = max(self.start, start)
        stop = end if self.end is None else min(self.end, end)
        if begin > stop or (begin == stop and begin != end) or (self.end is not None and begin >= self.end):
            return None
        fields = {name: getattr(self, name) for name in ("model", "revision", "shares", "reason", "actor", "seq")}
        return ServedPeriod(start=begin, end=stop, **fields)


def served_periods(ledger: Ledger, model: str, *, start: datetime, end: datetime) -> tuple[ServedPeriod, ...]:
    """The periods that overlap [start, end], oldest first, whole: they may begin earlier and end later.

    The first begins at `start` where nobody answered yet. Facts count in the order of the chain: where a clock was put
    back between two changes, the later one begins where the earlier did.
    """
    changes = ledger.facts(kind="routing.changed", subject=model)
    starts: list[datetime] = []
    for fact in changes:
        starts.append(fact.at if not starts else max(starts[-1], fact.at))
    ends = [*starts[1:], None] if starts else []
    found = [
        _period(model, fact, begin, stop)
        for fact, begin, stop in zip(changes, starts, ends, strict=True)
        if begin != stop
    ]
    if not starts or start < starts[0]:
        found.insert(0, ServedPeriod(model=model, start=start, end=starts[0] if starts else None))
    return tuple(one for one in found if one.start <= end and (one.end is None or one.end > start))


def _period(model: str, fact: Fact, start: datetime, end: datetime | None) -> ServedPeriod:
    return ServedPeriod(
        model=model,
        start=start,
        end=end,
        revision=fact.payload["revision"],
        shares=_shares(fact.payload),
        reason=fact.payload["reason"],
        actor=fact.actor,
        seq=fact.seq,
    )


def _shares(payload: Mapping[str, Any]) -> tuple[ServedShare, ...]:
    tried = tuple(
        ServedShare(
            version=one["version"],
            role="challenger",
            mode=one["mode"],
            keys=0.0 if one["mode"] == "shadow" else float(one["share"]),
        )
        for one in payload["challengers"]
    )
    champion = payload["champion"]
    if champion is None:
        return tried
    rest = max(0.0, 1.0 - sum(one.keys for one in tried))
    return (ServedShare(version=champion, role="champion", mode="", keys=rest), *tried)
