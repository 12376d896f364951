"""Forgetting someone: the fact, then the rows, then what else may hold rows of theirs and is not for this to remove."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from everloop.data import local_files, read_contract, scan
from everloop.errors import EverloopError, UsageError
from everloop.ledger import Ledger, TrafficForgotten
from everloop.project import Model, Project
from everloop.traffic import Forgetting, OfEntity, subject_of, traffic_root

__all__ = ["Forgotten", "forget", "theirs"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Forgotten:
    """What went. subject: the keyed hash that stands for the entity in the fact. unreached: what may hold rows yet."""

    model: str
    subject: str
    predictions: int
    outcomes: int
    waiting: int
    unreached: tuple[str, ...]
    fact: int | None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        names = ("model", "subject", "predictions", "outcomes", "waiting", "fact")
        return {name: getattr(self, name) for name in names} | {"unreached": list(self.unreached)}


def theirs(project: Project, model: Model, entity: str) -> OfEntity:
    """What traffic of someone there is. Raises UsageError where the model does not know whose a row is."""
    return _found(_forgetting(project, model, entity), model)


def _found(work: Forgetting, model: Model) -> OfEntity:
    found = work.found()
    if model.data.entity is None and not (found.predictions or found.outcomes or found.waiting):
        raise UsageError(
            f"{model.name}/model.yaml has no data.entity, so no row says whose it is, and none can be found by it"
        )
    return found


def forget(
    project: Project,
    ledger: Ledger,
    *,
    model: Model,
    entity: str,
    reason: str,
    actor: str,
    crash: Callable[[str], None] = lambda point: None,
) -> Forgotten:
    """Delete someone's rows from a model's traffic for good; asked for again, it deletes what is left or came since.

    The fact comes first, so that an import that goes on meanwhile brings none of them back. Where a fact says it
    already and nothing is there, there is none more.
    """
    work = _forgetting(project, model, entity, crash=crash)
    subject = subject_of(traffic_root(project), model.name, entity)
    found = _found(work, model)
    known = any(one.payload["subject"] == subject for one in ledger.facts(kind="traffic.forgotten", subject=model.name))
    elsewhere = list(_elsewhere(project, model, entity, work.ids()))
    seq = None
    if not known or found.predictions or found.outcomes or found.waiting:
        payload = TrafficForgotten(
            model=model.name,
            subject=subject,
            reason=reason,
            predictions=found.predictions,
            outcomes=found.outcomes,
            waiting=found.waiting,
            unreached=elsewhere,
        )
        seq = ledger.append("traffic.forgotten", model.name, payload, actor=actor).seq
    unreached = work.erase()
    return Forgotten(
        model=model.name,
        subject=subject,
        predictions=found.predictions,
        outcomes=found.outcomes,
        waiting=found.waiting,
        unreached=(*unreached, *elsewhere),
        fact=seq,
    )


def _forgetting(
    project: Project, model: Model, entity: str, *, crash: Callable[[str], None] = lambda point: None
) -> Forgetting:
    if not entity:
        raise UsageError("say whose rows are to go, as the entity's column holds it")
    return Forgetting(
        traffic_root(project),
        project.paths.spool,
        model.name,
        entity,
        alone=project.settings.artifacts is None,
        flush=project.settings.endpoint.durability == "full",
        crash=crash,
    )


def _elsewhere(project: Project, model: Model, entity: str, ids: pl.Series) -> Iterator[str]:
    """Files of the project that have rows of theirs; names and counts, never whose."""
    column = _entity_column(model)
    for path in sorted(project.paths.runs.glob("*/**/*.parquet")) if project.paths.runs.is_dir() else ():
        rows = _rows_in(path, column, entity)
        if rows:
            name = path.relative_to(project.paths.runs)
            yield (
                f"the run {name.parts[0]} keeps {rows:,} of their rows in {name.name}, which it was trained on: remove "
                "it by retention.runs and 'everloop model prune', or by hand"
            )
    if project.remote_artifacts is not None:
        yield f"runs in {project.remote_artifacts} keep the rows they were trained on, and were not looked into"
        yield "spools of other machines were not looked into: ask there too; nor were versions that the bucket keeps"
    rows = _in_source(model, column, entity)
    if rows:
        yield f"the source {model.data.source} has {rows:,} of their rows, and the next training reads them"
    scored = project.paths.scored / model.name
    if scored.is_dir():
        rows = _ids_in(scored, ids)
        if rows:
            yield f"the table {scored.relative_to(project.root)} of batch scores has {rows:,} of their ids"
    for folder in ("investigations", "reports"):
        place = project.paths.state / folder
        if place.is_dir() and next(place.rglob("*.html"), None) is not None:
            yield f"pages and notebooks in .everloop/{folder} may show single rows; they were not looked into"


def _entity_column(model: Model) -> str | None:
    if model.data.entity is not None:
        return model.data.entity
    entity = read_contract(model).only("entity") if model.contract_path.exists() else None
    return None if entity is None else entity.name


def _rows_in(path: Path, column: str | None, entity: str) -> int:
    """How many rows of a Parquet file are theirs, by whichever of its columns holds the entity."""
    try:
        lazy = pl.scan_parquet(path)
        schema = lazy.collect_schema()
        names = [name for name in (column, "__entity", "entity") if name is not None and name in schema]
        return _count(lazy, names[0], entity) if names else 0
    except (OSError, pl.exceptions.PolarsError):
        return 0  # removed meanwhile, or not whole: a run's own to tell


def _in_source(model: Model, column: str | None, entity: str) -> int:
    root = model.folder.parent
    if column is None or not local_files(model.data.source, root=root):
        return 0
    try:
        lazy = scan(model.data.source, root=root)
        return _count(lazy, column, entity) if column in lazy.collect_schema() else 0
    except (EverloopError, OSError, pl.exceptions.PolarsError):
        return 0


def _count(lazy: pl.LazyFrame, column: str, entity: str) -> int:
    theirs = pl.col(column).cast(pl.String) == entity
    count: int = lazy.filter(theirs).select(pl.len()).collect(engine="streaming").item()
    return count


def _ids_in(table: Path, ids: pl.Series) -> int:
    try:
        lazy = pl.scan_delta(str(table))
        found = lazy.filter(pl.col("id").is_in(ids.implode())).select(pl.len())
        count: int = found.collect(engine="streaming").item()
    except Exception:  # Delta's readers raise of every kind; what cannot be read is no reason to keep the rest
        return 0
    return count
