"""A spec goes into the model's store, and the ledger keeps that it did."""

from __future__ import annotations

from everloop.ledger import Ledger, SpecPut
from everloop.production.configuration import Configuration
from everloop.production.spec_store import SpecStore
from everloop.project import Model, Spec

__all__ = ["put_spec"]


def put_spec(
    store: SpecStore, model: Model, spec: Spec, *, ledger: Ledger, actor: str, label: str | None = None
) -> Configuration:
    """Write the spec into the model's store, and the fact that it was; what is there already is left as it is."""
    made = store.put(spec, actor=actor, label=label)
    last = ledger.last("spec.put", model.name)
    said = (spec.hash, made.version, label)
    if last is None or (last.payload["spec_hash"], last.payload["version"], last.payload["label"]) != said:
        payload = SpecPut(
            model=model.name,
            spec=spec.name,
            spec_hash=spec.hash,
            store=store.address,
            version=made.version,
            label=label,
        )
        approval = ledger.approval(model.name, spec.hash)
        ledger.append("spec.put", model.name, payload, actor=actor, cause=None if approval is None else approval.seq)
    return made
