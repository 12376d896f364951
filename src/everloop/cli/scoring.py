"""`score`: a file in, a file out; or with `--new` what is new in the model's source, as a durable run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from everloop.cli.context import me, opened
from everloop.cli.daily import AsJson, engine_of
from everloop.cli.output import fields, lines, say, show

if TYPE_CHECKING:
    from everloop.workflows import RunResult

__all__ = ["add_to", "tell_scoring"]


def add_to(app: typer.Typer) -> None:
    """The command."""
    app.command()(score)


def score(
    source: Annotated[
        str | None, typer.Argument(help="Rows to score: CSV, Parquet or Delta; local or s3://. With --new the model.")
    ] = None,
    target: Annotated[Path | None, typer.Argument(help="The Parquet file to write.")] = None,
    new: Annotated[
        bool, typer.Option("--new", help="What is new in the model's score.source since the last time, by a run.")
    ] = False,
    detach: Annotated[bool, typer.Option("--detach", help="With --new: leave the run to a worker.")] = False,
    model: Annotated[str | None, typer.Option(help="May be left out where the project has one.")] = None,
    version: Annotated[int | None, typer.Option(help="The champion where left out.")] = None,
    as_json: AsJson = False,
) -> None:
    """Score a file in blocks, or what is new in the model's source."""
    if new:
        if target is not None or version is not None or (source is not None and model is not None):
            raise typer.BadParameter("with --new say the model alone: everloop score MODEL --new", param_hint="--new")
        _score_new(model if source is None else source, detach=detach, as_json=as_json)
        return
    if source is None or target is None or detach:
        raise typer.BadParameter("say what and whereto: everloop score FILE RESULT; or everloop score MODEL --new")
    _score_file(source, target, model=model, version=version, as_json=as_json)


def _score_file(source: str, target: Path, *, model: str | None, version: int | None, as_json: bool) -> None:
    from everloop.bundle import BundleStore
    from everloop.errors import NotFound
    from everloop.production import score_file

    with opened() as here:
        chosen = here.project.model(model)
        routing = here.ledger.routing(chosen.name)
        number = version if version is not None else None if routing is None else routing.champion
        if number is None:
            raise NotFound(f"{chosen.name} has no champion yet; 'everloop train' makes the first version")
        bundle_id = here.ledger.version(chosen.name, number).bundle
        bundle = BundleStore.of(here.project).load(bundle_id)
    done = score_file(bundle, number, source, target, root=Path.cwd())
    if as_json:
        show(done.to_dict())
        return
    positive = {} if done.positives is None else {"positive": f"{done.positives:,}"}
    fields({"rows": f"{done.rows:,}", **positive, "version": f"v{number}", "file": done.path})


def _score_new(model: str | None, *, detach: bool, as_json: bool) -> None:
    from everloop.production import start_scoring

    with opened(may="score") as here:
        chosen = here.project.model(model)
        with engine_of(here) as engine:
            handle = start_scoring(
                engine,
                here.project,
                here.ledger,
                model=chosen,
                as_of=here.clock.now(),
                actor=me(),
                begin=not detach,
            )
            if detach:
                show({"run": handle.run_id, "status": "queued"}) if as_json else lines(handle.run_id)
                say("'everloop up' or 'everloop worker' begins it; 'everloop run show' tells how it goes")
                return
            result = engine.wait(handle.run_id)
    tell_scoring(result, as_json=as_json)


def tell_scoring(result: RunResult, *, as_json: bool) -> None:
    """How it ended. Exit code 3 where a file was refused, and what a run ends with where it did not finish."""
    state: dict[str, Any] = result.state
    names = ("version", "rows", "rejected", "positives", "files", "refused", "target")
    told = {name: state.get(name) for name in names}
    if as_json:
        show({"run": result.run_id, "status": result.status, "sentence": result.sentence or state["sentence"]} | told)
    result.raise_for_status()
    if not as_json:
        positive = {} if state["positives"] is None else {"positive": f"{state['positives']:,}"}
        fields(
            {
                "rows": f"{state['rows']:,} of {state['files']} file{'' if state['files'] == 1 else 's'}",
                **positive,
                "rejected": f"{state['rejected']:,}",
                "version": f"v{state['version']}",
                "table": state["target"],
                "run": result.run_id,
            }
        )
        say(state["sentence"])
    if state["refused"]:
        raise typer.Exit(3)
