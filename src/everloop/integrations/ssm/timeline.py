"""From the histories of single parameters to what held when: whole revisions, and what somebody set by hand. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from everloop.integrations.ssm.manifest import Manifest
from everloop.integrations.ssm.parameters import Parameter

__all__ = ["State", "timeline"]


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What held: name → version. revision: the parameter that says so; None for what was set by hand."""

    values: Mapping[str, int]
    revision: Parameter | None = None


def timeline(revisions: Sequence[Parameter], histories: Mapping[str, Sequence[Parameter]]) -> list[State]:
    """The states, oldest first. What is written between a put's two revisions is that put's, and no state."""
    return list(_states(sorted(_events(revisions, histories), key=lambda event: event[:3])))


Event = tuple[datetime, int, int, Parameter]


def _events(revisions: Sequence[Parameter], histories: Mapping[str, Sequence[Parameter]]) -> Iterator[Event]:
    """Every write with its time; of those in one moment a put's first revision comes first and its second last."""
    for revision in revisions:
        manifest = _manifest(revision)
        if manifest is not None:
            yield revision.at, 0 if manifest.state == "writing" else 2, revision.version, revision
    for history in histories.values():
        for one in history:
            yield one.at, 1, one.version, one


def _states(events: Sequence[Event]) -> Iterator[State]:
    now: dict[str, int] = {}
    putting = False
    for _, order, _, one in events:
        manifest = None if order == 1 else _manifest(one)
        if manifest is None:
            now[one.name] = one.version
            if not putting:
                yield State(values=dict(now))
        else:
            putting = manifest.state == "writing"
            if not putting:
                yield State(values=dict(manifest.values), revision=one)


def _manifest(revision: Parameter) -> Manifest | None:
    try:
        return Manifest.read(revision.value)
    except ValueError:  # somebody wrote something else there
        return None
