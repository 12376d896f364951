"""What is served at one moment: a routing per model, its bundles loaded, as one immutable object."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from types import MappingProxyType

import msgspec
import polars as pl

from everloop.bundle import Bundle
from everloop.data import EVENT_TIME, Column, CompiledTree, Contract, Decoder, FrameDecoder, RowDigests, TypedDecoder
from everloop.errors import DataError, EverloopError
from everloop.rollout import Routing
from everloop.serving.open_model import OpenModel
from everloop.serving.problem import Problem
from everloop.serving.reasons import Typical, typical_of
from everloop.serving.score_edges import score_edges
from everloop.tasks import get_task
from everloop.traffic import InputColumns

_LOG = logging.getLogger("everloop.serving")

__all__ = ["Live", "LiveModel", "joined_contract", "live_model", "served_model", "warmed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveModel:
    """One model as it is served.

    contract: what a row is decoded by; the champion's, and what challengers ask for besides, which may be left out.
    bundles: every loaded version's, by number; all of `routing.loaded`. score_edges: of each, see `score_edges`.
    typed, compiled: the fast twins of the decoder and of each live version's features.
    inputs, input_kinds: the columns that are captured as they came, and what they hold.
    typical: each loaded version's typical row, by which scores are explained; none of one that has no baseline.
    digests: tells rows apart that come with the same id; layout: what of the contract does, another has other digests.
    relayed: whether something else serves a live version, which is to be asked before a row can be answered.
    """

    name: str
    routing: Routing
    contract: Contract
    decoder: FrameDecoder
    typed: TypedDecoder
    compiled: Mapping[int, CompiledTree]
    bundles: Mapping[int, Bundle]
    inputs: tuple[str, ...]
    input_kinds: tuple[str, ...]
    typical: Mapping[int, Typical]
    layout: str
    digests: RowDigests
    score_edges: Mapping[int, tuple[float, ...]]
    relayed: bool = False

    @property
    def champion(self) -> Bundle:
        """The bundle that answers by default."""
        assert self.routing.champion is not None
        return self.bundles[self.routing.champion]

    @property
    def decides(self) -> bool:
        """Whether a score becomes a decision, and an outcome is a yes or no; else both are numbers."""
        return get_task(self.champion.manifest.task).decides


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """All models: those served, the ledger's newest revisions, and what keeps a newer one from being served.

    names: every model of the project. unserved: those without a champion, as far as what others answer for them can be
    recorded; else why not. problems: by model; `ledger` is why the ledger cannot be read, if it cannot.
    """

    names: frozenset[str]
    models: Mapping[str, LiveModel] = field(default_factory=lambda: MappingProxyType({}))
    wanted: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    problems: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    ledger: str | None = None
    unserved: Mapping[str, OpenModel | str] = field(default_factory=lambda: MappingProxyType({}))

    def revision(self, model: str) -> int:
        """The routing revision that is served; 0 where none is."""
        served = self.models.get(model)
        return 0 if served is None else served.routing.revision


def live_model(routing: Routing, load: Callable[[int], Bundle], *, before: LiveModel | None = None) -> LiveModel:
    """The model with every version of `routing` loaded, warmed and ready to score.

    load: verifies and loads one version. before: what is served now; its bundles are used again.
    The previous champion is only kept for a rollback: where it alone cannot be loaded, the rest is served.
    Raises BundleError where a live version cannot be loaded.
    """
    held: Mapping[int, Bundle] = {} if before is None else before.bundles
    bundles = {version: held[version] if version in held else load(version) for version in routing.live}
    for version in routing.loaded[len(routing.live) :]:
        try:
            bundles[version] = held[version] if version in held else load(version)
        except EverloopError as error:
            _LOG.warning("v%d, the champion before, cannot be loaded for a rollback: %s", version, error)
    contract = joined_contract([bundles[version].contract for version in routing.live])
    known = {} if before is None else before.typical
    typical = {version: known.get(version) or typical_of(bundle) for version, bundle in bundles.items()}
    decoder = FrameDecoder(contract)
    inputs = {name: dtype for name, dtype in decoder.schema.items() if name != EVENT_TIME}
    return LiveModel(
        name=routing.model,
        routing=routing,
        contract=contract,
        decoder=decoder,
        typed=TypedDecoder(decoder, contract),
        compiled={version: CompiledTree(bundles[version].features, contract) for version in routing.live},
        bundles=MappingProxyType(bundles),
        typical=MappingProxyType({version: one for version, one in typical.items() if one is not None}),
        inputs=tuple(inputs),
        input_kinds=InputColumns.kinds_of(inputs.values()),
        layout=_layout(contract),
        digests=RowDigests(contract),
        score_edges=MappingProxyType(
            {
                version: before.score_edges[version]
                if before is not None and version in before.score_edges
                else score_edges(bundle)
                for version, bundle in bundles.items()
            }
        ),
        relayed=any(bundles[version].external for version in routing.live),
    )


def _layout(contract: Contract) -> str:
    read = [(column.name, column.type, column.role) for column in contract.columns if column.at_prediction]
    return blake2b(msgspec.json.encode(read), digest_size=8).hexdigest()


def joined_contract(contracts: list[Contract]) -> Contract:
    """The first contract, and the columns that only later ones have, nullable: a row need not carry them yet.

    Raises DataError where two contracts give one column different types.
    """
    first, *others = contracts
    columns: dict[str, Column] = {column.name: column for column in first.columns}
    for contract in others:
        for column in contract.columns:
            known = columns.get(column.name)
            if known is None or (column.at_prediction and not known.at_prediction):
                columns[column.name] = msgspec.structs.replace(column, nullable=True)
            elif column.at_prediction and known.type != column.type:
                raise DataError(
                    f"the challenger's contract has column {column.name!r} as {column.type} and the champion's as "
                    f"{known.type}; a row cannot be both. Rename the new column"
                )
    return msgspec.structs.replace(first, columns=tuple(columns.values()))


def warmed(bundle: Bundle) -> Bundle:
    """The bundle after its first row, one of nothing but missing values: what is slow once has been."""
    if bundle.external:
        return bundle
    schema = dict(Decoder(bundle.contract).schema)
    bundle.score_frame(pl.DataFrame({name: [None] for name in schema}, schema=schema))
    return bundle


def served_model(live: Live, name: str) -> LiveModel:
    """The model of that name. Raises Problem where there is none, or none that answers."""
    model = live.models.get(name)
    if model is not None:
        return model
    if name not in live.names:
        known = ", ".join(sorted(live.names)) or "none"
        raise Problem(404, "unknown-model", f"there is no model {name[:100]!r} here; there is {known}")
    problem = live.problems.get(name)
    if problem is not None:
        raise Problem(503, "no-champion", f"{name} cannot be served: {problem}")
    raise Problem(
        503,
        "no-champion",
        f"{name} has no champion yet; 'everloop train' makes and deploys the first, and 'everloop model add' names one "
        "that something else serves",
    )
