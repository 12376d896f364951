"""Profiles: how often each column's values fell into a baseline's bins; small, and mergeable over any windows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec
import numpy as np

from everloop.errors import DataError

__all__ = ["Profile"]


class _Stored(msgspec.Struct, frozen=True, kw_only=True):
    rows: int
    counts: dict[str, list[int | float]]
    nulls: dict[str, int | float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """Counts by column over the bins of one baseline.

    rows: how many rows were counted. counts: shape (bins,) per column, values only. nulls: missing values per
    column. `a + b` is the profile of both, whatever the order.
    """

    rows: int
    counts: Mapping[str, np.ndarray]
    nulls: Mapping[str, float]

    def __add__(self, other: Profile) -> Profile:
        if self.counts.keys() != other.counts.keys():
            raise DataError("two profiles of different baselines cannot be added")
        return Profile(
            rows=self.rows + other.rows,
            counts={name: counts + other.counts[name] for name, counts in self.counts.items()},
            nulls={name: nulls + other.nulls[name] for name, nulls in self.nulls.items()},
        )

    def null_share(self, name: str) -> float:
        """The share of missing values, in [0, 1]; NaN without rows."""
        total = float(self.counts[name].sum()) + self.nulls[name]
        return self.nulls[name] / total if total else float("nan")

    def to_json(self) -> bytes:
        """Canonical JSON: the same profile gives the same bytes."""
        stored = _Stored(
            rows=self.rows,
            counts={name: counts.tolist() for name, counts in self.counts.items()},
            nulls=dict(self.nulls),
        )
        return msgspec.json.encode(stored, order="sorted")

    @classmethod
    def from_json(cls, data: bytes) -> Profile:
        """The profile of `to_json`. Raises DataError where it is not one."""
        try:
            stored = msgspec.json.decode(data, type=_Stored)
        except msgspec.MsgspecError as error:
            raise DataError(f"this is not a profile: {error}") from error
        counts = {name: np.asarray(values) for name, values in stored.counts.items()}
        return cls(rows=stored.rows, counts=counts, nulls=stored.nulls)
