"""The registry: what a version knows of itself, how two differ, where they come from, and what of them may go.

`version_card` is a version's card, `difference` two of them side by side, `lineage` specs, versions and alerts as one
graph; `prune` carries out the retention rule, which `removable` decides purely; `forget` deletes someone's traffic.
"""

from everloop.registry.card import VersionCard, version_card
from everloop.registry.card_page import card_page, made_of, write_card
from everloop.registry.difference import Difference, difference
from everloop.registry.forget import Forgotten, forget, theirs
from everloop.registry.judged import PairedGain
from everloop.registry.lineage import Edge, Lineage, Node, Stint, champion_stints, lineage, lineage_lines
from everloop.registry.lineage_picture import lineage_svg
from everloop.registry.place import BundlePlace, bundle_place
from everloop.registry.removal import Pruning, histories, last_pruning, prune, removal_sentence, size_text, what_may_go
from everloop.registry.retention import (
    DayFound,
    Found,
    History,
    SpoolFound,
    kept_versions,
    last_used,
    needed_traffic,
    removable,
)

__all__ = [
    "BundlePlace",
    "DayFound",
    "Difference",
    "Edge",
    "Forgotten",
    "Found",
    "History",
    "Lineage",
    "Node",
    "PairedGain",
    "Pruning",
    "SpoolFound",
    "Stint",
    "VersionCard",
    "bundle_place",
    "card_page",
    "champion_stints",
    "difference",
    "forget",
    "histories",
    "kept_versions",
    "last_pruning",
    "last_used",
    "lineage",
    "lineage_lines",
    "lineage_svg",
    "made_of",
    "needed_traffic",
    "prune",
    "removable",
    "removal_sentence",
    "size_text",
    "theirs",
    "version_card",
    "what_may_go",
    "write_card",
]
