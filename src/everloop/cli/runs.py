"""`run`: what is asked of runs, and how a command waits for one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from everloop.cli.commands import group
from everloop.cli.context import Opened, me, opened
from everloop.cli.daily import AsJson, ModelName, engine_of, tell_training
from everloop.cli.output import fields, folded, lines, say, show, table, when
from everloop.cli.scoring import tell_scoring

if TYPE_CHECKING:
    from everloop.workflows import Engine, RunStory, StepStory

__all__ = ["runs"]

runs = group("run", "Runs: what waits, goes on and has ended, step by step.")
RunName = Annotated[str, typer.Argument(help="Such as r-7k2abc.")]
_BAR = 24


@runs.command("list")
def run_list(
    model: ModelName = None,
    only_open: Annotated[bool, typer.Option("--open", help="Only those that wait or go on.")] = False,
    as_json: AsJson = False,
) -> None:
    """Every run, newest last."""
    with opened() as here:
        found = here.ledger.runs(None if model is None else here.project.model(model).name)
    found = [run for run in found if run.open or not only_open]
    if as_json:
        show([_record(run) for run in found])
        return
    rows = [
        (run.run, run.model, run.spec or f"({run.workflow})", run.trigger, run.status, when(run.started_at))
        for run in found
    ]
    empty = "no run is open" if only_open else "no run yet: 'everloop train' starts one"
    table(("run", "model", "spec", "trigger", "status", "started"), rows, empty=empty)


def _record(run: Any) -> dict[str, Any]:
    import dataclasses

    return {field.name: getattr(run, field.name) for field in dataclasses.fields(run)}


@runs.command("show")
def run_show(
    run: Annotated[str | None, typer.Argument(help="Such as r-7k2abc; the newest where left out.")] = None,
    step: Annotated[str | None, typer.Option(help="What this step read and gave, whole.")] = None,
    page: Annotated[bool, typer.Option("--page", help="Write the HTML page with its Gantt chart too.")] = False,
    as_json: AsJson = False,
) -> None:
    """One run, step by step. Who asked, what each step read and gave, how it ended."""
    from everloop.workflows import run_story, step_of, write_story

    with opened() as here:
        story = run_story(here.ledger, here.project.paths.runs, _newest(here) if run is None else run)
        chosen = None if step is None else step_of(story, step)
        out = here.project.state / "reports" / f"run-{story.run.run}.html"
    if page:
        write_story(story, out)
    if as_json:
        told = story.to_dict() if chosen is None else chosen.to_dict()
        show(told | ({"page": str(out)} if page else {}))
        return
    if chosen is None:
        _draw_story(story)
    else:
        _draw_step(chosen)
    if page:
        say(f"the page is {out}")


def _newest(here: Opened) -> str:
    from everloop.errors import NotFound

    found = here.ledger.runs()
    if not found:
        raise NotFound("there is no run yet; 'everloop train' starts one")
    return found[-1].run


def _draw_story(story: RunStory) -> None:
    from everloop.workflows import configured_from

    run = story.run
    asked = f"by {story.asked_by} at {when(story.asked_at)}"
    asked += f", waited {story.waited_s:.0f} s" if story.waited_s >= 1 else ""
    told: dict[str, object] = {
        "run": run.run,
        "model": run.model,
        "spec": run.spec,
        "configured from": configured_from(story),
        "status": run.status,
        "asked for": f"{asked} ({run.trigger or 'person'})",
        "started": None if run.status == "queued" else when(run.started_at),
        "ended": None if run.ended_at is None else when(run.ended_at),
        "worker": run.slot,
        "sentence": run.sentence,
        "evidence": run.evidence_path,
        "retry of": story.retry_of,
    }
    fields({name: value for name, value in told.items() if value})
    for who, at in story.folded:
        lines(f"asked for again by {who} at {when(at)}: one run")
    for one in story.handovers:
        lines(folded(f"{when(one.at)}  {one.sentence} (now {one.slot})", indent=18))
    rows = [(step.step, _took(step), step.attempts, _bar(story, step), _names(step)) for step in story.steps]
    table(("step", "took", "tries", "", "gave"), rows, empty="no step has ended yet")
    for step in story.steps:
        for failure in step.failures:
            lines(folded(f"{step.step}: {failure.sentence}", indent=2))


def _took(step: StepStory) -> str:
    return "kept" if step.kept_from else f"{step.seconds:.2f} s"


def _names(step: StepStory) -> str:
    return step.status if step.status != "done" else ", ".join(step.outputs) or "nothing"


def _bar(story: RunStory, step: StepStory) -> str:
    """When it ran, within the whole run."""
    begun = story.run.started_at
    whole_s = max((one.ended - begun).total_seconds() for one in story.steps)
    if whole_s <= 0 or step.kept_from:
        return ""
    start = min(_BAR - 1, max(0, int(_BAR * (step.began - begun).total_seconds() / whole_s)))
    end = max(start + 1, round(_BAR * (step.ended - begun).total_seconds() / whole_s))
    return "·" * start + "█" * (end - start) + "·" * (_BAR - end)


def _draw_step(step: StepStory) -> None:
    import json

    tries = "1 attempt" if step.attempts == 1 else f"{step.attempts} attempts"
    lines(f"{step.step}: {step.status} after {step.seconds:.2f} s, {tries}")
    for failure in step.failures:
        lines(folded(f"  {failure.sentence}", indent=4))
    for name, values in (("read", step.inputs), ("gave", step.outputs)):
        lines(f"{name}:")
        lines(json.dumps(dict(values), indent=2, ensure_ascii=False))


@runs.command("cancel")
def run_cancel(
    run: RunName,
    reason: Annotated[str, typer.Option(help="Why, for whoever reads the audit.")] = "",
    as_json: AsJson = False,
) -> None:
    """End a run that waits or goes on. A fit at once, else before the next step."""
    from everloop.errors import WorkflowError
    from everloop.workflows import cancel_run

    with opened(may="run") as here:
        before = here.ledger.run(run)
        if not before.open:
            raise WorkflowError(f"run {run} has ended already ({before.status}), so there is nothing to cancel")
        ended = cancel_run(here.ledger, run, actor=me(), reason=reason or f"cancelled by {me()}")
    if as_json:
        show({"run": run, "status": ended.status, "sentence": ended.sentence})
        return
    lines(f"{run} is {ended.status}: {ended.sentence}")


@runs.command("resume")
def run_resume(run: RunName, as_json: AsJson = False) -> None:
    """Go on here with a run that was left, or that waits."""

    def resumed(engine: Engine) -> str:
        engine.resume(run)
        return run

    _in_this_process(run, resumed, as_json=as_json)


@runs.command("retry")
def run_retry(
    run: RunName,
    from_step: Annotated[
        str | None, typer.Option("--from", metavar="STEP", help="Left out: the step that refused or failed.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """A new run that keeps what the steps before STEP gave."""
    from everloop.ids import new_run_id

    def retried(engine: Engine) -> str:
        handle = engine.retry(run, from_step=from_step, new_run_id=new_run_id(), actor=me())
        say(f"{handle.run_id} is the retry of {run}")
        return handle.run_id

    _in_this_process(run, retried, as_json=as_json)


def _in_this_process(run: str, begin: Callable[[Engine], str], *, as_json: bool) -> None:
    """Begin, wait, and say how it ended as `train` does."""
    from everloop.cli.progress import RunProgress

    with _ready(run) as (here, engine):
        run_id = begin(engine)
        with RunProgress(here.ledger, run_id):
            result = engine.wait(run_id)
        ended = here.ledger.run(run_id)
    if ended.workflow == "score":
        tell_scoring(result, as_json=as_json)
    else:
        tell_training(ended.model or "", result, as_json=as_json)


@contextmanager
def _ready(run: str) -> Iterator[tuple[Opened, Engine]]:
    from everloop.control import require_extra

    with opened(may="run") as here:
        if here.ledger.run(run).workflow != "score":  # an unknown one is said before an engine is opened
            require_extra("train")
        with engine_of(here) as engine:
            yield here, engine
