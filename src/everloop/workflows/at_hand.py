"""What the steps of a run hand each other within one process."""

from __future__ import annotations

from typing import Any, Protocol

__all__ = ["AtHand"]


class Closeable(Protocol):
    """What ends by `close`."""

    def close(self) -> None:
        """End it."""
        ...


class AtHand:
    """Things that are begun in one step and used in another. A crash loses them, so who takes one can do without.

    What nobody took is closed when the run ends here, however it ends.
    """

    def __init__(self) -> None:
        self._kept: dict[str, Closeable] = {}

    def keep(self, name: str, thing: Closeable) -> None:
        """Keep it for a later step; what was kept under this name is closed."""
        self.drop(name)
        self._kept[name] = thing

    def drop(self, name: str) -> None:
        """Close what was kept; nothing happens where nothing is."""
        thing = self.take(name)
        if thing is not None:
            thing.close()

    def look(self, name: str) -> Any | None:
        """What is kept, which stays here; None where nothing is."""
        return self._kept.get(name)

    def take(self, name: str) -> Any | None:
        """What was kept, which is now the caller's to close; None where nothing is."""
        return self._kept.pop(name, None)

    def close(self) -> None:
        """Close all that is left."""
        while self._kept:
            _, thing = self._kept.popitem()
            thing.close()
