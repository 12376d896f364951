"""The nouns `alert` and `rollout`, each with list, show and what it can do; and where the others are."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from everloop.cli.audit import audit
from everloop.cli.commands import group
from everloop.cli.context import me, opened
from everloop.cli.daily import AsJson, ModelName
from everloop.cli.keys import keys
from everloop.cli.models import models
from everloop.cli.output import draw, fields, lines, show, table, when
from everloop.cli.runs import runs
from everloop.cli.specs import specs
from everloop.cli.traffic import traffic

__all__ = ["add_to"]


alerts = group("alert", "Alerts: verdicts that someone or something must act on.")
rollouts = group("rollout", "Rollouts: how challengers are exposed.")


def add_to(app: typer.Typer) -> None:
    """The nouns, as groups of commands."""
    for noun in (models, specs, runs, alerts, rollouts, traffic, audit, keys):
        app.add_typer(noun)


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

    with opened(may="alert") as here:
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


@rollouts.command("start")
def rollout_start(
    model: ModelName = None,
    version: Annotated[int | None, typer.Option(min=1, help="The newest where left out.")] = None,
    as_json: AsJson = False,
) -> None:
    """Begin to expose a registered version against the champion."""
    from everloop.control import begin_rollout
    from everloop.errors import NotFound

    with opened(may="rollout") as here:
        chosen = here.project.model(model)
        versions = here.ledger.versions(chosen.name)
        if not versions:
            raise NotFound(f"{chosen.name} has no version yet; 'everloop train' makes the first")
        number = max(one.number for one in versions) if version is None else version
        begun = begin_rollout(here.project, here.ledger, here.clock, model=chosen.name, number=number, actor=me())
        state = here.ledger.rollouts(chosen.name, running_only=True)[-1]
    if as_json:
        show({"rollout": begun, "against": state.against, "steps": list(state.steps)})
        return
    lines(f"{begun} is tried against v{state.against}: {', then '.join(state.steps)}")


def _rollout_request(model: str | None, word: str, reason: str, *, as_json: bool) -> None:
    """Give a person's request to the model's rollout."""
    from everloop import rollout as room

    requests = {"pause": "PauseRequested", "resume": "ResumeRequested", "abort": "AbortRequested",
                "promote": "PromoteRequested"}  # fmt: skip
    with opened(may="rollout") as here:
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
