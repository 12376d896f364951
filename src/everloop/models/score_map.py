"""What turns a model's scores into probabilities: a strictly rising function, which leaves every ranking as it was."""

from __future__ import annotations

from typing import Any, Final, Protocol

import numpy as np

from everloop.bundle.graph import Graph
from everloop.errors import GraphDisagrees

__all__ = ["LANES", "MAP_AGREEMENT", "ScoreMap", "check_map"]

LANES: Final = 16
"""A map's tensors are so many numbers wide: the last ones of another width would be computed by other instructions,
whose last bits differ."""

MAP_AGREEMENT: Final = 1e-6
"""How far the graph's map may be from the one in NumPy, on any row; both compute in float64 and round to float32."""


class ScoreMap(Protocol):
    """A strictly rising function from [0, 1] into (0, 1), fitted on validation rows."""

    @property
    def method(self) -> str:
        """Its name in specs and manifests: `logistic` or `isotonic`."""
        ...

    @property
    def parameters(self) -> dict[str, list[float]]:
        """All that it is made of, as plain JSON."""
        ...

    def apply(self, scores: np.ndarray) -> np.ndarray:
        """The probabilities of `scores`, float64, shape (n,): the plain version of what the graph does."""
        ...

    def nodes(self, source: str, target: str) -> tuple[list[Any], list[Any]]:
        """The ONNX nodes from the tensor `source`, float32 (n,), to `target`, float32 (n,), and their constants."""
        ...


def check_map(graph: bytes, before: Graph, found: ScoreMap, rows: np.ndarray) -> None:
    """Raise GraphDisagrees where `graph` does not say of `rows` what `found` makes of the scores `before` it."""
    worst = float(np.abs(Graph(graph).scores(rows) - found.apply(before.scores(rows))).max())
    if not worst <= MAP_AGREEMENT:
        raise GraphDisagrees(
            f"the graph's {found.method} calibration and its plain version differ by up to {worst:.2g}, more than the "
            f"{MAP_AGREEMENT:g} allowed; nothing was packaged: take calibration: none"
        )
