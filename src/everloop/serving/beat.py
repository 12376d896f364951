"""What a worker sees to every quarter of a second, whatever the ledger, a store or a spool keeps waiting."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from everloop.serving.rounds import Rounds

__all__ = ["beat"]

_LOG = logging.getLogger("everloop.serving")


def beat(duties: Sequence[Callable[[], object]], *, every_s: float = 0.25) -> Rounds:
    """Rounds in which each of the duties has its turn; none of them waits for anything but the disk."""

    def turn() -> None:
        for duty in duties:
            try:
                duty()
            except Exception:  # one that fails keeps no other from its turn
                _LOG.exception("the endpoint could not see to something")

    return Rounds(turn, name="everloop-beat", every_s=every_s)
