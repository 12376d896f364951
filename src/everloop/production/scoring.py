"""Scoring in batch as a durable run: plan → score → write → capture → record.

What is new is scored by the champion of that moment into the run's folder; from there it goes to the table of results
and to the traffic log, and last a fact says so. Killed anywhere, the run goes on and nothing is missing or there twice.
What a run left half way that failed or was cancelled, the next one finishes before it looks for what is new.
"""

from __future__ import annotations

import shutil
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from everloop.errors import NotFound, Refused, UsageError
from everloop.ids import new_run_id
from everloop.ledger import Key, Ledger, RunState, ScoreDone
from everloop.production.batch import MANIFEST, Batch, read_batch, score_inputs
from everloop.production.inputs import News, known_inputs, news, table_schema
from everloop.production.scored import capture as captured
from everloop.production.scored import is_begun, write_tables
from everloop.project import Model, Project
from everloop.traffic import traffic_root
from everloop.workflows import Engine, RunContext, RunHandle, State, Step, Workflow

if TYPE_CHECKING:
    from everloop.production.pipeline import PipelineResources

__all__ = ["SCORING", "score_target", "scoring_workflow", "start_scoring"]

SCORING: Final = "score"


def scoring_workflow() -> Workflow:
    """The steps in order. A model's batches follow each other; what is asked for while one waits is that one."""
    return Workflow(
        name=SCORING,
        lane=lambda inputs: f"{SCORING} {inputs['model']}",
        fold=lambda inputs: f"{inputs['source']} {inputs['target']}",
        steps=[
            Step(name="plan", run=plan, attempts=3),
            Step(name="score", run=score, attempts=2),
            Step(name="write", run=write, attempts=3),
            Step(name="capture", run=capture, attempts=3),
            Step(name="record", run=record, attempts=3),
        ],
    )


def score_target(project: Project, model: Model) -> str:
    """The table that takes the model's results: model.yaml's, or one in the project's own folder."""
    if model.score.target is not None:
        return model.score.target
    return str((project.paths.scored / model.name).relative_to(project.root))


def start_scoring(
    engine: Engine,
    project: Project,
    ledger: Ledger,
    *,
    model: Model,
    as_of: datetime,
    actor: str,
    trigger: str = "person",
    cause: int | None = None,
    run_id: str | None = None,
    begin: bool = True,
) -> RunHandle:
    """Ask for a run that scores what is new in `score.source` by the champion, and begin it if it is its turn.

    The handle is of the run that waits already where the same was asked for. Raises UsageError where model.yaml names
    no source, NotFound where there is no champion.
    """
    if model.score.source is None:
        raise UsageError(
            f"{model.name}/model.yaml has no score.source; write score: {{source: FOLDER}}, or name a file: "
            "'everloop score FILE RESULT'"
        )
    _champion(ledger, model.name)
    inputs: dict[str, Any] = {
        "model": model.name,
        "source": model.score.source,
        "target": score_target(project, model),
        "trigger": trigger,
        "as_of": as_of.isoformat(),
    }
    run = new_run_id() if run_id is None else run_id
    return engine.start(SCORING, inputs, run_id=run, actor=actor, cause=cause, begin=begin)


def _champion(ledger: Ledger, model: str) -> tuple[int, int]:
    """The version that answers, and the routing's revision. Raises NotFound."""
    routing = ledger.routing(model)
    if routing is None or routing.champion is None:
        raise NotFound(f"{model} has no champion yet; 'everloop train' makes the first version")
    if ledger.version(model, routing.champion).external:
        raise Refused(
            f"{model}/v{routing.champion} answers and is served by something else: let that score the rows, and post "
            f"what it says to /v1/models/{model}/predictions"
        )
    return routing.champion, routing.revision


def plan(context: RunContext, state: State) -> State:
    """Finish what other runs left, then see what is new; the champion of this moment is to score it."""
    finished = _finish_others(context, state["model"])
    known = known_inputs(context.ledger, state["model"], state["source"])
    found = news(state["source"], known, root=_resources(context).project.root)
    version, revision = _champion(context.ledger, state["model"])
    return {
        "version": version,
        "bundle": context.ledger.version(state["model"], version).bundle,
        "revision": revision,
        "news": msgspec.to_builtins(found),
        "finished_others": finished,
    }


def score(context: RunContext, state: State) -> State:
    """What is new, block by block, into files of the run's folder."""
    resources, model = _resources(context), state["model"]
    batch = read_batch(context.workdir)
    if batch is None or batch.id != context.run_id:
        _finish_others(context, model)
        found = msgspec.convert(state["news"], News)
        done = known_inputs(context.ledger, model, state["source"]).files  # a retry may come after others
        root = resources.project.root
        fresh = Batch(
            id=context.run_id,
            model=model,
            version=state["version"],
            revision=state["revision"],
            source=state["source"],
            target=state["target"],
            as_of=context.clock.now(),
            refused=found.refused,
            source_version=found.version,
        )
        batch = score_inputs(
            resources.bundles.load(state["bundle"]),
            fresh,
            [item for item in found.inputs if item.name not in done],
            folder=context.workdir,
            schema=table_schema(state["source"], root=root),
        )
    context.crash_point("scored")
    return {
        "rows": batch.rows,
        "rejected": batch.rejected,
        "positives": batch.positives,
        "files": len(batch.inputs),
        "refused": [f"{one.name}: {one.sentence}" for one in batch.refused],
        "sentence": _sentence(batch),
    }


def _sentence(batch: Batch) -> str:
    if not batch.inputs and not batch.refused:
        return f"nothing is new in {batch.source}"
    many = "files" if len(batch.inputs) != 1 else "file"
    said = [f"{batch.rows:,} rows of {len(batch.inputs)} {many} scored by v{batch.version}"]
    if batch.rejected:
        said.append(f"{batch.rejected:,} rows broke the contract and lie in the table of rejects")
    said += [f"{one.name} was not scored: {one.sentence}" for one in batch.refused[:3]]
    if len(batch.refused) > 3:
        said.append(f"so were {len(batch.refused) - 3} more")
    return "; ".join(said)


def write(context: RunContext, state: State) -> State:
    """From the run's folder into the tables of results and rejects."""
    batch = read_batch(context.workdir)
    if batch is not None:
        _write(context, batch, context.workdir)
    return {"written": state["target"]}


def capture(context: RunContext, state: State) -> State:
    """From the run's folder into the traffic log."""
    batch = read_batch(context.workdir)
    if batch is not None:
        _capture(context, batch, context.workdir)
    return {"captured": state["model"]}


def record(context: RunContext, _state: State) -> State:
    """The fact that it is done; the run's folder lets go of the rows."""
    batch = read_batch(context.workdir)
    if batch is not None and not _is_idle(context, batch):
        _record(context, batch)
    context.crash_point("recorded")
    _clear(context, context.workdir)
    return {}


def _is_idle(context: RunContext, batch: Batch) -> bool:
    """Whether it scored nothing, and refused no other file than the time before: that is told once."""
    known = known_inputs(context.ledger, batch.model, batch.source)
    return not batch.inputs and batch.refused == known.refused and batch.source_version == known.version


def _write(context: RunContext, batch: Batch, folder: Path) -> None:
    resources = _resources(context)
    bundle = resources.bundles.load(context.ledger.version(batch.model, batch.version).bundle)
    write_tables(
        batch,
        bundle,
        folder=folder,
        root=resources.project.root,
        stop=context.should_stop,
        crash=context.crash_point,
    )


def _capture(context: RunContext, batch: Batch, folder: Path) -> None:
    project = _resources(context).project
    bundle = _resources(context).bundles.load(context.ledger.version(batch.model, batch.version).bundle)
    captured(
        batch,
        bundle,
        folder=folder,
        spool=project.paths.spool,
        traffic=traffic_root(project),
        clock=context.clock,
        durability=project.settings.endpoint.durability,
        crash=context.crash_point,
    )


def _done_key(batch: str) -> Key:
    """Under which it is kept, once, that a batch is done: whichever run finished it."""
    return batch, "scored", 0


def _record(context: RunContext, batch: Batch) -> None:
    payload = ScoreDone(
        model=batch.model,
        run=batch.id,
        source=batch.source,
        target=batch.target,
        version=batch.version,
        rows=batch.rows,
        rejected=batch.rejected,
        positives=batch.positives,
        inputs=batch.inputs,
        refused=batch.refused,
        source_version=batch.source_version,
    )
    context.ledger.append(
        "score.done", batch.model, payload, actor=context.actor, cause=context.cause, key=_done_key(batch.id)
    )


def _finish_others(context: RunContext, model: str) -> list[str]:
    """What runs of before left half way, wherever they ran: written, captured, recorded; their ids."""
    finished = []
    for run in context.ledger.runs(model):
        folder = context.workdir.parent / run.run
        if run.workflow != SCORING or run.open or run.run == context.run_id or not _left(context, run, folder):
            continue
        batch = read_batch(folder)
        if batch is not None and not _is_done(context, batch) and not _is_void(context, batch, folder):
            _write(context, batch, folder)
            _capture(context, batch, folder)
            _record(context, batch)
            finished.append(run.run)
        _clear(context, folder)
    return finished


def _left(context: RunContext, run: RunState, folder: Path) -> bool:
    """Whether a run that ended left a batch: in its folder here, or where it was sent from; then it is here after."""
    if (folder / MANIFEST).exists():
        return True
    files = context.files
    if files is None or run.status == "finished" or not files.has(folder, MANIFEST):
        return False
    files.fetch(folder)
    return (folder / MANIFEST).exists()


def _is_done(context: RunContext, batch: Batch) -> bool:
    return context.ledger.keyed(*_done_key(batch.id)) is not None


def _is_void(context: RunContext, batch: Batch, folder: Path) -> bool:
    """Whether what a batch holds is to be looked at anew: it never came to its tables, and cannot or must not now.

    Its files never came here whole from the machine that died while it sent them, or another batch has their rows.
    """
    whole = all((folder / part.file).exists() for part in (*batch.parts, *batch.rejects))
    known = known_inputs(context.ledger, batch.model, batch.source).files
    if whole and batch.inputs and not any(one.name in known for one in batch.inputs):
        return False
    return not is_begun(batch, root=_resources(context).project.root)


def _clear(context: RunContext, folder: Path) -> None:
    """Let go of a batch's rows; the manifest last, so that a kill between leaves no files that nobody knows of."""
    rows = ("parts", "rejects")
    if context.files is not None:
        for name in (*rows, MANIFEST):
            context.files.remove(folder, name)
    for name in rows:
        shutil.rmtree(folder / name, ignore_errors=True)
    (folder / MANIFEST).unlink(missing_ok=True)


def _resources(context: RunContext) -> PipelineResources:
    resources: PipelineResources = context.resources
    return resources
