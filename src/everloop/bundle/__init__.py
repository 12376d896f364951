"""What is served: a bundle's manifest, its graph, storing, verifying, scoring. No training library is imported here."""

from everloop.bundle.bundle import Bundle, BundleParts, Scores, ToJson
from everloop.bundle.graph import Graph
from everloop.bundle.manifest import Manifest
from everloop.bundle.store import BundleStore

__all__ = ["Bundle", "BundleParts", "BundleStore", "Graph", "Manifest", "Scores", "ToJson"]
