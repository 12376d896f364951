"""The pipeline's first step: which configuration this run trains, read now from the one place where it lives."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from everloop.errors import ConfigurationError, NotFound, Refused, UsageError
from everloop.ledger import Approval, Fact, RunConfigured
from everloop.pages import write_whole
from everloop.production.approved import approval_of
from everloop.production.arrival import Arrival, arrive, trains_the_same
from everloop.production.file_specs import FileSpecs
from everloop.production.put_spec import put_spec
from everloop.production.spec_store import SpecStore
from everloop.project import Model, Spec
from everloop.workflows import RunContext, State

if TYPE_CHECKING:
    from everloop.production.configuration import Configuration
    from everloop.production.pipeline import PipelineResources

__all__ = ["configure"]

_FILE = "configuration.json"


def configure(context: RunContext, state: State) -> State:
    """Settle the run's spec, and write down its values, their source and who answers for them.

    From a folder it is the spec that the run was started with. From a store it is what holds there at this moment: it
    becomes a spec, and the run is refused until someone approved that; what cannot be understood is refused by name.
    The fact is written once: a run that is killed after it goes on with what it says, whatever the store says by then.
    Raises IntegrationError while the store does not answer; the engine tries again.
    """
    written = context.ledger.keyed(context.run_id, context.step, 1)
    if written is None:
        try:
            settled = _settle(context, state)
        except ConfigurationError as error:
            raise Refused("; ".join(error.mistakes)) from error
        except (NotFound, UsageError) as error:  # asked again, it would say the same
            raise Refused(str(error)) from error
        written = context.append("run.configured", context.run_id, settled)
    _keep(context, written)
    return _output(written)


def _settle(context: RunContext, state: State) -> RunConfigured:
    resources: PipelineResources = context.resources
    model = resources.model(state["model"])
    if model.spec_store.store.is_files:
        return _of_files(context, state, model)
    return _of_store(context, state, model, resources.store(model))


def _of_files(context: RunContext, state: State, model: Model) -> RunConfigured:
    spec = _named(state, model)
    return _settled(context, model, spec, approval_of(context.ledger, spec), FileSpecs(model=model).get(spec.name))


def _named(state: State, model: Model) -> Spec:
    """The spec that the run was started with, as it was then."""
    spec = model.spec(state["spec"])
    if spec.hash != state["spec_hash"]:
        raise Refused(f"{spec.name} was changed after this run began; approve it again and start another run")
    return spec


def _of_store(context: RunContext, state: State, model: Model, store: SpecStore) -> RunConfigured:
    wanted = None if state.get("spec") is None else _named(state, model)
    if wanted is None:
        arrival = _arrival(context, model, store)
    elif state["trigger"] == "alert":
        arrival = _answer(context, model, store, wanted)
    else:
        arrival = _arrival(context, model, store)
        if not trains_the_same(model, arrival.spec, wanted):
            raise Refused(
                f"{model.name} is configured in {store.address}, which does not say what {wanted.name} says; "
                f"'everloop spec put {wanted.name}' writes it there, and without --spec a run takes what is there"
            )
    found = arrival.configuration
    if arrival.approval is None:
        by = f", by {found.modifier}" if found.modifier else ""
        raise Refused(
            f"{arrival.spec.name}, which arrived from {found.where}{by}, is not approved; review it and run "
            f"'everloop approve {arrival.spec.name} --by NAME'"
        )
    return _settled(context, model, arrival.spec, arrival.approval, found, notes=arrival.notes)


def _answer(context: RunContext, model: Model, store: SpecStore, wanted: Spec) -> Arrival:
    """An approved answer to an alert goes the way of every configuration: or the next run would undo it.

    The store keeps it once: a repeated put of what holds already changes nothing.
    """
    put_spec(store, model, wanted, ledger=context.ledger, actor=approval_of(context.ledger, wanted).by)
    return _arrival(context, model, store)


def _arrival(context: RunContext, model: Model, store: SpecStore) -> Arrival:
    """What the store says, as a spec."""
    return arrive(model, store.get(), ledger=context.ledger, clock=context.clock)


def _settled(
    context: RunContext,
    model: Model,
    spec: Spec,
    approval: Approval,
    found: Configuration,
    *,
    notes: tuple[str, ...] = (),
) -> RunConfigured:
    return RunConfigured(
        run=context.run_id,
        model=model.name,
        spec=spec.name,
        spec_hash=spec.hash,
        store=found.store,
        version=found.version,
        modifier=found.modifier,
        learner=spec.learner,
        hyperparameters=dict(spec.hyperparameters),
        parts={name: {"version": part.version, "modifier": part.modifier} for name, part in found.parts.items()},
        approval=approval.seq,
        notes=list(notes),
    )


def _keep(context: RunContext, written: Fact) -> None:
    """The same beside the run's other evidence, whole."""
    write_whole(context.workdir / _FILE, json.dumps(msgspec.to_builtins(written.payload), indent=2))


def _output(written: Fact) -> dict[str, Any]:
    said: Mapping[str, Any] = written.payload
    source = {name: said[name] for name in ("store", "version", "modifier")}
    return {name: said[name] for name in ("spec", "spec_hash", "approval")} | {"source": source}
