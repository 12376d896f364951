"""The registry: what a version knows of itself, how two differ, where they come from, and what of them may go.

`version_card` is a version's card, `difference` two of them side by side, `lineage` specs, versions and alerts as one
graph; `prune` carries out the retention rule, which `removable` decides purely.
Importing the room is cheap: a name is loaded where it is first used.
"""

from everloop.registry.removal import Pruning, histories, last_pruning, prune, removal_sentence, what_may_go
from everloop.registry.retention import Found, History, SpoolFound, kept_versions, last_used, removable

__all__ = [
    "Found",
    "History",
    "Pruning",
    "SpoolFound",
    "histories",
    "kept_versions",
    "last_pruning",
    "last_used",
    "prune",
    "removable",
    "removal_sentence",
    "what_may_go",
]
