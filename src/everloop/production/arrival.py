"""What arrives from a store becomes a spec: a file that people review, and that waits for an approval."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from everloop.clock import Clock
from everloop.data import load_features, read_contract
from everloop.errors import ConfigurationError, NotFound
from everloop.ledger import Approval, Ledger, SpecApproved, SpecWritten
from everloop.models import ReadConfiguration, foreign_configuration, read_configuration, settled
from everloop.production.configuration import Configuration
from everloop.project import Approval as ApprovalBlock
from everloop.project import Model, Objective, Source, Spec, did_you_mean, exclusively, spec_diff, write_spec

__all__ = ["Arrival", "arrive", "as_spec", "modified_by", "trains_the_same", "whole_spec"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """A store's configuration as a spec.

    new: whether it was written just now; the same content arrives as the spec that it already is. approval: None while
    it waits for one. notes: what is otherwise here than there, and why.
    """

    configuration: Configuration
    spec: Spec
    new: bool
    approval: Approval | None
    notes: tuple[str, ...] = ()


def modified_by(model: Model, configuration: Configuration) -> str:
    """Who wrote it, as an actor of facts: `mlflow:ann`; of an AWS identity the user or role alone."""
    modifier = configuration.modifier
    if modifier.startswith("arn:"):
        resource = modifier.split(":", 5)[-1]
        modifier = resource.partition("/")[2] or resource
    prefix = f"{model.spec_store.store.kind}:" if _is_the_store(model, configuration) else ""
    return f"{prefix}{modifier or 'unknown'}"


def _is_the_store(model: Model, configuration: Configuration) -> bool:
    """Whether it is from the model's store, and not from a file that somebody brought."""
    return configuration.store == str(model.spec_store.store)


def arrive(model: Model, configuration: Configuration, *, ledger: Ledger, clock: Clock) -> Arrival:
    """Write the configuration as the model's next spec, with its source, or find the spec that it already is.

    It is approved at once where `approval: {trust: …}` says so, in the name of who wrote it there; else it waits.
    Raises ConfigurationError where it says no learner, or something that the learner does not have.
    """
    model.specs_folder.mkdir(parents=True, exist_ok=True)
    with exclusively(model.specs_folder):
        spec, notes = as_spec(model, configuration, ledger=ledger, clock=clock)
        same = [one for one in model.specs() if trains_the_same(model, one, spec)]
        approved = [one for one in same if ledger.approval(model.name, one.hash) is not None]
        named = [one for one in approved or same if one.name == configuration.spec]
        if same:
            spec = (named or approved or same)[-1]
        else:
            write_spec(model.spec_path(spec.number), spec)
        _note(model, configuration, spec, notes, ledger=ledger)
        spec, approval = _trusted(model, configuration, spec, ledger=ledger)
    return Arrival(configuration=configuration, spec=spec, new=not same, approval=approval, notes=notes)


def trains_the_same(model: Model, one: Spec, other: Spec) -> bool:
    """Whether a run would make the same of both: a hyperparameter that is not said has its default."""
    return whole_spec(model, one).content == whole_spec(model, other).content


def whole_spec(model: Model, spec: Spec) -> Spec:
    """The spec with every hyperparameter said; one that cannot be trained as it is."""
    with suppress(ConfigurationError):
        params = settled(spec.learner, spec.hyperparameters, task=str(model.task), own=model.own_learners)
        return spec.model_copy(update={"hyperparameters": params})
    return spec


def as_spec(
    model: Model, configuration: Configuration, *, ledger: Ledger, clock: Clock
) -> tuple[Spec, tuple[str, ...]]:
    """The configuration as the model's next spec would say it, and notes on what is otherwise; nothing is written.

    What it does not say but its learner and hyperparameters is the model's own: all features, the objective.
    Raises ConfigurationError.
    """
    features = load_features(model.features_path, read_contract(model)).tree().names
    said = _read(model, configuration, features=features)
    return _spec(model, configuration, said, features, parent=_parent(model, ledger), clock=clock), said.notes


def _read(model: Model, configuration: Configuration, *, features: Sequence[str]) -> ReadConfiguration:
    """The learner and hyperparameters that it says. Raises ConfigurationError, each mistake with where it is."""
    otherwise = model.spec_store.learner
    try:
        if configuration.foreign:
            params = {name: str(value) for name, value in configuration.hyperparameters.items()}
            return foreign_configuration(
                params if configuration.learner is None else {**params, "learner": configuration.learner},
                tags=configuration.tags,
                flavours=configuration.flavours,
                where=configuration.where,
                model=model.name,
                task=str(model.task),
                columns=len(features),
                own=model.own_learners,
                otherwise=otherwise,
            )
        called = otherwise if configuration.learner is None else configuration.learner
        if called is None:
            place = f"specs.learner in {model.name}/model.yaml"
            raise ConfigurationError([f"learner: it does not say what was fitted; say it there, or as {place}"])
        return read_configuration(called, configuration.hyperparameters, task=str(model.task), own=model.own_learners)
    except ConfigurationError as error:
        at = configuration.where
        raise ConfigurationError([one if one.startswith(at) else f"{at}: {one}" for one in error.mistakes]) from None


def _spec(
    model: Model,
    configuration: Configuration,
    said: ReadConfiguration,
    features: Sequence[str],
    *,
    parent: Spec | None,
    clock: Clock,
) -> Spec:
    """The spec, with what only the model knows filled in; its number is the next one."""
    given = configuration.said
    seed = given.get("seed", said.seed)
    values: dict[str, Any] = {
        "hyperparameters": dict(said.hyperparameters),
        "features": _features(configuration, features),
        "calibration": given.get("calibration", model.calibration if parent is None else parent.calibration),
        "quantiles": given.get("quantiles", model.quantiles),
        "seed": (0 if parent is None else parent.seed) if seed is None else seed,
    }
    about = {
        "source": Source(store=configuration.store, version=configuration.version, modifier=configuration.modifier),
        "parent": None if parent is None else parent.name,
        "reason": _reason(configuration),
        "created_at": clock.now(),
    }
    name, objective = f"{model.name}-s{model.next_spec_number()}", _objective(model, configuration)
    try:
        made = Spec.new(name=name, objective=objective, learner=said.learner, **values, **about)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        raise ConfigurationError([f"{configuration.where}: {wrong}"]) from None
    diff = {key: change for key, change in spec_diff(parent, made).items() if key != "threshold"}
    return made.model_copy(update={"diff": diff})


def _objective(model: Model, configuration: Configuration) -> str:
    said = configuration.said.get("objective")
    if said is None:
        return str(model.objective)
    try:
        return str(Objective.parse(said))
    except ValueError as error:
        raise ConfigurationError([f"{configuration.where}: objective: {error}"]) from None


def _features(configuration: Configuration, known: Sequence[str]) -> Sequence[str]:
    said: Sequence[str] = configuration.said.get("features", known)
    unknown = [
        f"{configuration.where}: features: there is no feature {name!r}{did_you_mean(name, known)}"
        for name in said
        if name not in known
    ]
    if unknown:
        raise ConfigurationError(unknown)
    return said


def _reason(configuration: Configuration) -> str:
    by = f", by {configuration.modifier}" if configuration.modifier else ""
    own = configuration.said.get("reason")
    return f"{own} ({configuration.where}{by})" if own else f"arrived from {configuration.where}{by}"


def _parent(model: Model, ledger: Ledger) -> Spec | None:
    """The spec of the champion; None without one, or where it is not in the folder."""
    routing = ledger.routing(model.name)
    if routing is None or routing.champion is None:
        return None
    try:
        return model.spec(ledger.version(model.name, routing.champion).spec)
    except NotFound:
        return None


def _note(model: Model, configuration: Configuration, spec: Spec, notes: Sequence[str], *, ledger: Ledger) -> None:
    """The fact that the spec was written; once, also where a crash came between the file and its fact."""
    if ledger.last("spec.written", spec.name) is not None:
        return
    details: dict[str, Any] = {"store": configuration.store, "version": configuration.version}
    details |= {"notes": list(notes)} if notes else {}
    written = SpecWritten.of(spec, trigger="store", details=details)
    actor = modified_by(model, configuration)
    ledger.append("spec.written", spec.name, written, actor=actor, key=(f"store-{spec.hash}", spec.name, 0))


def _trusted(model: Model, configuration: Configuration, spec: Spec, *, ledger: Ledger) -> tuple[Spec, Approval | None]:
    """The spec's approval, given now where model.yaml trusts the store."""
    given = ledger.approval(model.name, spec.hash)
    trusted = _is_the_store(model, configuration) and model.spec_store.store.kind in model.approval.trust
    if given is not None or not trusted:
        return spec, given
    by, written = modified_by(model, configuration), ledger.last("spec.written", spec.name)
    note = f"approval.trust in model.yaml: {configuration.where}"
    ledger.append(
        "spec.approved",
        spec.name,
        SpecApproved(model=model.name, spec=spec.name, spec_hash=spec.hash, by=by, note=note),
        actor=by,
        cause=None if written is None else written.seq,
        key=(f"trust-{spec.hash}", spec.name, 0),
    )
    given = ledger.approval(model.name, spec.hash)
    assert given is not None
    approved = spec.approved(ApprovalBlock(by=given.by, at=given.at, hash=spec.hash))
    write_spec(model.spec_path(spec.number), approved)
    return approved, given
