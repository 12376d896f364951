"""The noun `spec`: list, show, and what may be done with the one place where a model's configuration lives."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from everloop.cli.commands import Commands
from everloop.cli.context import Opened, approve_line, me, opened
from everloop.cli.daily import AsJson, ModelName, model_of
from everloop.cli.output import json_text, lines, say, show, table, when, width

if TYPE_CHECKING:
    from everloop.production import Configuration
    from everloop.project import Model, Spec

__all__ = ["specs"]

specs = typer.Typer(
    name="spec",
    help="Specs: what may be trained, where it lives, and who approved it.",
    cls=Commands,
    no_args_is_help=True,
    rich_markup_mode=None,
)
ModelOption = Annotated[str | None, typer.Option(help="May be left out where the project has one.")]


@specs.command("list")
def spec_list(model: ModelName = None, as_json: AsJson = False) -> None:
    """Every spec, with its parent and its approval."""
    with opened() as here:
        chosen = here.project.model(model)
        found = [(spec, here.ledger.approval(chosen.name, spec.hash)) for spec in chosen.specs()]
    if as_json:
        show(
            [
                {"name": spec.name, "hash": spec.hash, "learner": spec.learner, "parent": spec.parent,
                 "reason": spec.reason, "approved_by": None if approval is None else approval.by,
                 "source": None if spec.source is None else spec.source.model_dump()}
                for spec, approval in found
            ]
        )  # fmt: skip
        return
    rows = [
        (spec.name, spec.learner, spec.parent, "not approved" if approval is None else f"approved by {approval.by}")
        for spec, approval in found
    ]
    table(("spec", "learner", "parent", "approval"), rows, empty="no spec yet: 'everloop search' writes the first")


@specs.command("show")
def spec_show(spec: Annotated[str, typer.Argument(help="Such as fraud-s1.")], as_json: AsJson = False) -> None:
    """One spec, as its file has it."""
    from everloop.project import spec_text

    with opened() as here:
        found = here.project.model(model_of(spec, here)).spec(spec)
    if as_json:
        show(found.model_dump(mode="json", by_alias=True) | {"hash": found.hash})
        return
    lines(spec_text(found, width=width()))


@specs.command("get")
def spec_get(
    version: Annotated[
        str | None, typer.Argument(help="A spec, or the store's own version or label; what holds where left out.")
    ] = None,
    model: ModelOption = None,
    from_mlflow: Annotated[
        str | None, typer.Option("--from-mlflow", metavar="RUN_ID", help="A run logged by hand instead.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """What the model's store says, as a spec that can be reviewed."""
    if from_mlflow is not None:
        if version is not None:
            from everloop.errors import UsageError

            raise UsageError("a version is of the model's store; leave it out beside --from-mlflow")
        _get_from_mlflow(from_mlflow, model, as_json=as_json)
        return
    from everloop.production import arrive, open_store
    from everloop.project import spec_text

    notes: tuple[str, ...] = ()
    with opened(may="read" if _is_in_files(model, version) else "put") as here:
        chosen = here.project.model(model_of(version, here) if model is None and version is not None else model)
        found = open_store(here.project, chosen).get(version)
        if chosen.spec_store.store.is_files:
            spec, new = chosen.spec(found.version), False
        else:
            arrival = arrive(chosen, found, ledger=here.ledger, clock=here.clock)
            spec, new, notes = arrival.spec, arrival.new, arrival.notes
        approval = here.ledger.approval(chosen.name, spec.hash)
        path = str(chosen.spec_path(spec.number).relative_to(here.project.root))
        line = approve_line(here.project, spec.name)
    approved_by = None if approval is None else approval.by
    if as_json:
        show(
            _record(found)
            | {"spec": spec.model_dump(mode="json", by_alias=True) | {"hash": spec.hash}}
            | {"path": path, "new": new, "approved_by": approved_by, "notes": list(notes)}
        )
        return
    for note in notes:
        say(f"note: {note}")
    lines(spec_text(spec, width=width()))
    by = f", by {found.modifier}" if found.modifier else ""
    stands = f"approved by {approved_by}" if approved_by else f"not approved: {line}"
    say(f"{found.where}{by}: {spec.name} ({path}), {stands}")


def _is_in_files(model: str | None, version: str | None) -> bool:
    """Whether nothing is brought in by looking: of a store what is there becomes a spec."""
    with opened(may=None) as here:
        chosen = here.project.model(model_of(version, here) if model is None and version is not None else model)
        return bool(chosen.spec_store.store.is_files)


def _get_from_mlflow(run_id: str, model: str | None, *, as_json: bool) -> None:
    from everloop.control import tracked_run
    from everloop.experiment import spec_from_run

    with opened(may="put") as here:
        chosen = here.project.model(model)
        run = tracked_run(here.project, "mlflow", run_id)
        made = spec_from_run(chosen, run, ledger=here.ledger, clock=here.clock, actor=me())
        path = chosen.spec_path(made.spec.number).relative_to(here.project.root)
        line = approve_line(here.project, made.spec.name)
    if as_json:
        show({"spec": made.spec.name, "path": str(path), "new": made.new, "notes": list(made.notes)})
        return
    for note in made.notes:
        say(f"note: {note}")
    say("nothing was measured here: what it is worth, training says")
    say(f"{made.spec.name} is in {path}{'' if made.new else ', as before'}: review it, then")
    lines(line)


@specs.command("put")
def spec_put(
    what: Annotated[str, typer.Argument(metavar="NAME|FILE", help="A spec, such as fraud-s2, or a YAML file.")],
    model: ModelOption = None,
    label: Annotated[
        str | None, typer.Option(help="Under which it stands, such as candidate; the one that is read where left out.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write a spec to where the model's configuration lives."""
    from everloop.production import arrive, open_store, put_spec, read_notebook_file

    with opened(may="put") as here:
        is_file = Path(what).suffix in (".yaml", ".yml")
        chosen = here.project.model(model_of(what, here) if model is None and not is_file else model)
        notes: tuple[str, ...] = ()
        if is_file:
            brought, left = read_notebook_file(Path(what), shown=what, by=me())
            arrival = arrive(chosen, brought, ledger=here.ledger, clock=here.clock)
            spec, notes = arrival.spec, (*left, *arrival.notes)
        else:
            spec = chosen.spec(what)
        made = _put(here, chosen, spec, label, put=put_spec, store=open_store(here.project, chosen))
        line = approve_line(here.project, spec.name)
        approval = here.ledger.approval(chosen.name, spec.hash)
    if as_json:
        record = {"spec": spec.name, "hash": spec.hash, "approved_by": None if approval is None else approval.by}
        show(_record(made) | record | {"notes": list(notes)})
        return
    for note in notes:
        say(f"note: {note}")
    under = f", label {', '.join(made.labels)}" if made.labels else ""
    lines(f"{spec.name} is in {made.where}{under}")
    say(f"next: {line}" if approval is None else "next: everloop train")


def _put(here: Opened, model: Model, spec: Spec, label: str | None, *, put: Any, store: Any) -> Configuration:
    """Into a store; a folder has its own specs already."""
    if model.spec_store.store.is_files and label is None:
        found: Configuration = store.get(spec.name)
    else:
        found = put(store, model, spec, ledger=here.ledger, actor=me(), label=label)
    return found


@specs.command("history")
def spec_history(model: ModelName = None, as_json: AsJson = False) -> None:
    """Every version in the store: who wrote and who approved it."""
    from everloop.production import open_store

    with opened() as here:
        chosen = here.project.model(model)
        store = open_store(here.project, chosen)
        records = list(_told(here, chosen, store.history()))
    if as_json:
        show(records)
        return
    rows = [(one["version"], when(one["at"]), one["by"], one["learner"], one["spec"], one["stands"]) for one in records]
    columns = ("version", "written", "by", "learner", "spec", "approval and labels")
    table(columns, rows, empty=f"{store.address} holds nothing yet: 'everloop spec put NAME' writes one there")


def _told(here: Opened, model: Model, history: list[Configuration]) -> Iterator[dict[str, Any]]:
    """Each version with the spec that it is here, where there is one."""
    from everloop.errors import ConfigurationError
    from everloop.production import as_spec, modified_by, trains_the_same

    kept = model.specs()
    for found in history:
        spec: Spec | None = None
        if model.spec_store.store.is_files:
            spec = model.spec(found.version)
        else:
            try:
                said, _ = as_spec(model, found, ledger=here.ledger, clock=here.clock)
                spec = next((one for one in reversed(kept) if trains_the_same(model, one, said)), None)
            except ConfigurationError:  # half set by hand, or of a learner that the model has not
                spec = None
        approval = None if spec is None else here.ledger.approval(model.name, spec.hash)
        by = _writer(here, spec, found) if model.spec_store.store.is_files else modified_by(model, found)
        stands = ["not approved" if approval is None else f"approved by {approval.by}", *found.labels]
        yield _record(found) | {
            "by": by.partition(":")[2] or by,
            "spec": None if spec is None else spec.name,
            "approved_by": None if approval is None else approval.by,
            "approved_at": None if approval is None else approval.at,
            "stands": ", ".join(stands),
        }


def _writer(here: Opened, spec: Spec | None, found: Configuration) -> str:
    """Who wrote a spec's file: the ledger knows it, where it heard of it."""
    written = None if spec is None else here.ledger.last("spec.written", spec.name)
    return found.modifier if written is None else written.actor


@specs.command("diff")
def spec_diff_command(
    first: Annotated[str, typer.Argument(metavar="FROM", help="A spec, or the store's own version or label.")],
    second: Annotated[
        str | None, typer.Argument(metavar="TO", help="The same; what holds in the store where left out.")
    ] = None,
    model: ModelOption = None,
    as_json: AsJson = False,
) -> None:
    """What is other in one configuration than in another."""
    from everloop.production import whole_spec
    from everloop.project import spec_diff

    with opened() as here:
        chosen = here.project.model(model_of(first, here) if model is None else model)
        before, from_name = _one(here, chosen, first)
        after, to_name = _one(here, chosen, second)
        if before.learner == after.learner:  # what one leaves to its default is no difference
            before, after = whole_spec(chosen, before), whole_spec(chosen, after)
    diff = spec_diff(before, after)
    if as_json:
        show({"from": from_name, "to": to_name, "diff": diff})
        return
    rows = [(key, json_text(change["from"]), json_text(change["to"])) for key, change in diff.items()]
    table(("key", from_name, to_name), rows, empty=f"{from_name} and {to_name} say the same")


def _one(here: Opened, model: Model, asked: str | None) -> tuple[Spec, str]:
    """A configuration and what it is called: a spec of the folder, or what the store has."""
    from everloop.production import as_spec, open_store

    if asked is not None and re.fullmatch(rf"({re.escape(model.name)}-)?s\d+", asked):
        spec = model.spec(asked)
        return spec, spec.name
    found = open_store(here.project, model).get(asked)
    if model.spec_store.store.is_files:
        return model.spec(found.version), found.version
    return as_spec(model, found, ledger=here.ledger, clock=here.clock)[0], f"{found.store} {found.version}"


def _record(found: Configuration) -> dict[str, Any]:
    """What the store says, for machines."""
    names = ("store", "version", "modifier", "at", "learner", "labels")
    parts = {name: {"version": part.version, "modifier": part.modifier} for name, part in found.parts.items()}
    params = {"hyperparameters": dict(found.hyperparameters), "parts": parts}
    return {name: getattr(found, name) for name in names} | params
