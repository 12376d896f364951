"""A bundle: a graph with all that is needed to give it rows and to judge what it answers.

A version that something else serves has a bundle without a graph: its traffic is judged like any other's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

import numpy as np
import polars as pl
from msgspec import UNSET, Struct, UnsetType

from everloop.bundle.graph import Graph
from everloop.bundle.manifest import Manifest, sums
from everloop.data import Baseline, Contract, FeatureTree
from everloop.errors import BundleCorrupt, BundleError, DataError
from everloop.tasks import decided

__all__ = ["EXTERNAL", "Bundle", "BundleParts", "Scores", "ToJson"]

EXTERNAL: Final = "external"
"""The learner, run and spec of a version that something else made and serves."""

GRAPH: Final = "graph.onnx"
FEATURES: Final = "features.json"
CONTRACT: Final = "contract.json"
BASELINE: Final = "baseline.json"
_FILES: Final = frozenset({GRAPH, FEATURES, CONTRACT, BASELINE})


class ToJson(Protocol):
    """What writes itself as canonical JSON."""

    def to_json(self) -> bytes:
        """The same thing gives the same bytes."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleParts:
    """What a bundle is made of; equal parts give equal ids.

    graph: the bytes that `models.fit` gave; None of a version that something else serves. metrics: deterministic ones
    only, no timings.
    baseline: the reference of this version, from `data`. calibration: the method that the graph ends in.
    The others as `Manifest` has them.
    """

    graph: bytes | None
    features: FeatureTree
    contract: Contract
    baseline: ToJson
    threshold: float | None
    metrics: Mapping[str, float]
    spec_hash: str
    model: str
    learner: str
    target: str
    positive: str | None
    negative: str | None
    task: str = "classification"
    calibration: str = "none"
    quantiles: tuple[str, ...] = ()
    error_bound: float | None = None

    def files(self) -> dict[str, bytes]:
        """The files beside the manifest."""
        graph = {} if self.graph is None else {GRAPH: self.graph}
        return graph | {
            FEATURES: self.features.to_json(),
            CONTRACT: self.contract.to_json(),
            BASELINE: self.baseline.to_json(),
        }

    def manifest(self, files: Mapping[str, bytes]) -> Manifest:
        """The manifest of these parts and their files."""
        return Manifest(
            model=self.model,
            task=self.task,
            learner=self.learner,
            spec_hash=self.spec_hash,
            features=tuple(self.features.names),
            target=self.target,
            positive=self.positive,
            negative=self.negative,
            threshold=None if self.threshold is None else float(self.threshold),
            metrics={name: float(value) for name, value in self.metrics.items()},
            files=sums(files),
            calibration=UNSET if self.calibration == "none" else self.calibration,
            quantiles=self.quantiles if self.quantiles else UNSET,
            error_bound=UNSET if self.error_bound is None else float(self.error_bound),
        )


class Scores(Struct, frozen=True, kw_only=True):
    """What a bundle says about rows.

    score: float32, shape (n,). decision: bool, shape (n,), true for the positive class, false where nothing is decided.
    features: float32, shape (n, k), what the graph was given, NaN where missing.
    quantiles: float32, shape (n, q), rising; None of a bundle that gives none.
    """

    score: np.ndarray
    decision: np.ndarray
    features: np.ndarray
    quantiles: np.ndarray | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """A verified bundle, loaded. A row's score is the same bytes alone, in a batch and in any process of one machine.

    baseline_json: the reference as `data.Baseline` wrote it. graph: None of a version that something else serves.
    """

    id: str
    manifest: Manifest
    features: FeatureTree
    contract: Contract
    baseline_json: bytes = field(repr=False)
    graph: Graph | None = field(repr=False)

    @classmethod
    def of(cls, bundle_id: str, manifest: Manifest, files: Mapping[str, bytes]) -> Bundle:
        """The bundle of files whose sums were compared. Raises BundleCorrupt where they do not go together."""
        if set(files) | {GRAPH} != _FILES:
            raise BundleCorrupt(f"a bundle has the files {', '.join(sorted(_FILES))} and this has {', '.join(files)}")
        try:
            features = FeatureTree.from_json(files[FEATURES])
            contract = Contract.from_json(files[CONTRACT])
        except DataError as error:
            raise BundleCorrupt(
                f"the features or the contract of bundle {bundle_id} cannot be read: {error}"
            ) from error
        graph = Graph(files[GRAPH]) if GRAPH in files else None
        if graph is not None:
            _refuse_other_graph(graph, bundle_id, manifest, features)
        return cls(
            id=bundle_id,
            manifest=manifest,
            features=features,
            contract=contract,
            baseline_json=files[BASELINE],
            graph=graph,
        )

    @property
    def baseline(self) -> Baseline:
        """The reference of this version; read anew at each call, for it is large and the endpoint does without it."""
        return Baseline.from_json(self.baseline_json)

    @property
    def threshold(self) -> float | None:
        """A score ≥ it is decided positive; None where nothing is decided."""
        return self.manifest.threshold

    @property
    def quantiles(self) -> tuple[str, ...]:
        """What is given beside a score, such as p10, in rising order."""
        return () if isinstance(self.manifest.quantiles, UnsetType) else self.manifest.quantiles

    @property
    def error_bound(self) -> float | None:
        """How far off live errors are cut, in the target's unit; None of what is no regression."""
        return None if isinstance(self.manifest.error_bound, UnsetType) else self.manifest.error_bound

    @property
    def external(self) -> bool:
        """Whether something else serves it, so that it cannot score here."""
        return self.graph is None

    def score_frame(self, frame: pl.DataFrame) -> Scores:
        """Scores, decisions and features of a frame that keeps the contract."""
        return self.score_matrix(self.features.matrix(frame))

    def score_matrix(self, X: np.ndarray) -> Scores:
        """Scores and decisions of rows whose features are there already: float32, shape (n, k).

        Raises BundleError where something else serves the version.
        """
        if self.graph is None:
            raise BundleError(
                f"a version of {self.manifest.model} that something else serves has no graph here; its scores are "
                "those that were recorded"
            )
        score, quantiles = self.graph.predictions(X)
        return Scores(score=score, decision=decided(score, self.threshold), features=X, quantiles=quantiles)

    def label(self, decision: bool) -> str | None:
        """What a decision is called, such as `fraud`; None where nothing is decided."""
        return self.manifest.positive if decision else self.manifest.negative


def _refuse_other_graph(graph: Graph, bundle_id: str, manifest: Manifest, features: FeatureTree) -> None:
    """Raise BundleCorrupt where the graph reads or gives other than the manifest and the features say."""
    if not graph.features == len(features.names) == len(manifest.features) or features.names != manifest.features:
        raise BundleCorrupt(
            f"bundle {bundle_id} names {len(manifest.features)} features, its tree gives {len(features.names)} "
            f"and its graph reads {graph.features}; package the model again"
        )
    told = () if isinstance(manifest.quantiles, UnsetType) else manifest.quantiles
    if graph.quantiles != len(told):
        raise BundleCorrupt(
            f"bundle {bundle_id} names {len(told)} quantiles and its graph gives {graph.quantiles}; package the "
            "model again"
        )
