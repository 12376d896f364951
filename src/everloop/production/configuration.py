"""What a store has: a learner and its hyperparameters in whoever's words, its version there, and who wrote it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from everloop.project import Spec

__all__ = ["Configuration", "Part"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One value of a store that keeps each by itself. version: its own. modifier: who wrote it."""

    version: str
    modifier: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """A configuration as it is kept outside; what it does not say is None or empty.

    store: its address. version: the store's own name for it; no other configuration of the store has it.
    modifier: who wrote it, as the store knows them; empty where it does not. at: when.
    said: of `objective`, `features`, `calibration`, `quantiles`, `seed` and `reason` those that it says.
    spec: the spec that everloop put there; None for what somebody wrote by hand.
    foreign: a record of the past that nobody can correct, such as a tracker's run; its values are text in its
        library's words. tags, flavours: what else such a record says of its learner.
    """

    store: str
    version: str
    modifier: str = ""
    at: datetime | None = None
    learner: str | None = None
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)
    said: Mapping[str, Any] = field(default_factory=dict)
    spec: str | None = None
    labels: tuple[str, ...] = ()
    parts: Mapping[str, Part] = field(default_factory=dict)
    foreign: bool = False
    tags: Mapping[str, str] = field(default_factory=dict)
    flavours: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, spec: Spec, *, store: str, version: str, modifier: str, at: datetime | None, labels: tuple[str, ...] = ()
    ) -> Configuration:
        """What a store has that keeps a spec whole."""
        said = {name: value for name, value in spec.content.items() if name not in ("learner", "hyperparameters")}
        return cls(
            store=store,
            version=version,
            modifier=modifier,
            at=at,
            learner=spec.learner,
            hyperparameters=dict(spec.hyperparameters),
            said=said | {"reason": spec.reason},
            spec=spec.name,
            labels=labels,
        )

    @property
    def where(self) -> str:
        """How sentences name it: `ssm:/fraud-detection, version r4`."""
        return f"{self.store}, version {self.version}"
