"""`audit`: what the ledger holds, whether it is whole, and who answered when."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from everloop.cli.commands import group
from everloop.cli.context import opened
from everloop.cli.daily import AsJson, ModelName
from everloop.cli.output import fields, folded, json_text, lines, say, show, table, when

if TYPE_CHECKING:
    from everloop.control import Served, ServedVersion
    from everloop.ledger import Fact, Head

__all__ = ["audit", "moment"]

audit = group("audit", "The ledger: every fact, in a chain that can be verified.")

Moment = "ISO 8601, UTC where no zone stands, or how long ago: 7d."


@audit.command("list")
def audit_list(
    model: Annotated[str | None, typer.Option(help="Only facts about this model, its runs and specs.")] = None,
    actor: Annotated[str | None, typer.Option(help="Only what this person or part of everloop did.")] = None,
    kind: Annotated[
        list[str] | None, typer.Option(help="Only facts of this kind, such as spec.approved, or of all: run.")
    ] = None,
    subject: Annotated[str | None, typer.Option(help="Only facts about this, such as fraud-s1.")] = None,
    since: Annotated[str | None, typer.Option(help=f"From then on. {Moment}")] = None,
    until: Annotated[str | None, typer.Option(help="Before then.")] = None,
    last: Annotated[int, typer.Option(min=1, help="How many of the newest.")] = 40,
    as_json: AsJson = False,
) -> None:
    """The facts: who changed what, when, from which cause."""
    with opened() as here:
        now = here.clock.now()
        found = here.ledger.facts(
            kind=_kinds(kind),
            subject=subject,
            actor=actor,
            model=None if model is None else here.project.model(model).name,
            since=moment(since, "--since", now),
            until=moment(until, "--until", now),
            limit=last,
            newest_first=True,
        )[::-1]
    if as_json:
        show([fact_record(fact) for fact in found])
        return
    rows = [(fact.seq, when(fact.at), fact.actor, fact.kind, fact.subject, fact.cause) for fact in found]
    table(("seq", "at", "actor", "kind", "subject", "cause"), rows, empty="no such fact")


def _kinds(said: list[str] | None) -> list[str] | None:
    """Every kind meant: `run` is all that begin so. An unknown one is an error that names the likely one."""
    from everloop.ledger import KINDS
    from everloop.project import did_you_mean

    if not said:
        return None
    kinds: list[str] = []
    for word in said:
        meant = [kind for kind in KINDS if word in (kind, kind.partition(".")[0])]
        if not meant:
            hint = did_you_mean(word, KINDS) or f"; there are {', '.join(KINDS)}"
            raise typer.BadParameter(f"there is no kind of fact {word!r}{hint}", param_hint="--kind")
        kinds += meant
    return kinds


def moment(said: str | None, option: str, now: datetime) -> datetime | None:
    """The instant that an option says, UTC; None where it was left out."""
    from everloop.project import parse_moment

    try:
        return None if said is None else parse_moment(said, now=now)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from None


@audit.command("show")
def audit_show(
    seq: Annotated[int, typer.Argument(min=1, help="Its number, as 'audit list' and 'why' give it.")],
    as_json: AsJson = False,
) -> None:
    """One fact with all that it says."""
    with opened() as here:
        record = fact_record(here.ledger.fact(seq))
    if as_json:
        show(record)
        return
    payload = record.pop("payload")
    fields(record | {"at": when(record["at"])})
    fields({f"  {name}": value if isinstance(value, str) else json_text(value) for name, value in payload.items()})


def fact_record(fact: Fact) -> dict[str, Any]:
    """A fact as JSON."""
    names = ("seq", "at", "actor", "kind", "subject", "cause", "payload", "hash")
    return {name: getattr(fact, name) for name in names}


@audit.command("head")
def audit_head(as_json: AsJson = False) -> None:
    """The last fact's number and hash, to be noted elsewhere."""
    with opened() as here:
        head = here.ledger.head()
    if as_json:
        show({"seq": head.seq, "hash": head.hash, "head": str(head)})
        return
    lines(str(head))
    say("note it where nobody who writes the ledger writes; 'everloop audit verify --since' holds the chain against it")


@audit.command("verify")
def audit_verify(
    since: Annotated[
        str | None, typer.Option(metavar="SEQ:HASH", help="A head noted elsewhere, as 'audit head' gave it.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Recompute the chain: a changed, moved or cut fact is found."""
    from everloop.errors import ChainBroken

    noted = _head(since)
    with opened() as here:
        report = here.ledger.verify(noted=noted)
    if as_json:
        told = {"ok": report.ok, "facts": report.facts, "problem": report.problem}
        show(told | {"head": str(report.head), "since": None if noted is None else str(noted)})
    if not report.ok:
        raise ChainBroken(f"the chain does not verify: {report.problem}; restore the ledger from a copy")
    if not as_json:
        lines(f"{report.facts:,} facts, unbroken" + ("" if noted is None else f", fact {noted.seq} as it was noted"))
        say(f"head {report.head.hash}")


def _head(said: str | None) -> Head | None:
    from everloop.ledger import Head

    try:
        return None if said is None else Head.parse(said)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--since") from None


@audit.command("served")
def audit_served(
    model: ModelName = None,
    at: Annotated[str | None, typer.Option(help=f"The instant; now where left out. {Moment}")] = None,
    start: Annotated[str | None, typer.Option("--from", help="A span instead: from then on.")] = None,
    end: Annotated[str | None, typer.Option("--to", help="The span's end; now where left out.")] = None,
    as_json: AsJson = False,
) -> None:
    """Which version answered which share, at any instant."""
    from everloop.control import served_at, served_between

    if at is not None and (start is not None or end is not None):
        raise typer.BadParameter("an instant (--at) or a span (--from, --to), not both")
    if end is not None and start is None:
        raise typer.BadParameter("a span begins somewhere: --from")
    with opened() as here:
        now = here.clock.now()
        asked, begin, stop = (moment(*one, now) for one in ((at, "--at"), (start, "--from"), (end, "--to")))
        where = (here.project, here.ledger, here.clock)
        found: tuple[Served, ...]
        if begin is None:
            found = (served_at(*where, model=model, at=asked),)
        else:
            found = served_between(*where, model=model, start=begin, end=stop)
    if as_json:
        at_record = {"at": (now if asked is None else asked).isoformat(), **found[0].to_dict()}
        show([one.to_dict() for one in found] if begin is not None else at_record)
        return
    for one in found:
        _tell_served(one)


def _tell_served(one: Served) -> None:
    period = one.period
    span = f"{when(period.start)} to {'now' if period.end is None else when(period.end)} UTC"
    if not period.shares:
        lines(folded(f"{period.model}: {span}: nobody answered", indent=2))
        return
    lines(folded(f"{period.model}: {span}, by {period.actor}: {period.reason or 'no reason given'}", indent=2))
    rows = [
        (f"v{each.version}", _role(each), _share(None if each.promised is None else each.promised.keys),
         f"{each.rows:,}" if one.rows else None, _share(each.fraction))
        for each in one.versions
    ]  # fmt: skip
    table(("version", "role", "of keys", "rows", "of rows"), rows, empty="nobody answered")
    if one.earlier:
        say(
            f"{one.earlier:,} of these rows were still answered by the routing before: an endpoint looks at it "
            "a few times a second"
        )


def _role(one: ServedVersion) -> str:
    if one.promised is None:
        return "of the routing before"
    return " in ".join(part for part in (one.promised.role, one.promised.mode) if part)


def _share(share: float | None) -> str | None:
    return None if share is None else f"{share * 100:.4g} %"
