"""everloop keeps a model good in production.

In a notebook: `import everloop as ev`, then

    ev.check(frame, time="paid_at", score="score", outcome="fraud")   past predictions judged; no project needed
    fraud = ev.open("fraud")                                          a model of the project here: explore, search, …

and in a project's features.py `from everloop import features`, in its own gates `from everloop import Verdict`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from everloop.data import features as features
    from everloop.notebook import check as check
    from everloop.notebook import open as open  # noqa: A004 as in gzip.open
    from everloop.stats import Verdict as Verdict

__all__ = ["Verdict", "check", "features", "open"]

_ROOMS: Final = {
    "Verdict": "everloop.stats",
    "check": "everloop.notebook",
    "features": "everloop.data",
    "open": "everloop.notebook",
}


def __getattr__(name: str) -> object:
    """A name of the door on first use, so that `import everloop` loads no library."""
    if name in _ROOMS:
        found: object = getattr(import_module(_ROOMS[name]), name)
        return found
    raise AttributeError(f"module 'everloop' has no attribute {name!r}")


def __dir__() -> list[str]:
    """The door's names, for whoever completes `ev.` with a tab."""
    return sorted([*globals(), *__all__])
