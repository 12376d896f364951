"""A version's card: what it is for, what it promises, what not to expect of it, where it comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from everloop.bundle import Bundle, BundleStore
from everloop.clock import Clock
from everloop.errors import EverloopError
from everloop.ledger import Ledger, Version
from everloop.project import Model, Project
from everloop.registry.limits import limits_of
from everloop.registry.lineage import Lineage, Stint, lineage
from everloop.registry.place import BundlePlace, bundle_place
from everloop.tasks import get_task

__all__ = ["VersionCard", "version_card"]


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionCard:
    """A version with all that is known of it.

    about: purpose, not_for and owner as model.yaml says them now; `then` where it said something else when the version
    was registered. configuration: what of its spec decided the fit. segments: a line for each value of each segment.
    limits: sentences. stints: when it answered by default. bundle: loaded, None where it is not here or is damaged.
    """

    version: Version
    model: Model
    about: Mapping[str, Any]
    then: Mapping[str, Any] | None
    origin: Mapping[str, Any]
    configuration: Mapping[str, Any]
    place: BundlePlace
    limits: tuple[str, ...]
    family: Lineage
    bundle: Bundle | None = None

    @property
    def name(self) -> str:
        """How people call it: `fraud/v2`."""
        return self.version.name

    @property
    def gates(self) -> list[Mapping[str, Any]]:
        """Every gate with its outcome and its sentence."""
        return list(self.version.record.get("verdicts") or [])

    @property
    def segments(self) -> list[Mapping[str, Any]]:
        """How it does on the rows of each value."""
        return list(self.version.record.get("segments") or [])

    @property
    def stints(self) -> tuple[Stint, ...]:
        """When it answered by default."""
        return tuple(one for one in self.family.champions if one.version == self.version.number)

    @property
    def threshold(self) -> float | None:
        """Of its decisions; None where nothing is decided."""
        found: float | None = self.version.record.get("threshold")
        return found

    @property
    def decides(self) -> bool:
        """Whether its task compares a score with a threshold."""
        return get_task(self.model.task).decides

    def approval(self) -> str | None:
        """Who answered for its spec, and when."""
        said = self.origin.get("approved")
        if said is None:
            return None
        return f"{said['by']} on {str(said['at'])[:10]}" + (f": {said['note']}" if said["note"] else "")

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        version = self.version
        names = ("model", "number", "bundle", "run", "spec", "spec_hash", "role", "trigger")
        said = {"name": version.name} | {name: getattr(version, name) for name in names}
        place = {"state": self.place.state, "sentence": self.place.sentence, "bytes": self.place.bytes}
        return said | {
            "at": version.at.isoformat(),
            "alert": version.record.get("alert"),
            "metrics": dict(version.metrics),
            "data": version.data,
            "threshold": self.threshold,
            "gates": self.gates,
            "segments": self.segments,
            "about": dict(self.about),
            "about_then": None if self.then is None else dict(self.then),
            "origin": dict(self.origin),
            "configuration": dict(self.configuration),
            "evidence_path": version.record.get("evidence_path"),
            "bundle_place": place,
            "limits": list(self.limits),
            "lineage": self.family.to_dict(),
        }


def version_card(project: Project, ledger: Ledger, clock: Clock, *, model: str, number: int) -> VersionCard:
    """The card of a version. Raises NotFound, naming the newest."""
    chosen, version = project.model(model), ledger.version(model, number)
    origin = version.record.get("origin") or {}
    bundle = _loaded(project, version)
    about = {name: said for name, said in chosen.about.model_dump(mode="json").items() if said}
    then = origin.get("about")
    return VersionCard(
        version=version,
        model=chosen,
        about=about,
        then=then if then and then != about else None,
        origin=origin,
        configuration=_configuration(chosen, version, origin, bundle),
        place=bundle_place(project, ledger, version),
        limits=limits_of(version, chosen, bundle, now=clock.now()),
        family=lineage(ledger, version),
        bundle=bundle,
    )


def _loaded(project: Project, version: Version) -> Bundle | None:
    try:
        return BundleStore.of(project).load(version.bundle)
    except EverloopError:  # not here, or damaged: its place and `doctor` say so
        return None


def _configuration(model: Model, version: Version, origin: Mapping[str, Any], bundle: Bundle | None) -> dict[str, Any]:
    """Of the fact; of a version that an older everloop registered, of the spec's file if it is still the same."""
    found = dict(origin.get("configuration") or {})
    if not found:
        try:
            spec = model.spec(version.spec)
        except EverloopError:
            spec = None
        if spec is not None and spec.hash == version.spec_hash:
            values = spec.model_dump(mode="json", by_alias=True)
            found = {name: values[name] for name in ("learner", "hyperparameters", "features", "objective", "seed")}
    if bundle is not None:
        found |= {"features": list(bundle.features.names), "learner": bundle.manifest.learner}
    return found
