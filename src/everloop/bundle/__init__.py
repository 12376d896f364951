"""What is served: a bundle's graph, loading, verifying, scoring. No training library is imported here."""

from everloop.bundle.graph import Graph

__all__ = ["Graph"]
