"""What was flagged, where an answer acts on its own outcome (`outcome.acts`): how much of it was let through.

Where nearly all that is flagged is blocked, every positive that was missed is seen and hardly one that was caught. So
the other rows are to be seen as often as those, chosen at random by their id. Where the rule that blocks does not ask
the model, few of the flagged rows are blocked, and all rows count.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from everloop.ids import routing_unit
from everloop.stats import wilson

__all__ = ["Flagged", "seen_as_often"]

# Blocked by a rule that does not ask the model, few of the flagged rows are; blocked for their answer, nearly all.
_MOSTLY: Final = 0.5
# As many flagged rows tell the two apart, and how much is let through to some hundredths.
ENOUGH: Final = 100
_THINNING: Final = "outcome.acts"


@dataclass(frozen=True, slots=True, kw_only=True)
class Flagged:
    """Rows answered positively: how many were let through, and how many blocked."""

    passed: int = 0
    blocked: int = 0

    @property
    def rows(self) -> int:
        """Both together."""
        return self.passed + self.blocked

    def __add__(self, other: Flagged) -> Flagged:
        return Flagged(passed=self.passed + other.passed, blocked=self.blocked + other.blocked)

    def with_earlier(self, earlier: Iterable[Flagged]) -> Flagged:
        """These and as many earlier ones, the newest first, as are enough to tell."""
        total = self
        for one in earlier:
            if total.rows >= ENOUGH:
                break
            total += one
        return total

    def seen(self) -> float | None:
        """How often the other rows are to be seen, in [0, 1]; None where these are too few to tell."""
        if self.blocked <= _MOSTLY * self.rows:
            return 1.0
        if wilson(self.blocked, self.rows).low > _MOSTLY:
            return self.passed / self.rows
        return None if self.rows < ENOUGH else 1.0


def seen_as_often(ids: Iterable[str], decisions: Iterable[bool], share: float) -> np.ndarray[Any, Any]:
    """Which rows to see, shape (n,), bool: of those answered negatively a share, at random by id, always the same."""
    limit = int(share * 2**64)
    pairs = zip(ids, decisions, strict=True)
    return np.array([bool(decided) or routing_unit(_THINNING, key) < limit for key, decided in pairs], dtype=bool)
