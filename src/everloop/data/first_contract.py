"""A new model's contract, from what its source holds and its features read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from everloop.data.contract import Contract, infer_contract
from everloop.data.contract_file import write_contract
from everloop.data.definitions import load_features, read_features
from everloop.data.source import scan

if TYPE_CHECKING:
    from everloop.project import Model

__all__ = ["write_first_contract"]


def write_first_contract(model: Model, *, root: Path) -> Contract:
    """Infer the contract, hold features.py against it, and write it beside model.yaml.

    root: the project's folder, from which a relative source is read.
    Raises what `scan`, `infer_contract` and `load_features` raise; nothing is written then.
    """
    reads = {name for _, expr in read_features(model.features_path) for name in expr.meta.root_names()}
    contract = infer_contract(scan(model.data.source, root=root), model, reads=reads)
    load_features(model.features_path, contract)
    write_contract(model.contract_path, contract)
    return contract
