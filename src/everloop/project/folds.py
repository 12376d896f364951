"""How a search goes through its space, and how often each trial is fitted: `search.method` and `search.folds`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

__all__ = ["FoldsPlan", "SearchChoice", "SearchMethod"]

SearchMethod = Literal["grid", "random", "bayesian"]
SearchChoice = Literal["cheapest", "best", "blend"]

_MOST: Final = 20
_SENTENCE: Final = re.compile(r"(\d+)(?:\s+(by time|stratified))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldsPlan:
    """How the rows of a search are split.

    count: None as the data asks. by_time: True each fold is judged on newer rows, False dealt at random with their
    share of positives, None by time wherever the rows stand at different times.
    """

    count: int | None = None
    by_time: bool | None = None

    @classmethod
    def parse(cls, value: object) -> FoldsPlan:
        """Read `auto`, `5`, `5 by time` or `5 stratified`. Raises ValueError with what is allowed."""
        if isinstance(value, FoldsPlan):
            return value
        words = " ".join(str(value).split())
        if words == "auto":
            return cls()
        match = _SENTENCE.fullmatch(words)
        if match is None or isinstance(value, bool) or not 1 <= int(match[1]) <= _MOST:
            raise ValueError(f"{value!r} is no number of folds (auto, 1 to {_MOST}, '5 by time' or '5 stratified')")
        return cls(count=int(match[1]), by_time=None if match[2] is None else match[2] == "by time")

    def __str__(self) -> str:
        if self.count is None:
            return "auto"
        return f"{self.count}" + {None: "", True: " by time", False: " stratified"}[self.by_time]
