"""A store in memory: for tests and trials, and the plainest reading of what a store is."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Final

from everloop.clock import Clock
from everloop.errors import NotFound
from everloop.production.configuration import Configuration
from everloop.project import Spec

__all__ = ["MemorySpecs"]

_NEWEST: Final = "newest"


class MemorySpecs:
    """Versions `1`, `2` …; a label points to one. Gone with the process."""

    def __init__(self, *, clock: Clock, address: str = "memory:") -> None:
        self._clock = clock
        self._address = address
        self._lock = threading.Lock()
        self._kept: list[Configuration] = []
        self._labels: dict[str, int] = {}

    @property
    def address(self) -> str:
        """`memory:`, or as it was called when it was made."""
        return self._address

    def get(self, version: str | None = None) -> Configuration:
        """What holds, or a version or label."""
        with self._lock:
            return self._labelled(self._place(_NEWEST if version is None else version))

    def put(self, spec: Spec, *, actor: str, label: str | None = None) -> Configuration:
        """Keep the spec, unless it is what the label says already."""
        with self._lock:
            label = _NEWEST if label is None else label
            made = Configuration.of(
                spec,
                store=self._address,
                version=str(len(self._kept) + 1),
                modifier=actor,
                at=self._clock.now(),
            )
            same = [place for place, kept in enumerate(self._kept) if _content(kept) == _content(made)]
            if not same:
                self._kept.append(made)
            self._labels[label] = same[-1] if same else len(self._kept) - 1
            return self._labelled(self._labels[label])

    def history(self) -> list[Configuration]:
        """Every version, oldest first."""
        with self._lock:
            return [self._labelled(place) for place in range(len(self._kept))]

    def _place(self, version: str) -> int:
        if version in self._labels:
            return self._labels[version]
        for place, kept in enumerate(self._kept):
            if kept.version == version:
                return place
        if not self._kept:
            raise NotFound(f"{self._address} holds no configuration; 'everloop spec put NAME' writes one there")
        known = f"the newest is {self._kept[-1].version}"
        raise NotFound(f"{self._address} has no version {version}; {known}")

    def _labelled(self, place: int) -> Configuration:
        labels = tuple(sorted(label for label, at in self._labels.items() if at == place and label != _NEWEST))
        return replace(self._kept[place], labels=labels)


def _content(kept: Configuration) -> tuple[object, ...]:
    said = {name: value for name, value in kept.said.items() if name != "reason"}
    return kept.learner, dict(kept.hyperparameters), said
