"""Where a model's configuration lives: one interface, whatever is behind it. Stores are found by entry point."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Final, Protocol

from everloop.errors import NotFound
from everloop.production.configuration import Configuration
from everloop.production.file_specs import FileSpecs
from everloop.project import Model, Project, Spec

__all__ = ["GROUP", "SpecStore", "SpecStoreKind", "open_store"]

GROUP: Final = "everloop.spec_stores"


class SpecStore(Protocol):
    """Keeps configurations of one model, each under a version of its own, and says which one holds.

    A put of several values is seen whole or not at all. What was put is given back as it was: the same learner,
    hyperparameters with their types, objective, features, calibration, quantiles and seed. Every method raises
    IntegrationError in one sentence while the store does not answer, and never gives a default in its place.
    `everloop.testing.SpecStoreSuite` holds an implementation to all of this.
    """

    @property
    def address(self) -> str:
        """As model.yaml names it, such as `ssm:/fraud-detection`."""
        ...

    def get(self, version: str | None = None) -> Configuration:
        """What holds now, or what a version or label says. Raises NotFound, with what there is."""
        ...

    def put(self, spec: Spec, *, actor: str, label: str | None = None) -> Configuration:
        """Make the spec what holds; under `label`, where the store has such, only what that label says.

        What holds already gets no second version. actor: who asks, where the store does not know it better.
        """
        ...

    def history(self) -> list[Configuration]:
        """Every configuration that the store still has, oldest first."""
        ...


class SpecStoreKind(Protocol):
    """What an entry point of `everloop.spec_stores` names: it makes a store. Loading it is quick."""

    def __call__(self, project: Project, model: Model) -> SpecStore:
        """The model's store. Reaches nothing outside before a method is called."""
        ...


def open_store(project: Project, model: Model) -> SpecStore:
    """The one store that the model's `specs:` names. Raises NotFound where nothing installed is of that kind."""
    address = model.spec_store.store
    if address.is_files:
        return FileSpecs(model=model)
    for point in entry_points(group=GROUP, name=address.kind):
        kind: SpecStoreKind = point.load()
        return kind(project, model)
    known = ", ".join(sorted({"files", *(point.name for point in entry_points(group=GROUP))}))
    raise NotFound(f"{model.name}/model.yaml: specs: {address} is of no store that is installed; there are {known}")
