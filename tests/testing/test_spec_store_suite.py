"""The suite passes the stores that need nothing outside, and each law catches who breaks it."""

from __future__ import annotations

import itertools
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from everloop.clock import SystemClock
from everloop.errors import EverloopError
from everloop.production import Configuration, FileSpecs, MemorySpecs, SpecStore
from everloop.project import Spec, parse_model
from everloop.testing import SpecStoreSuite

MODEL = "data: {source: past.parquet, time: paid_at, target: fraud}\nobjective: recall at precision >= 0.80\n"
LAWS = tuple(name for name in vars(SpecStoreSuite) if name.startswith("test_"))


class TestMemorySpecs(SpecStoreSuite):
    def store(self) -> SpecStore:
        return MemorySpecs(clock=SystemClock())


class TestFileSpecs(SpecStoreSuite):
    labels = False

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.folder, self.numbers = tmp_path, itertools.count()

    def store(self) -> SpecStore:
        folder = self.folder / str(next(self.numbers)) / "fraud"
        folder.mkdir(parents=True)
        model, mistakes = parse_model(MODEL, folder=folder)
        assert model is not None, mistakes
        return FileSpecs(model=model)

    def again(self, store: SpecStore) -> SpecStore:
        assert isinstance(store, FileSpecs)
        return FileSpecs(model=store.model)


class Wrong(MemorySpecs):
    """A store with one thing wrong."""

    def __init__(self) -> None:
        super().__init__(clock=SystemClock())


class Defaulting(Wrong):
    def get(self, version: str | None = None) -> Configuration:
        try:
            return super().get(version)
        except EverloopError:
            return Configuration(store=self.address, version="0", learner="xgboost")


class Stringly(Wrong):
    def get(self, version: str | None = None) -> Configuration:
        found = super().get(version)
        return replace(found, hyperparameters={name: str(value) for name, value in found.hyperparameters.items()})


class Anonymous(Wrong):
    def put(self, spec: Spec, *, actor: str, label: str | None = None) -> Configuration:
        return super().put(spec, actor="", label=label)


class Backwards(Wrong):
    def history(self) -> list[Configuration]:
        return super().history()[::-1]


class Merging(Wrong):
    """Keeps what an earlier put said."""

    def put(self, spec: Spec, *, actor: str, label: str | None = None) -> Configuration:
        before = [one.hyperparameters for one in self.history()]
        params = dict(itertools.chain(*(one.items() for one in before), spec.hyperparameters.items()))
        return super().put(spec.model_copy(update={"hyperparameters": params}), actor=actor, label=label)


class Halfway(Wrong):
    """Writes one value after another where all may see it."""

    def put(self, spec: Spec, *, actor: str, label: str | None = None) -> Configuration:
        values = dict(spec.hyperparameters)
        if self.history():
            before = dict(self.history()[-1].hyperparameters)
            for name in list(values)[: len(values) // 2]:
                before[name] = values[name]
            super().put(spec.model_copy(update={"hyperparameters": before}), actor=actor, label=label)
            threading.Event().wait(0.002)  # as long as a store over a network takes between two values
        return super().put(spec, actor=actor, label=label)


class Unlabelled(Wrong):
    def put(self, spec: Spec, *, actor: str, label: str | None = None) -> Configuration:
        return super().put(spec, actor=actor)


def broken_laws(kind: Any) -> set[str]:
    class Suite(SpecStoreSuite):
        puts = 400  # in memory a put is over before a reader looks

        def store(self) -> SpecStore:
            return kind()

    found = set()
    for law in LAWS:
        try:
            getattr(Suite(), law)()
        except (AssertionError, EverloopError):
            found.add(law)
    return found


@pytest.mark.parametrize(
    ("kind", "law"),
    [
        (Defaulting, "test_where_nothing_was_put_nothing_is_made_up"),
        (Defaulting, "test_an_unknown_version_is_refused"),
        (Stringly, "test_what_was_put_is_given_back_as_it_was"),
        (Anonymous, "test_the_history_is_in_order_and_says_who_and_when"),
        (Backwards, "test_the_history_is_in_order_and_says_who_and_when"),
        (Merging, "test_a_setting_that_was_taken_away_is_gone"),
        (Halfway, "test_a_put_is_seen_whole_or_not_at_all"),
        (Unlabelled, "test_a_label_holds_what_it_was_put_on"),
    ],
)
def test_each_law_catches_who_breaks_it(kind: Any, law: str) -> None:
    assert law in broken_laws(kind)
