"""`traffic`: what was answered and what turned out to be true, as people take it in hand."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from everloop.cli.audit import moment
from everloop.cli.commands import group
from everloop.cli.context import me, opened, project_here
from everloop.cli.daily import AsJson, ModelName
from everloop.cli.output import fields, json_text, lines, say, show, table, when, width

if TYPE_CHECKING:
    from everloop.production import History
    from everloop.project import Model
    from everloop.traffic import Kind, OfEntity, TableBooks, TailRow

__all__ = ["traffic"]

traffic = group("traffic", "Traffic: what was answered, and what turned out to be true.")

_FOLLOW_S = 0.25
_DAYS = 14
_ID = 22
_ALIKE = 0.99


@traffic.command("list")
def traffic_list(as_json: AsJson = False) -> None:
    """Each model's traffic: how much, from when to when, what waits."""
    from everloop.traffic import traffic_books, traffic_root

    project = project_here()
    root = traffic_root(project)
    found = [traffic_books(root, project.paths.spool, name) for name in sorted(project.models)]
    if as_json:
        show([one.to_dict() for one in found])
        return
    rows = [
        (one.model, f"{one.predictions.rows:,}", f"{one.outcomes.rows:,}", when(one.predictions.first),
         when(one.predictions.last), f"{one.predictions.waiting + one.outcomes.waiting:,}")
        for one in found
    ]  # fmt: skip
    table(("model", "predictions", "outcomes", "from", "to", "waiting"), rows, empty="no model here")


@traffic.command("show")
def traffic_show(
    model: ModelName = None,
    columns: Annotated[bool, typer.Option("--columns", help="Every column of both tables, with its type.")] = False,
    as_json: AsJson = False,
) -> None:
    """One model's two tables: where, how many rows, on which days."""
    from everloop.registry import size_text
    from everloop.traffic import traffic_books, traffic_root

    project = project_here()
    found = traffic_books(traffic_root(project), project.paths.spool, project.model(model).name)
    if as_json:
        show(found.to_dict())
        return
    for one in (found.predictions, found.outcomes):
        lines(f"{found.model}: {one.name}")
        fields(
            {
                "  rows": f"{one.rows:,} in the log, {one.waiting:,} wait in spools",
                "  from": when(one.first),
                "  to": when(one.last),
                "  size": f"{size_text(one.bytes)} in {one.files} file{'' if one.files == 1 else 's'}",
                "  Delta table": one.address if one.version >= 0 else None,
            }
        )
        if columns:
            fields({f"    {name}": dtype for name, dtype in one.columns.items()})
    _tell_days(found.predictions)


def _tell_days(books: TableBooks) -> None:
    """The newest days, with a bar."""
    days = list(books.days.items())[-_DAYS:]
    if not days:
        say("nothing is in the log yet; traffic comes through 'everloop up', and history through "
            "'everloop traffic import'")  # fmt: skip
        return
    most = max(rows for _, rows in days)
    lines("rows by UTC day of the event" + (f", the newest {_DAYS}" if len(books.days) > _DAYS else ""))
    for day, rows in days:
        lines(f"  {day}  {rows:>12,}  {'▇' * max(1, round(30 * rows / most))}")


@traffic.command("tail")
def traffic_tail(
    model: ModelName = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as they come, until Ctrl-C.")] = False,
    outcomes: Annotated[bool, typer.Option("--outcomes", help="Outcomes as well.")] = False,
    last: Annotated[int, typer.Option("--last", "-n", min=0, help="How many of the newest.")] = 10,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """The newest predictions, as they were recorded.

    From the log, and from spools what is on its way there.
    """
    import time

    from everloop.traffic import Tail, traffic_root

    project = project_here()
    chosen = project.model(model)
    kinds: tuple[Kind, ...] = ("predictions", "outcomes") if outcomes else ("predictions",)
    tail = Tail(traffic_root(project), project.paths.spool, chosen.name, clock=project.clock(), kinds=kinds)
    newest = tail.newest(last)
    if not as_json and (newest or follow):
        lines(_HEAD)
    for one in newest:
        lines(_json_line(one) if as_json else _line(one, chosen))
    if not newest and last and not follow:
        say(f"{chosen.name} has no traffic yet; it comes through 'everloop up', and history through "
            "'everloop traffic import'")  # fmt: skip
    while follow:
        for one in tail.more():
            lines(_json_line(one) if as_json else _line(one, chosen))
        time.sleep(_FOLLOW_S)


Moment = "ISO 8601, UTC where no zone stands, or how long ago: 7d."


@traffic.command("export")
def traffic_export(
    model: ModelName = None,
    out: Annotated[Path, typer.Option(help="The file: *.parquet, *.csv or *.ndjson.")] = ...,  # type: ignore[assignment]
    start: Annotated[str | None, typer.Option("--from", help=f"Events from then on. {Moment}")] = None,
    end: Annotated[str | None, typer.Option("--to", help="Events before then.")] = None,
    outcomes: Annotated[bool, typer.Option("--outcomes", help="With what turned out to be true.")] = False,
    as_of: Annotated[str | None, typer.Option(help="Outcomes as they were known then; now where left out.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Over a file that is there.")] = False,
    as_json: AsJson = False,
) -> None:
    """Predictions as one file, by event time.

    With their outcomes where asked; any number of rows.
    """
    from everloop.errors import UsageError
    from everloop.traffic import OutcomesWanted, TrafficLog, export, pending_rows, traffic_root

    project = project_here()
    chosen = project.model(model)
    now = project.clock().now()
    if as_of is not None and not outcomes:
        raise UsageError("--as-of says which outcomes were known; add --outcomes, or for predictions alone --to")
    wanted = OutcomesWanted(
        target=chosen.data.target, as_of=moment(as_of, "--as-of", now) or now, delay=chosen.outcome.delay
    )
    done = export(
        TrafficLog(traffic_root(project), chosen.name),
        out,
        start=moment(start, "--from", now),
        end=moment(end, "--to", now),
        outcomes=wanted if outcomes else None,
        force=force,
    )
    waiting = pending_rows(project.paths.spool)
    if as_json:
        show(done.to_dict() | {"waiting": waiting})
    else:
        known = {} if done.known is None else {"outcomes": f"{done.known:,}"}
        fields({"rows": f"{done.rows:,}", **known, "from": when(done.first), "to": when(done.last), "file": done.path})
    if waiting:
        say(f"{waiting:,} rows still wait in spools and are not in it; 'everloop up' moves them to the log")


@traffic.command("import")
def traffic_import(
    file: Annotated[str, typer.Argument(help="Past predictions: CSV, Parquet or a Delta folder.")],
    model: ModelName = None,
    version: Annotated[str | None, typer.Option(help="Whose answers they count as: 3, v3; or the champion.")] = None,
    identity: Annotated[str | None, typer.Option("--id", help="Column of each prediction's id.")] = None,
    time: Annotated[str | None, typer.Option(help="Column of when it happened; model.yaml's where left out.")] = None,
    entity: Annotated[str | None, typer.Option(help="Column of whom it is about.")] = None,
    score: Annotated[str | None, typer.Option(help="Column of the score; guessed by name where left out.")] = None,
    decision: Annotated[str | None, typer.Option(help="Column of what was decided.")] = None,
    threshold: Annotated[
        float | None, typer.Option(help="Scores from it on were decided positive, where no column says.")
    ] = None,
    positive: Annotated[str | None, typer.Option(help="What the decision's column holds for yes.")] = None,
    outcome: Annotated[str | None, typer.Option(help="Column of what turned out to be true.")] = None,
    observed_at: Annotated[
        str | None, typer.Option(help="Column of when that was known; when it was due where left out.")
    ] = None,
    inputs: Annotated[
        list[str] | None, typer.Option("--input", metavar="NAME=COLUMN", help="An input that is called otherwise.")
    ] = None,
    told: Annotated[str, typer.Option("--source", help="Who told the outcomes, for whoever reads them.")] = "import",
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Leave out rows that cannot be used.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would come in, and write nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Past predictions of another system.

    So that windows of before can be judged.

    A file adds its rows once, however often it is imported. Nothing is written where a row breaks the contract, or has
    an id that is recorded with other content.
    """
    from everloop.production import SaidColumns, import_history, version_of_history

    said = SaidColumns(
        id=identity,
        time=time,
        entity=entity,
        score=score,
        decision=decision,
        threshold=threshold,
        positive=positive,
        outcome=outcome,
        observed_at=observed_at,
        inputs=_pairs(inputs or []),
    )
    with opened(may="read" if dry_run else "import") as here:
        chosen = here.project.model(model)
        found = import_history(
            here.project,
            here.ledger,
            here.clock,
            model=chosen,
            source=file,
            said=said,
            version=version_of_history(here.ledger, chosen.name, version),
            actor="" if dry_run else me(),
            told=told,
            dry_run=dry_run,
            skip_bad=skip_bad,
        )
    if as_json:
        show(found.to_dict() | {"dry_run": dry_run})
        return
    _tell_import(found, dry_run=dry_run)


def _pairs(said: list[str]) -> dict[str, str]:
    """NAME=COLUMN, as often as it was given."""
    pairs = {}
    for text in said:
        name, equals, column = text.partition("=")
        if not (name and equals and column):
            raise typer.BadParameter(f"{text!r} is no NAME=COLUMN, such as amount=TX_AMOUNT", param_hint="--input")
        pairs[name] = column
    return pairs


def _tell_import(found: History, *, dry_run: bool) -> None:
    """What came in, or would; as what; and what is judged of it."""
    if found.again:
        say(f"{found.source} was imported by {found.by} on {when(found.at)} UTC (fact {found.fact}); nothing was added")
        return
    columns = found.columns
    decided = columns.decision or (None if columns.threshold is None else f"score >= {columns.threshold:.6g}")
    left_out = {} if not found.left_out else {"left out": f"{found.left_out:,}"}
    seen = columns.observed_at or "when they were due" if columns.outcome else None
    fields(
        {
            "rows": f"{found.rows:,} in {found.source}",
            "would be added" if dry_run else "added": f"{found.new:,} as answers of v{found.version}",
            "there already": f"{found.repeated:,}",
            **left_out,
            "from": when(found.first),
            "to": when(found.last),
            "score": columns.score,
            "decision": decided,
            "id": columns.id or "made of the file and the row's place",
            "outcomes": None if columns.outcome is None else f"{found.outcomes:,} of {columns.outcome}, known {seen}",
        }
    )
    if found.forgotten:
        say(f"left out: {found.forgotten:,} rows of people who were forgotten after they happened")
    for problem in found.problems:
        say(f"left out: {problem.sentence}")
    _tell_agreement(found)
    if found.judged_to is not None and found.first is not None and found.first < found.judged_to:
        say(f"windows up to {when(found.judged_to)} UTC were judged already, and are not judged again; 'everloop check "
            "FILE' judges a file by itself")  # fmt: skip
    say("nothing was written; without --dry-run it is" if dry_run else "next: everloop check")


def _tell_agreement(found: History) -> None:
    like = found.agreement
    if like is None:
        return
    alike = "" if like.decisions is None else f"; {like.decisions:.1%} are decided alike"
    say(f"v{found.version} scores {like.rows:,} of them {like.off:.2g} from the file, in the median{alike}")
    if (like.decisions is not None and like.decisions < _ALIKE) or (like.decisions is None and like.off > 0):
        say(f"these are not v{found.version}'s own answers: its windows are judged by its baseline and its promise, "
            "and tell how the other system did against them")  # fmt: skip


@traffic.command("forget")
def traffic_forget(
    entity: Annotated[str, typer.Argument(help="Whose rows go, as the entity's column holds it.")],
    model: ModelName = None,
    reason: Annotated[str, typer.Option(help="Why, for whoever reads the audit; name nobody in it.")] = ...,  # type: ignore[assignment]
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Delete someone's rows from the traffic, for good.

    From log, spools, outcomes and the files that held them.
    """
    from everloop.registry import forget, theirs

    with opened(may="forget") as here:
        chosen = here.project.model(model)
        if re.search(rf"(?<!\w){re.escape(entity)}(?!\w)", reason):
            raise typer.BadParameter("the ledger is kept for good; say it without whose rows they are",
                                     param_hint="--reason")  # fmt: skip
        if not yes:
            _ask(theirs(here.project, chosen, entity), chosen)
        done = forget(here.project, here.ledger, model=chosen, entity=entity, reason=reason, actor=me())
    if as_json:
        show(done.to_dict())
        return
    fields(
        {
            "model": done.model,
            "predictions": f"{done.predictions:,} deleted from the log",
            "outcomes": f"{done.outcomes:,} deleted from the log",
            "spools": f"{done.waiting:,} waiting rows deleted",
            "stands in the ledger as": f"{done.subject[:16]}…",
            "fact": "none more, as nothing was left" if done.fact is None else done.fact,
        }
    )
    for one in done.unreached:
        say(f"not reached: {one}")


def _ask(found: OfEntity, model: Model) -> None:
    """Say what goes, and go on only where someone says yes. Raises UsageError where nobody can be asked."""
    import sys

    from everloop.errors import Refused, UsageError

    told = f"{found.predictions:,} predictions, {found.outcomes:,} outcomes and {found.waiting:,} waiting rows"
    if not sys.stdin.isatty():
        raise UsageError(f"{told} of {model.name} would go for good, and nobody is here to be asked; say --yes")
    if not typer.confirm(f"{told} of {model.name} go for good. Go on?", err=True):
        raise Refused("nothing was deleted")


_HEAD = f"{'recorded, UTC':<15}{'id':<{_ID}}  {'by':<5}{'side':<11}{'score':>8}  decision"


def _json_line(one: TailRow) -> str:
    return json_text({"table": one.kind} | {name: _finite(value) for name, value in one.row.items()})


def _finite(value: Any) -> Any:
    """JSON has no word for a score that is no number."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return {name: _finite(item) for name, item in value.items()} if isinstance(value, dict) else value


def _line(one: TailRow, model: Model) -> str:
    """At most as wide as the terminal."""
    row = one.row
    by_entity = row["prediction_id"] is None
    begin = f"{one.at:%m-%d %H:%M:%S} {_short(row['entity' if by_entity else 'prediction_id']):<{_ID}}  "
    if one.kind == "outcomes":
        of = f" of {row['event_time']:%m-%d %H:%M:%S}" if by_entity else ""
        said = "withdrawn" if row["value"] is None else f"= {row['value']}"
        source = f" ({row['source']})" if row["source"] else ""
        rest = f"outcome {row['name']} {said}{of}{source}"
    else:
        by = "–" if row["answered_version"] is None else f"v{row['answered_version']}"
        score = "–" if row["score"] is None else f"{row['score']:.4g}"
        rest = f"{by:<5}{row['side'] or '–':<11}{score:>8}  {_decision(row, model)}"
    whole = begin + rest
    return whole if len(whole) <= width() else f"{whole[: width() - 1]}…"


def _short(identity: str) -> str:
    """Ids made by the endpoint begin alike and differ at the end."""
    return identity if len(identity) <= _ID else f"{identity[:8]}…{identity[len(identity) - _ID + 9 :]}"


def _decision(row: Any, model: Model) -> str:
    decided = row["decision"]
    return "–" if decided is None else model.positive_label if decided else model.negative_label
