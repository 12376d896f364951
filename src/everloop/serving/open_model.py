"""What is known of a model's rows, whoever answers them: enough to record what others said and what turned out true."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

from everloop.bundle import Bundle
from everloop.data import Contract, Decoder, read_contract
from everloop.errors import EverloopError
from everloop.project import Model
from everloop.rollout import Routing
from everloop.tasks import get_task

if TYPE_CHECKING:
    from everloop.serving.live import LiveModel

__all__ = ["OpenModel", "Unserved"]


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenModel:
    """A model with or without a champion.

    contract: what a row is decoded by: the champion's, else contract.yaml's. decides: whether a score becomes a
    decision. labels: what a positive and a negative decision are called. bundles: those that are loaded, by version.
    """

    name: str
    routing: Routing
    contract: Contract
    decoder: Decoder
    decides: bool
    labels: tuple[str, str]
    bundles: Mapping[int, Bundle] = field(default_factory=lambda: MappingProxyType({}))

    @classmethod
    def of(cls, served: LiveModel) -> OpenModel:
        """One that has a champion."""
        manifest = served.champion.manifest
        return cls(
            name=served.name,
            routing=served.routing,
            contract=served.contract,
            decoder=served.decoder,
            decides=served.decides,
            labels=(manifest.positive or "", manifest.negative or ""),
            bundles=served.bundles,
        )

    @classmethod
    def unserved(cls, model: Model) -> OpenModel:
        """One that nobody answers for here. Raises ConfigurationError where its contract.yaml cannot be read."""
        contract = read_contract(model)
        return cls(
            name=model.name,
            routing=Routing(model=model.name, revision=0),
            contract=contract,
            decoder=Decoder(contract),
            decides=get_task(model.task).decides,
            labels=(model.positive_label, model.negative_label),
        )

    def label(self, decision: bool) -> str | None:
        """What a decision is called; None where nothing is decided."""
        return self.labels[0 if decision else 1] if self.decides else None


class Unserved:
    """The project's models as far as they can be known without a champion; a contract that was edited is read again."""

    def __init__(self, models: Mapping[str, Model]) -> None:
        self._models = models
        self._read: dict[str, tuple[int | None, OpenModel | str]] = {}

    def __call__(self, name: str) -> OpenModel | str:
        """The model, or why its rows are not known."""
        model = self._models[name]
        try:
            stamp = model.contract_path.stat().st_mtime_ns
        except OSError:
            stamp = None
        known = self._read.get(name)
        if known is None or known[0] != stamp:
            try:
                found: OpenModel | str = OpenModel.unserved(model)
            except (EverloopError, OSError) as error:
                found = str(error)
            known = self._read[name] = (stamp, found)
        return known[1]
