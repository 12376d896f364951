"""The noun `trial`: what a search tried, one of them looked at, and any of them as a notebook of its own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from everloop.cli.commands import Commands
from everloop.cli.context import project_here
from everloop.cli.daily import AsJson, ModelName
from everloop.cli.output import fields, lines, say, show, table, when

if TYPE_CHECKING:
    from everloop.experiment import KeptSearch, Trial

__all__ = ["add_to"]

_START_S = 120.0

trials = typer.Typer(
    name="trial",
    help="Trials: what a search tried, and any of them as a notebook.",
    cls=Commands,
    no_args_is_help=True,
    rich_markup_mode=None,
)

Number = Annotated[str, typer.Argument(help="As 'trial list' has it: 7, or y1 for a yardstick.")]
Search = Annotated[str | None, typer.Option(help="The search's id; the newest where left out.")]
OfModel = Annotated[str | None, typer.Option(help="May be left out where the project has one.")]


def add_to(app: typer.Typer) -> None:
    """The noun, as a group of commands."""
    app.add_typer(trials)


def _kept(search: str | None, model: str | None) -> KeptSearch:
    from everloop.experiment import kept_search

    return kept_search(search, model=model, project=project_here())


@trials.command("list")
def trial_list(model: ModelName = None, search: Search = None, as_json: AsJson = False) -> None:
    """Every trial of a search, the best first."""
    found = _kept(search, model)
    if as_json:
        show({"search": found.plan, "trials": [trial.to_dict() for trial in found.ranked]})
        return
    plan = found.plan
    say(f"search {plan.id} of {plan.model}, {when(plan.as_of)}: {plan.objective}, {plan.method}, seed {plan.seed}")
    rows = [
        (trial.name, trial.learner, trial.status, trial.range, f"{trial.fit_s:.1f}", len(trial.folds))
        for trial in found.ranked
    ]
    table(("trial", "learner", "status", "objective, 95 %", "fit s", "folds"), rows, empty="no trial has ended yet")


@trials.command("show")
def trial_show(number: Number, model: OfModel = None, search: Search = None, as_json: AsJson = False) -> None:
    """One trial: its hyperparameters, and what it was worth on every fold."""
    found = _kept(search, model)
    trial = found.trial(number)
    if as_json:
        show({"search": found.plan, "trial": trial.to_dict()})
        return
    fields(_about(found, trial))
    rows = [
        (place, f"{fold.value:.4f}", fold.threshold, fold.rows, f"{fold.fit_s:.1f}")
        for place, fold in enumerate(trial.folds, 1)
    ]
    table(("fold", "objective", "threshold", "rows fitted", "fit s"), rows, empty="no fold was judged")


def _about(found: KeptSearch, trial: Trial) -> dict[str, Any]:
    said: dict[str, Any] = {
        "trial": trial.name,
        "search": f"{found.plan.id}, {when(found.plan.as_of)}",
        "learner": trial.learner,
        "status": trial.status,
        found.plan.objective: trial.range,
        "threshold": trial.threshold,
    }
    said |= {name: f"{value:.4f}" for name, value in trial.metrics.items()}
    said |= {f"  {name}": value for name, value in trial.hyperparameters.items()}
    more = {"rounds": trial.rounds, "calibration": trial.calibration, "why": trial.sentence or None}
    return said | {name: value for name, value in more.items() if value is not None}


@trials.command("notebook")
def trial_notebook(
    number: Number,
    model: OfModel = None,
    search: Search = None,
    out: Annotated[Path | None, typer.Option(help="The file; MODEL/notebooks/trial-7.ipynb where left out.")] = None,
    run: Annotated[bool, typer.Option("--run", help="Execute it too: it must give the same number.")] = False,
    as_json: AsJson = False,
) -> None:
    """A notebook that fits and judges the trial anew, and ends in the same number."""
    from everloop.errors import EverloopError
    from everloop.experiment import trial_notebook as made
    from everloop.experiment import write_trial_notebook
    from everloop.project import executed

    found = _kept(search, model)
    trial = found.trial(number)
    found.check(trial)
    for sentence in found.other_libraries:
        say(f"note: {sentence}; the number may differ in its last digits")
    path = found.model.notebooks / f"trial-{trial.name}.ipynb" if out is None else out
    text, problem = made(found, trial), None
    write_trial_notebook(path, text)
    if run:
        limit_s = _START_S + 2 * len(trial.folds) * (found.plan.trial_limit_s or 3600.0)
        text, problem = executed(text, folder=found.project.root, cell_limit_s=limit_s)
        write_trial_notebook(path, text)
    if problem is not None:
        raise EverloopError(f"{path} is written, but {problem}")
    if as_json:
        show({"trial": trial.name, "search": found.plan.id, "value": trial.value, "path": str(path), "executed": run})
        return
    lines(_shown(path))


def _shown(path: Path) -> str:
    """The path as one types it here."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
