"""Looks at MLflow's registry for models that are configured there: what somebody promotes asks for a run."""

from __future__ import annotations

from typing import Final

from everloop.clock import Clock
from everloop.errors import EverloopError, IntegrationError, NotFound
from everloop.integrations.mlflow.specs import MlflowSpecs
from everloop.ledger import Ledger, SpecArrived
from everloop.production import arrive, modified_by
from everloop.project import Model, Project

__all__ = ["Watch"]

_EVERY_S: Final = 5.0
_LONGEST_PAUSE_S: Final = 60.0


class Watch:
    """Every five seconds: which version holds, and whether somebody changed that by hand.

    A change is a fact, `spec.arrived`, on which control acts once: when the spec is approved. What everloop put there
    itself, by `spec put` or as the mirror of its own versions, is none.
    """

    def __init__(self, project: Project, ledger: Ledger, clock: Clock) -> None:
        """Reaches nothing before the first `sync`."""
        self._ledger = ledger
        self._clock = clock
        self._stores = {model.name: (model, MlflowSpecs(project, model)) for model in _watched(project)}
        self._problem: str | None = None
        self._pause_s = _EVERY_S
        self._not_before_s: float | None = None

    @classmethod
    def wanted(cls, project: Project) -> bool:
        """Whether a model's `specs:` is in MLflow's registry."""
        return bool(_watched(project))

    def sync(self) -> int:
        """Look, where it is time to; how many configurations arrived.

        Raises what went wrong once, when it begins: MLflow does not answer, or a version says what cannot be trained.
        """
        now_s = self._clock.monotonic_s()
        if self._not_before_s is not None and now_s < self._not_before_s:
            return 0
        self._not_before_s = now_s + self._pause_s
        try:
            found = sum(self._looked_at(model, store) for model, store in self._stores.values())
        except EverloopError as error:
            return self._failed(error)
        self._problem, self._pause_s = None, _EVERY_S
        return found

    def close(self) -> None:
        """Nothing is open."""

    def _failed(self, error: EverloopError) -> int:
        """Say a problem once; 0 while it lasts."""
        self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S) if isinstance(error, IntegrationError) else _EVERY_S
        problem = type(error.__cause__).__name__ if error.__cause__ is not None else str(error)
        if problem == self._problem:
            return 0
        self._problem = problem
        raise error

    def _looked_at(self, model: Model, store: MlflowSpecs) -> int:
        try:
            found = store.get()
        except NotFound:  # nobody has promoted anything yet
            return 0
        known = self._ledger.last(("spec.arrived", "spec.put"), model.name)
        last = None if known is None else (known.payload["store"], known.payload["version"])
        if found.spec is not None or (found.store, found.version) == last:
            return 0
        arrival = arrive(model, found, ledger=self._ledger, clock=self._clock)
        written = self._ledger.last("spec.written", arrival.spec.name)
        self._ledger.append(
            "spec.arrived",
            model.name,
            SpecArrived(
                model=model.name,
                spec=arrival.spec.name,
                spec_hash=arrival.spec.hash,
                store=found.store,
                version=found.version,
                modifier=found.modifier,
                notes=list(arrival.notes),
            ),
            actor=modified_by(model, found),
            cause=None if written is None else written.seq,
            # two workers that look at once write it once
            key=(f"arrived:{model.name}", found.version, 0 if known is None else known.seq),
        )
        return 1


def _watched(project: Project) -> list[Model]:
    return [model for model in project.models.values() if model.spec_store.store.kind == "mlflow"]
