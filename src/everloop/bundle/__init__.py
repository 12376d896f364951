"""What is served: a bundle's manifest, its graph, storing, verifying, scoring. No training library is imported here.

A name is loaded where it is first used: a process that only fits needs a graph, and nothing of the rest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from everloop.on_first_use import on_first_use

if TYPE_CHECKING:
    from everloop.bundle.bundle import EXTERNAL, Bundle, BundleParts, Scores, ToJson
    from everloop.bundle.graph import Graph
    from everloop.bundle.manifest import Manifest
    from everloop.bundle.store import BundleStore

__all__ = ["EXTERNAL", "Bundle", "BundleParts", "BundleStore", "Graph", "Manifest", "Scores", "ToJson"]

_PLACES = {
    "EXTERNAL": "bundle",
    "Bundle": "bundle",
    "BundleParts": "bundle",
    "BundleStore": "store",
    "Graph": "graph",
    "Manifest": "manifest",
    "Scores": "bundle",
    "ToJson": "bundle",
}


__getattr__ = on_first_use(__name__, _PLACES)
