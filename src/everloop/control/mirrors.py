"""Mirrors: outside systems that follow the ledger. Found by entry point; no room imports one."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import Final, Protocol

from everloop.clock import Clock
from everloop.errors import IntegrationError
from everloop.ledger import Ledger
from everloop.project import Project

__all__ = ["GROUP", "Mirror", "MirrorKind", "load_mirrors"]

GROUP: Final = "everloop.integrations"


class Mirror(Protocol):
    """Something outside that is brought up to the ledger's facts, from a cursor of its own.

    What is mirrored before the cursor moves may be mirrored again after a crash: a repetition changes nothing.
    """

    def sync(self) -> int:
        """Mirror the next facts and give how many; 0 when there are none, or while the outside does not answer.

        Bounded, so that a worker's loop goes on: call it again while it gives more than 0. Raises IntegrationError
        once when the outside begins to fail; the mirror goes on from its cursor when it answers again.
        """
        ...

    def close(self) -> None:
        """Give what is open back. Nothing is lost: the cursor is kept outside of the process."""
        ...


class MirrorKind(Protocol):
    """What an entry point of `everloop.integrations` names: it makes a mirror. Loading it is quick."""

    def wanted(self, project: Project) -> bool:
        """Whether everloop.yaml turns it on."""
        ...

    def __call__(self, project: Project, ledger: Ledger, clock: Clock) -> Mirror:
        """A mirror of the project's ledger. Reaches nothing outside before the first `sync`."""
        ...


class _Unloadable:
    """Stands for an integration that cannot be loaded: says so once, then is quiet."""

    def __init__(self, sentence: str) -> None:
        self._sentence: str | None = sentence

    def sync(self) -> int:
        sentence, self._sentence = self._sentence, None
        if sentence is not None:
            raise IntegrationError(sentence)
        return 0

    def close(self) -> None:
        """Nothing is open."""


def load_mirrors(project: Project, ledger: Ledger, clock: Clock) -> list[Mirror]:
    """The mirrors that the project wants, by name. Never raises for an integration: its first `sync` does."""
    found = (_mirror(entry, project, ledger, clock) for entry in sorted(entry_points(group=GROUP)))
    return [mirror for mirror in found if mirror is not None]


def _mirror(entry: EntryPoint, project: Project, ledger: Ledger, clock: Clock) -> Mirror | None:
    try:
        kind: MirrorKind = entry.load()
        return kind(project, ledger, clock) if kind.wanted(project) else None
    except Exception as error:  # another package's code: whatever it raises, the worker goes on without it
        return _Unloadable(f"the integration {entry.name} ({entry.value}) cannot be loaded: {error}; mend or remove it")
