"""What the servers of other versions said of a request's rows, on its way to where it is recorded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from everloop.rollout import Assignment
    from everloop.serving.good_rows import GoodRows
    from everloop.serving.live import LiveModel
    from everloop.serving.problem import Problem, RowError
    from everloop.serving.rows import Request

__all__ = ["Failure", "Relayed", "Said"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """A version's scores: float32, shape (n,), NaN where it gave none; and how long it took."""

    scores: np.ndarray[Any, np.dtype[np.float32]]
    took_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A version that gave no score for any row. problem: what is said where it was the champion."""

    problem: Problem
    took_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Relayed:
    """A request whose live versions were asked where others serve them.

    model: as it was routed when they were asked. errors: for each row what is wrong with it. good: the other rows.
    turns: who is to answer each of those. said: by version; of those that others serve alone.
    """

    model: LiveModel
    request: Request
    errors: list[bytes | list[RowError]]
    good: GoodRows
    turns: list[Assignment]
    said: Mapping[int, Said | Failure]
