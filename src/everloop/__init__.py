"""everloop keeps a model good in production.

In a notebook: `import everloop as ev`, then

    ev.check(frame, time="paid_at", score="score", outcome="fraud")   past predictions judged; no project needed
    fraud = ev.open("fraud")                                          a model of the project here: explore, search, …

and in a project's features.py `from everloop import features`, in its own gates `from everloop import Verdict`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from everloop.on_first_use import on_first_use

if TYPE_CHECKING:
    from everloop.data import features as features
    from everloop.notebook import check as check
    from everloop.notebook import open as open  # noqa: A004 as in gzip.open
    from everloop.stats import Verdict as Verdict

__all__ = ["Verdict", "check", "features", "open"]

_ROOMS: Final = {
    "Verdict": "stats",
    "check": "notebook",
    "features": "data",
    "open": "notebook",
}


__getattr__ = on_first_use(__name__, _ROOMS)  # so that `import everloop` loads no library


def __dir__() -> list[str]:
    """The door's names, for whoever completes `ev.` with a tab."""
    return sorted([*globals(), *__all__])
