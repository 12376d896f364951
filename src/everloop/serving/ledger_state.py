"""How the ledger answers, as those who follow it know."""

from __future__ import annotations

import time
from dataclasses import dataclass

from everloop.serving.key_watch import KeyWatch
from everloop.serving.patience import SILENT_S
from everloop.serving.watcher import Watcher

__all__ = ["LedgerState", "ledger_state", "looked_s"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerState:
    """trouble: why it tells nothing, if it does not. look_age_s: since it last told what holds; None: it never did."""

    trouble: str | None = None
    look_age_s: float | None = None


def ledger_state(watcher: Watcher, keys: KeyWatch) -> LedgerState:
    """The state as of now: of who follows routings and who follows keys the one that it answers worse."""
    looked = looked_s(watcher, keys)
    waited_s = max(watcher.patience.waited_s, keys.patience.waited_s)
    trouble = watcher.live.ledger if watcher.live.ledger is not None else keys.trouble
    if trouble is None and waited_s > SILENT_S:
        trouble = f"the ledger has not answered for {waited_s:.1f} s; what was known last goes on"
    return LedgerState(trouble=trouble, look_age_s=None if looked is None else max(0.0, time.monotonic() - looked))


def looked_s(watcher: Watcher, keys: KeyWatch) -> float | None:
    """When it last told both what holds, on the machine's monotonic clock."""
    looks = [one for one in (watcher.looked_s, keys.looked_s) if one is not None]
    return min(looks, default=None)
