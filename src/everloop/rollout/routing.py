"""Who answers which request: one immutable routing, and a pure, sticky assignment of keys to versions."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from everloop.ids import routing_unit

__all__ = ["Assignment", "Exposure", "Mode", "Routing", "Side", "assign", "assign_many", "share_limit"]

Mode = Literal["shadow", "canary"]
Side = Literal["champion", "challenger"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposure:
    """How far a challenger is exposed.

    share: of the keys, those whose answer is the challenger's, 0 to 1. In `shadow` it is 0: the challenger scores
        every row and answers none.
    salt: places the keys; one per rollout, so that a growing share only adds keys.
    """

    version: int
    share: float
    mode: Mode
    salt: str

    def __post_init__(self) -> None:
        if not 0.0 <= self.share <= 1.0:
            raise ValueError(f"version {self.version}: a share of {self.share} is not within 0 and 1")
        if self.mode == "shadow" and self.share != 0.0:
            raise ValueError(f"version {self.version}: a shadow answers nobody, so its share is 0, not {self.share}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Routing:
    """Which versions of a model are live, and whose answer is given.

    champion: answers by default; None before the first promotion.
    previous: the champion before; kept loaded, so that a rollback is at once.
    """

    model: str
    revision: int
    champion: int | None = None
    previous: int | None = None
    challengers: tuple[Exposure, ...] = ()

    @property
    def live(self) -> tuple[int, ...]:
        """The versions that score every request, the champion first."""
        champion = () if self.champion is None else (self.champion,)
        return champion + tuple(exposure.version for exposure in self.challengers)

    @property
    def loaded(self) -> tuple[int, ...]:
        """The versions that an endpoint holds in memory: the live ones and the previous champion."""
        rest = () if self.previous is None or self.previous in self.live else (self.previous,)
        return self.live + rest

    def exposure(self, version: int) -> float:
        """The share of keys that `version` answers at most; 0 for a version that is not routed."""
        if version == self.champion:
            return 1.0
        return next((one.share for one in self.challengers if one.version == version), 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """Whose answer a key is given.

    propensity: the probability, over keys, of this version being the one that answers.
    """

    version: int
    side: Side
    propensity: float


def share_limit(share: float) -> int:
    """The number below which a key's unit is exposed: exactly `floor(share · 2**64)`, so 1.0 means all and 0 none."""
    return int(math.ldexp(share, 64))


def assign(routing: Routing, key: str) -> Assignment:
    """The version that answers `key`.

    Challengers are asked in their order; the first whose share holds the key answers, else the champion.
    Raises ValueError where the routing has no champion.
    """
    if routing.champion is None:
        raise ValueError(f"{routing.model} has no champion to answer")
    rest = 1.0
    for exposure in routing.challengers:
        if exposure.share > 0.0 and routing_unit(exposure.salt, key) < share_limit(exposure.share):
            return Assignment(version=exposure.version, side="challenger", propensity=rest * exposure.share)
        rest *= 1.0 - exposure.share
    return Assignment(version=routing.champion, side="champion", propensity=rest)


def assign_many(routing: Routing, keys: Sequence[str]) -> list[Assignment]:
    """`assign` for each of `keys`; rows that nobody is tried on cost nothing."""
    champion = assign(_without_challengers(routing), "")
    exposed = [exposure for exposure in routing.challengers if exposure.share > 0.0]
    if not exposed:
        return [champion] * len(keys)
    taken = np.full(len(keys), len(exposed), dtype=np.int64)
    for place in reversed(range(len(exposed))):
        taken[_exposed(exposed[place], keys)] = place
    answers = _answers(routing, exposed)
    return [answers[place] for place in taken.tolist()]


def _without_challengers(routing: Routing) -> Routing:
    return Routing(model=routing.model, revision=routing.revision, champion=routing.champion)


def _exposed(exposure: Exposure, keys: Iterable[str]) -> np.ndarray:
    units = np.fromiter((routing_unit(exposure.salt, key) for key in keys), dtype=np.uint64)
    limit = share_limit(exposure.share)
    # 2**64 itself is no uint64: a share of 1 holds every key.
    return np.ones(units.shape, dtype=bool) if limit >= 1 << 64 else units < np.uint64(limit)


def _answers(routing: Routing, exposed: Sequence[Exposure]) -> list[Assignment]:
    answers, rest = [], 1.0
    for exposure in exposed:
        answers.append(Assignment(version=exposure.version, side="challenger", propensity=rest * exposure.share))
        rest *= 1.0 - exposure.share
    assert routing.champion is not None
    return [*answers, Assignment(version=routing.champion, side="champion", propensity=rest)]
