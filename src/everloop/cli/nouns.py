"""The nouns `spec`, `alert`, `rollout`, `audit`, each with list, show and what it can do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from everloop.cli.commands import group
from everloop.cli.context import me, opened
from everloop.cli.daily import AsJson, ModelName
from everloop.cli.models import models
from everloop.cli.output import draw, fields, json_text, lines, say, show, table, when
from everloop.cli.runs import runs

if TYPE_CHECKING:
    from everloop.ledger import Fact

__all__ = ["add_to"]


specs = group("spec", "Specs: what may be trained, and who approved it.")
alerts = group("alert", "Alerts: verdicts that someone or something must act on.")
rollouts = group("rollout", "Rollouts: how challengers are exposed.")
audit = group("audit", "The ledger: every fact, in a chain that can be verified.")


def add_to(app: typer.Typer) -> None:
    """The nouns, as groups of commands."""
    for noun in (models, specs, runs, alerts, rollouts, audit):
        app.add_typer(noun)


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
                 "reason": spec.reason, "approved_by": None if approval is None else approval.by}
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
    from everloop.cli.daily import model_of
    from everloop.project import spec_text

    with opened() as here:
        found = here.project.model(model_of(spec, here)).spec(spec)
    if as_json:
        show(found.model_dump(mode="json", by_alias=True) | {"hash": found.hash})
        return
    lines(spec_text(found))


@specs.command("get")
def spec_get(
    from_mlflow: Annotated[str, typer.Option("--from-mlflow", metavar="RUN_ID", help="A run logged by hand.")],
    model: Annotated[str | None, typer.Option(help="May be left out where the project has one.")] = None,
    as_json: AsJson = False,
) -> None:
    """Make a spec of a run that someone logged in MLflow."""
    from everloop.control import tracked_run
    from everloop.experiment import spec_from_run

    with opened() as here:
        chosen = here.project.model(model)
        run = tracked_run(here.project, "mlflow", from_mlflow)
        made = spec_from_run(chosen, run, ledger=here.ledger, clock=here.clock, actor=me())
        path = chosen.spec_path(made.spec.number).relative_to(here.project.root)
    if as_json:
        show({"spec": made.spec.name, "path": str(path), "new": made.new, "notes": list(made.notes)})
        return
    for note in made.notes:
        say(f"note: {note}")
    say("nothing was measured here: what it is worth, training says")
    say(f"{made.spec.name} is in {path}{'' if made.new else ', as before'}: review it, then")
    lines(f"everloop approve {made.spec.name} --by {me()}")


def _record(state: Any) -> dict[str, Any]:
    import dataclasses

    return {field.name: getattr(state, field.name) for field in dataclasses.fields(state)}


@alerts.command("list")
def alert_list(
    model: ModelName = None,
    only_open: Annotated[bool, typer.Option("--open", help="Only those that still need someone.")] = False,
    as_json: AsJson = False,
) -> None:
    """Every alert, newest last."""
    with opened() as here:
        name = None if model is None else here.project.model(model).name
        found = here.ledger.alerts(name, open_only=only_open)
    if as_json:
        show([_record(alert) for alert in found])
        return
    rows = [
        (alert.alert, alert.model, alert.status, alert.evidence_kind, when(alert.opened_at), alert.sentence)
        for alert in found
    ]
    table(("alert", "model", "status", "evidence", "opened", "sentence"), rows, empty="no alert")


@alerts.command("show")
def alert_show(alert: Annotated[str, typer.Argument(help="Such as a-7k2abc.")], as_json: AsJson = False) -> None:
    """One alert with its evidence and its investigation."""
    with opened() as here:
        found = here.ledger.alert(alert)
        made = None if found.investigation is None else here.ledger.fact(found.investigation)
    if as_json:
        show(_record(found) | {"investigation": None if made is None else made.payload})
        return
    fields(
        {
            "alert": found.alert,
            "model": found.model,
            "status": found.status,
            "check": found.check,
            "evidence": found.evidence_kind,
            "opened": when(found.opened_at),
            "sentence": found.sentence,
            "investigation": None if made is None else made.payload["sentence"],
            "report": None if made is None else made.payload["report_path"],
            "notebook": None if made is None else made.payload["notebook_path"],
            "proposal": found.proposal,
        }
    )


@alerts.command("close")
def alert_close(
    alert: Annotated[str, typer.Argument(help="Such as a-7k2abc.")],
    reason: Annotated[str, typer.Option(help="Why nobody needs to act any more.")],
    as_json: AsJson = False,
) -> None:
    """Close an alert on one's own name."""
    from everloop.ledger import AlertClosed

    with opened() as here:
        found = here.ledger.alert(alert)
        payload = AlertClosed(alert=alert, model=found.model, reason=reason)
        fact = here.ledger.append("alert.closed", alert, payload, actor=me(), cause=found.seq)
    if as_json:
        show({"alert": alert, "fact": fact.seq})
        return
    lines(f"{alert} closed")


@rollouts.command("list")
def rollout_list(model: ModelName = None, as_json: AsJson = False) -> None:
    """Every rollout, newest last."""
    with opened() as here:
        names = [here.project.model(model).name] if model else sorted(here.project.models)
        found = [rollout for name in names for rollout in here.ledger.rollouts(name)]
    if as_json:
        show([_record(rollout) for rollout in found])
        return
    rows = [
        (f"{one.model}/v{one.version}", one.status, one.steps[min(one.step, len(one.steps) - 1)],
         when(one.started_at), one.sentence)
        for one in found
    ]  # fmt: skip
    table(("challenger", "status", "step", "started", "sentence"), rows, empty="no rollout yet")


@rollouts.command("show")
def rollout_show(model: ModelName = None, as_json: AsJson = False) -> None:
    """The open rollout: where it stands, what is known by now."""
    from everloop.control import rollout_now

    with opened() as here:
        rollout, known = rollout_now(here.project, here.ledger, here.clock, model=model)
    comparison = known.comparison
    if as_json:
        asked = {"rollout": rollout.id, "against": rollout.champion, "status": rollout.status, "step": rollout.index}
        stands = {"mode": rollout.stage.mode, "share": rollout.share, "since": rollout.entered_at.isoformat()}
        found = None if comparison is None else {"outcome": comparison.outcome, "sentence": comparison.sentence}
        guards = [verdict.to_dict() for verdict in known.guardrails]
        show(asked | stands | {"promote": rollout.promote, "guardrails": guards, "comparison": found})
        return
    shown: dict[str, Any] = {
        "rollout": f"{rollout.id} against v{rollout.champion}, {rollout.status}",
        "step": f"{rollout.index + 1} of {len(rollout.plan)}: {rollout.stage.mode}, {rollout.share:.4g} of the keys",
        "since": when(rollout.entered_at),
        "promoted if": rollout.promote.replace("_", " "),
        "comparison": "no outcome has matured yet" if comparison is None else comparison.sentence,
    }
    shown |= {f"guardrail {place}": str(verdict) for place, verdict in enumerate(known.guardrails, start=1)}
    fields(shown | {"a person may": "everloop rollout promote | abort | pause"})


@rollouts.command("plan")
def rollout_plan(
    model: ModelName = None,
    effect: Annotated[str | None, typer.Option(help="Smallest gain worth seeing: 0.05, or 5% of today's.")] = None,
    share: Annotated[str | None, typer.Option(help="Of users; the rollout's first step where left out.")] = None,
    days: Annotated[float, typer.Option(help="Until the answer, with the outcomes' delay.")] = 30,
    metric: Annotated[
        str | None, typer.Option(help="The objective's where left out; of classes also target_rate.")
    ] = None,
    power: Annotated[float, typer.Option(help="Chance to see the effect, judged once.")] = 0.8,
    level: Annotated[float, typer.Option(help="1 less the chance of a false answer.")] = 0.95,
    correlation: Annotated[float, typer.Option(help="How alike the versions are, row by row.")] = 0.5,
    page: Annotated[bool, typer.Option("--page/--no-page", help="Write the HTML page too.")] = True,
    as_json: AsJson = False,
) -> None:
    """Rows and days that a comparison would take, before it begins."""
    from everloop.experiment import online_screen, plan_online

    with opened() as here:
        chosen = here.project.model(model)
        plan = plan_online(
            here.project,
            chosen,
            ledger=here.ledger,
            clock=here.clock,
            metric=metric,
            effect=effect,
            share=share,
            days=days,
            level=level,
            power=power,
            correlation=correlation,
            out=here.project.state / "reports" / f"{chosen.name}-rollout-plan.html" if page else None,
        )
    if as_json:
        show(plan.to_dict())
        return
    draw(online_screen(plan))


def _rollout_request(model: str | None, word: str, reason: str, *, as_json: bool) -> None:
    """Give a person's request to the model's rollout."""
    from everloop import rollout as room

    requests = {"pause": "PauseRequested", "resume": "ResumeRequested", "abort": "AbortRequested",
                "promote": "PromoteRequested"}  # fmt: skip
    with opened() as here:
        chosen = here.project.model(model)
        kind = getattr(room, requests[word])
        said: dict[str, Any] = {"at": here.clock.now(), "by": me()}
        if word != "resume":
            said["reason"] = reason
        after, actions = room.advance(here.ledger, chosen.name, kind(**said), actor=me())
    if as_json:
        show({"rollout": after.id, "status": after.status, "actions": [type(one).__name__ for one in actions]})
        return
    lines(f"{after.id} is {after.status}")


Reason = Annotated[str, typer.Option(help="Why, for whoever reads the audit.")]


@rollouts.command("pause")
def rollout_pause(model: ModelName = None, reason: Reason = "", as_json: AsJson = False) -> None:
    """Hold the rollout at its step; guardrails still stop it."""
    _rollout_request(model, "pause", reason, as_json=as_json)


@rollouts.command("resume")
def rollout_resume(model: ModelName = None, as_json: AsJson = False) -> None:
    """Let a paused rollout go on."""
    _rollout_request(model, "resume", "", as_json=as_json)


@rollouts.command("abort")
def rollout_abort(model: ModelName = None, reason: Reason = "", as_json: AsJson = False) -> None:
    """Take the challenger back."""
    _rollout_request(model, "abort", reason, as_json=as_json)


@rollouts.command("promote")
def rollout_promote(model: ModelName = None, reason: Reason = "", as_json: AsJson = False) -> None:
    """Make the challenger champion, on your own name."""
    _rollout_request(model, "promote", reason, as_json=as_json)


@audit.command("list")
def audit_list(
    kind: Annotated[str | None, typer.Option(help="Only facts of this kind, such as spec.approved.")] = None,
    subject: Annotated[str | None, typer.Option(help="Only facts about this, such as fraud-s1.")] = None,
    last: Annotated[int, typer.Option(min=1, help="How many of the newest.")] = 40,
    as_json: AsJson = False,
) -> None:
    """The facts: who changed what, when, from which cause."""
    with opened() as here:
        found = here.ledger.facts(kind=kind, subject=subject, limit=last, newest_first=True)[::-1]
    if as_json:
        show([fact_record(fact) for fact in found])
        return
    rows = [(fact.seq, when(fact.at), fact.actor, fact.kind, fact.subject, fact.cause) for fact in found]
    table(("seq", "at", "actor", "kind", "subject", "cause"), rows, empty="no such fact")


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


@audit.command("verify")
def audit_verify(as_json: AsJson = False) -> None:
    """Recompute the chain: a changed, removed or cut fact is found."""
    from everloop.errors import ChainBroken

    with opened() as here:
        report = here.ledger.verify()
    if as_json:
        show({"ok": report.ok, "facts": report.facts, "problem": report.problem})
    if not report.ok:
        raise ChainBroken(f"the chain does not verify: {report.problem}; restore the ledger from a copy")
    if not as_json:
        lines(f"{report.facts:,} facts, unbroken")
        say(f"head {report.head.hash}")
