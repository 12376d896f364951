"""Phase 1 and 2 from the command line: init, explore, search, approve, train, score."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from everloop.cli.context import Opened, approve_line, login_name, me, opened, project_here
from everloop.cli.output import draw, lines, say, show, when

if TYPE_CHECKING:
    from everloop.actors import Actor
    from everloop.models import FitProcess
    from everloop.project import FoldsPlan, Model, Project, SearchMethod, Spec
    from everloop.workflows import Engine, RunHandle, RunResult

__all__ = ["AsJson", "ModelName", "add_to", "engine_of", "model_of", "tell_training"]

AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
ModelName = Annotated[str | None, typer.Argument(help="The model; may be left out where the project has one.")]


def add_to(app: typer.Typer) -> None:
    """The commands of this file, in the order of a model's life."""
    for command in (init, explore, search, approve, train):
        app.command()(command)


def init(
    folder: Annotated[Path | None, typer.Argument(help="Folder of the new project.")] = None,
    template: Annotated[
        str | None,
        typer.Option(help="The example to start from: fraud, or arrival for a number. Left out: by the target."),
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="Your own rows: a CSV, Parquet or Delta file, a glob or an s3:// address.")
    ] = None,
    target: Annotated[str | None, typer.Option(help="The column to predict, where its name does not tell.")] = None,
    seed: Annotated[int, typer.Option(help="Of the generated history, where there is no --data.")] = 0,
    explain: Annotated[bool, typer.Option("--explain", help="Print every key with its default, and stop.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make a project: configuration, features, contract and data."""
    if explain:
        from everloop.project import explain as explained
        from everloop.project import explain_records

        if as_json:
            show(explain_records())
        else:
            lines(explained())
        return
    if folder is None:
        raise typer.BadParameter("say where: everloop init NAME")
    from everloop.templates import create_project

    if data is None:
        told = "deliveries" if template == "arrival" else "card payments"
        say(f"making {folder} with a generated history of {told} …")
    created = create_project(folder, template=template, data=data, target=target, seed=seed, finish=_write_contracts)
    project = created.project
    _note_creation(project, created.template)
    if as_json:
        show({"project": str(project.root), "models": sorted(project.models), "notes": list(created.notes)})
        return
    for note in created.notes:
        say(f"note: {note}")
    for model in project.models.values():
        say(f"{model.name}/: model.yaml says what it is, contract.yaml what a row is, features.py what is made of it")
    lines(f"cd {shlex.quote(str(folder))} && everloop explore")


def _write_contracts(project: Project) -> None:
    from everloop.data import write_first_contract

    for model in project.models.values():
        write_first_contract(model, root=project.root)


def _note_creation(project: Project, template: str) -> None:
    from everloop.ledger import Ledger

    assert project.state.is_dir()
    with Ledger.open(project, clock=project.clock()) as ledger:
        payload = {"project": project.name, "models": sorted(project.models), "template": template}
        ledger.append("project.created", project.name, payload, actor=me(), key=("project", "created", 0))


def explore(
    model: ModelName = None,
    features: Annotated[
        bool, typer.Option("--features", help="Every feature: expression, cost, what it tells, how it moved.")
    ] = False,
    page: Annotated[bool, typer.Option("--page/--no-page", help="Write the HTML page too.")] = True,
    as_json: AsJson = False,
) -> None:
    """Phase 1: what the data looks like, and what looks wrong."""
    from everloop.experiment import exploration_screen
    from everloop.experiment import explore as explored

    project = project_here()
    chosen = project.model(model)
    if features:
        _explore_features(project, chosen, as_json=as_json)
        return
    out = project.state / "reports" / f"{chosen.name}-explore.html" if page else None
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
    found = explored(project, chosen, out=out)
    if as_json:
        show(found.to_dict())
        return
    draw(exploration_screen(found))
    wrong = any(finding.weight == "stop" for finding in found.findings)
    say("next: put right what is marked ✗, then everloop search" if wrong else "next: everloop search")


def _explore_features(project: Project, model: Model, *, as_json: bool) -> None:
    from everloop.experiment import feature_table, feature_table_screen

    table = feature_table(project, model)
    if as_json:
        show(table.to_dict())
        return
    draw(feature_table_screen(table))


def search(
    model: ModelName = None,
    method: Annotated[
        str | None, typer.Option(help="grid, random or bayesian; model.yaml's where left out, as the rest.")
    ] = None,
    trials: Annotated[int | None, typer.Option(min=1, help="How many configurations.")] = None,
    minutes: Annotated[float | None, typer.Option(min=0, help="Begin no trial after so many.")] = None,
    folds: Annotated[str | None, typer.Option(help="auto, 5, '5 by time' or '5 stratified'.")] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="Processes; one per core where nobody says.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of all that is drawn.")] = None,
    page: Annotated[bool, typer.Option("--page/--no-page", help="Write the HTML page too.")] = True,
    as_json: AsJson = False,
) -> None:
    """Phase 1: learners × hyperparameters → leaderboard → spec. Ctrl-C ends it with what there is."""
    from everloop.cli.progress import SearchProgress
    from everloop.control import require_extra
    from everloop.experiment import champion_spec, leaderboard_screen, note_search, write_winner
    from everloop.experiment import search as searched

    require_extra("train")
    with opened(may="search") as here:
        chosen = here.project.model(model)
        with SearchProgress(_minutes(chosen, minutes)) as progress:
            board = searched(
                here.project,
                chosen,
                clock=here.clock,
                method=_method(method),
                trials=trials,
                minutes=minutes,
                folds=_folds(folds),
                jobs=jobs,
                seed=seed,
                champion=champion_spec(chosen, here.ledger),
                progress=progress.told,
                out=here.project.state / "reports" / f"{chosen.name}-leaderboard.html" if page else None,
            )
        note_search(here.project, board, ledger=here.ledger, actor=me())
        if not as_json:
            draw(leaderboard_screen(board))
        spec = write_winner(chosen, board, ledger=here.ledger, clock=here.clock, actor=me())
        path = chosen.spec_path(spec.number).relative_to(here.project.root)
        line = approve_line(here.project, spec.name)
    if as_json:
        show(board.to_dict() | {"spec": spec.name, "path": str(path)})
        return
    say(f"{spec.name} is in {path}: review it, then")
    lines(line)


def _minutes(model: Model, minutes: float | None) -> float | None:
    return model.search.minutes if minutes is None else minutes


def _method(said: str | None) -> SearchMethod | None:
    from typing import get_args

    from everloop.project import SearchMethod

    if said is None or said in get_args(SearchMethod):
        return said  # type: ignore[return-value]
    raise typer.BadParameter(f"{said!r} is no method (grid, random or bayesian)", param_hint="--method")


def _folds(said: str | None) -> FoldsPlan | None:
    from everloop.project import FoldsPlan

    try:
        return None if said is None else FoldsPlan.parse(said)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--folds") from error


def approve(
    spec: Annotated[str | None, typer.Argument(help="The spec, such as fraud-s1.")] = None,
    by: Annotated[str | None, typer.Option(help="Who answers for it, where everloop.yaml has no roles.")] = None,
    signed: Annotated[
        bool, typer.Option("--signed", help="Whoever signed the commit that approves it in its file.")
    ] = False,
    note: Annotated[str, typer.Option(help="Why, for whoever reads the audit.")] = "",
    from_files: Annotated[
        bool,
        typer.Option("--import", help="Bring the approvals that files hold into a fresh ledger."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """The hand-over: someone answers for a spec. Then production may use it."""
    from everloop.errors import UsageError

    if from_files:
        if by is not None:
            raise UsageError("a file says itself who approved it; leave --by out beside --import")
        _import_approvals(spec, as_json=as_json)
        return
    if spec is None:
        raise UsageError("say which spec and who answers for it: everloop approve fraud-s1 --by NAME")
    from everloop.experiment import approve as approved

    with opened(may=None) as here:
        model = here.project.model(model_of(spec, here))
        before = here.ledger.head().seq
        actor = _approver(here, model, spec, by=by, signed=signed)
        login = None if actor.proven else login_name()
        given = approved(here.project, model, spec, by=actor, ledger=here.ledger, note=note, login=login)
        approval, stood = given.approval, here.ledger.head().seq == before
        put = model.spec_store.store.is_files or given.source is not None or _was_put(here, given)
    assert approval is not None
    if stood:
        say(f"it was approved before, and nothing was changed; the approval is {approval.by}'s")
    if as_json:
        show({"spec": given.name, "hash": given.hash, "by": approval.by, "at": approval.at})
        return
    lines(f"{given.name} approved by {approval.by} at {when(approval.at)} UTC")
    say("next: everloop train" if put else f"next: everloop spec put {given.name}, then everloop train")


def _was_put(here: Opened, spec: Spec) -> bool:
    """Whether the spec is what was put last into the model's store."""
    last = here.ledger.last("spec.put", spec.model)
    return last is not None and last.payload["spec_hash"] == spec.hash


def _import_approvals(name: str | None, *, as_json: bool) -> None:
    """Of one spec, or of all that every model has; what cannot be brought is said at the end."""
    from everloop.errors import Refused
    from everloop.experiment import import_approval

    brought: list[dict[str, Any]] = []
    refused: list[str] = []
    with opened(may="approve") as here:
        models = [here.project.model(model_of(name, here))] if name else list(here.project.models.values())
        for model in models:
            for spec in [model.spec(name)] if name else model.specs():
                try:
                    came = import_approval(here.project, model, spec, ledger=here.ledger, actor=me())
                except Refused as error:
                    refused.append(str(error))
                    continue
                if came and spec.approval is not None:
                    record = {"spec": spec.name, "hash": spec.hash, "by": spec.approval.by, "at": spec.approval.at}
                    brought.append(record)
    if as_json:
        show({"imported": brought, "refused": refused})
    else:
        for one in brought:
            lines(f"{one['spec']} approved by {one['by']} at {when(one['at'])} UTC, from its file")
        if not brought and not refused:
            say("the ledger knows every approval that the files hold")
    if refused:
        raise Refused("\n".join(refused))


def _approver(here: Opened, model: Model, spec: str, *, by: str | None, signed: bool) -> Actor:
    """Who approves: the signer of a commit, the holder of a key, or without roles the name after --by."""
    from everloop.actors import Actor, admit, signed_approval
    from everloop.errors import Refused
    from everloop.ledger import holds_key

    if by is not None and holds_key(by):
        raise Refused(
            "what stands after --by is a key, and no name; leave --by out, and revoke the key if others saw it"
        )
    if by is not None and (signed or here.project.settings.roles):
        raise Refused(
            f"--by {by} is a word that anybody could type, and proves nothing"
            + (" beside --signed" if signed else " in a project with roles")
            + ": leave it out, and show who you are with a key (EVERLOOP_KEY or ~/.config/everloop/key, from "
            "'everloop key create NAME') or with a signed commit (--signed)"
        )
    if signed:
        return signed_approval(here.project, model, model.spec(spec))
    if here.project.settings.roles:
        return admit(here.project, here.ledger, "approve", login=login_name())
    if by is None:
        raise typer.BadParameter("say who answers for it", param_hint="--by")
    return Actor.named(by.strip())


def model_of(spec: str, here: Opened) -> str | None:
    """The model in a spec's name; None where the project decides."""
    name, dash, number = spec.rpartition("-s")
    return (
        name if dash and number.isdigit() and (name in here.project.models or len(here.project.models) != 1) else None
    )


def train(
    model: ModelName = None,
    spec: Annotated[
        str | None, typer.Option(help="The newest approved one, or what the model's store says, where left out.")
    ] = None,
    detach: Annotated[bool, typer.Option("--detach", help="Leave the run to a worker, and do not wait.")] = False,
    without_champion: Annotated[
        bool, typer.Option("--without-champion", help="Its bundle is lost: compare with none, answer at once.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Phase 2: pipeline, gates, bundle, registered version. One run of a model at a time; the next waits."""
    from everloop.control import require_extra
    from everloop.models import FitProcess

    require_extra("train")
    with (
        nullcontext() if detach else FitProcess.ahead() as fitting,  # it loads beside all that comes before the fit
        opened(may="train") as here,
    ):
        from everloop.cli.progress import RunProgress
        from everloop.production import PipelineResources, start_training

        chosen = here.project.model(model)
        with engine_of(here, fitting=fitting) as engine:
            handle = start_training(
                engine,
                PipelineResources.of(here.project),
                here.ledger,
                model=chosen,
                as_of=here.clock.now(),
                actor=me(),
                spec=spec,
                begin=not detach,
                without_champion=without_champion,
            )
            _tell_request(here, handle)
            if detach:
                _tell_detached(handle.run_id, as_json=as_json)
                return
            with RunProgress(here.ledger, handle.run_id):
                result = engine.wait(handle.run_id)
    tell_training(chosen.name, result, as_json=as_json)


@contextmanager
def engine_of(here: Opened, *, fitting: FitProcess | None = None) -> Iterator[Engine]:
    """An engine of this command's own, for the project's runs. fitting: what the next training fits in."""
    from everloop.production import PipelineResources, scoring_workflow, training_workflow
    from everloop.storage import artifacts_of
    from everloop.workflows import Engine

    with Engine.open(
        here.project.paths,
        ledger=here.ledger,
        clock=here.clock,
        workflows=[training_workflow(), scoring_workflow()],
        resources=PipelineResources.of(here.project, fitting=fitting),
        lease_s=here.project.settings.runs.lease.total_seconds(),
        artifacts=artifacts_of(here.project),
    ) as engine:
        yield engine


def _tell_request(here: Opened, handle: RunHandle) -> None:
    """What the request became, where that is not a run of its own that begins now."""
    if handle.fact.kind == "run.folded":
        say(f"the same was asked for and still waits: this request became one with run {handle.run_id}")
    mine = here.ledger.run(handle.run_id)
    if mine.status == "queued":
        before = [run.run for run in here.ledger.runs() if run.open and run.lane == mine.lane and run.run != mine.run]
        say(f"run {mine.run} waits for " + (f"the end of {', '.join(before)}" if before else "a worker"))


def _tell_detached(run_id: str, *, as_json: bool) -> None:
    if as_json:
        show({"run": run_id, "status": "queued"})
        return
    lines(run_id)
    say("'everloop up' or 'everloop worker' begins it; 'everloop run show' tells how it goes")


def tell_training(model: str, result: RunResult, *, as_json: bool) -> None:
    """How a training ended: its gates and the version, or what it ended with, raised with its exit code."""
    state = result.state
    record: dict[str, Any] = {"run": result.run_id, "status": result.status, "sentence": result.sentence}
    if result.status == "finished":
        record |= {name: state[name] for name in ("version", "bundle", "threshold", "metrics", "gates", "released")}
    if as_json:
        show(record | ({"verdicts": result.verdicts} if result.verdicts else {}))
    elif result.status == "finished" or result.verdicts:
        _gate_table(state["gates"] if result.status == "finished" else result.verdicts)
    result.raise_for_status()
    if as_json:
        return
    role = (
        "champion: it answers from now on"
        if state["released"]
        else "registered: its rollout begins under 'everloop up'"
    )
    lines(f"{model} v{state['version']} ({result.run_id}) is {role}")


def _gate_table(gates: Sequence[Mapping[str, Any]]) -> None:
    """Every gate with its verdict, also of a run that was refused."""
    from everloop.cli.output import table

    rows = [(one["name"], one["outcome"], one["sentence"]) for one in gates]
    table(("gate", "verdict", "sentence"), rows, empty="no gates")
