"""Data: where rows come from, what they must look like, what is made of them, and how they are summed up.

A row's way starts here: `scan` → `load_rows` (or `decode_rows` at the endpoint) → `FeatureTree.matrix`.
"""

from everloop.data.column import AT_PREDICTION, COLUMN_TYPES, ROLES, Column
from everloop.data.contract import Contract, infer_contract
from everloop.data.definitions import FeatureSet, features, load_features, read_features
from everloop.data.node import Node
from everloop.data.source import collect, scan
from everloop.data.translate import EVENT_TIME, translate
from everloop.data.tree import FeatureTree

__all__ = [
    "AT_PREDICTION",
    "COLUMN_TYPES",
    "EVENT_TIME",
    "ROLES",
    "Column",
    "Contract",
    "FeatureSet",
    "FeatureTree",
    "Node",
    "collect",
    "features",
    "infer_contract",
    "load_features",
    "read_features",
    "scan",
    "translate",
]
