"""Phase 2 to 4 from the command line: up, serve, worker, check, status, why, rollback, doctor."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from everloop.cli.context import Opened, me, opened, project_here
from everloop.cli.daily import AsJson, ModelName
from everloop.cli.output import draw, folded, lines, say, show, table, when, width

if TYPE_CHECKING:
    from datetime import timedelta

    from everloop.control import Running
    from everloop.monitoring import WindowReport
    from everloop.project import Project

__all__ = ["add_to"]

REFUSED = 3
"""The exit code of an open alert."""

Host = Annotated[str | None, typer.Option(help="Where to listen; everloop.yaml's where left out.")]
Port = Annotated[int | None, typer.Option(min=0, max=65535, help="0 takes a free one and prints it.")]
Workers = Annotated[int | None, typer.Option(min=1, max=256, help="Processes that answer.")]
Insecure = Annotated[bool, typer.Option("--insecure", help="Ask no caller for a key, wherever it listens.")]
TlsCert = Annotated[Path | None, typer.Option(help="PEM file of the certificate to answer https with.")]
TlsKey = Annotated[Path | None, typer.Option(help="PEM file of its key.")]


def add_to(app: typer.Typer) -> None:
    """The commands of this file."""
    for command in (up, serve, worker, check, status, why, rollback, doctor):
        app.command()(command)


def up(
    host: Host = None,
    port: Port = None,
    workers: Workers = None,
    insecure: Insecure = False,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
    as_json: AsJson = False,
) -> None:
    """Run the project: endpoint, mover and worker, until Ctrl-C."""
    from everloop.control import up as run_up

    def announce(running: Running) -> None:
        if as_json:
            show(running.to_dict())
        else:
            lines(running.url)
            say(f"{project.name} is up; Ctrl-C stops it")
            _tell_undeployed()

    project = _to_answer(insecure, tls_cert, tls_key)
    run_up(project, say=say, announce=announce, host=host, port=port, workers=workers)
    say(f"{project.name} is stopped")


def _to_answer(insecure: bool, tls_cert: Path | None, tls_key: Path | None) -> Project:
    """The project here, with what its endpoint was told; a path on the command line is one of here."""
    return project_here(
        may="operate",
        endpoint__keys="open" if insecure else None,
        endpoint__tls__certificate=None if tls_cert is None else str(tls_cert.absolute()),
        endpoint__tls__key=None if tls_key is None else str(tls_key.absolute()),
    )


def _tell_undeployed() -> None:
    with opened() as here:
        for name in sorted(here.project.models):
            if _champion(here, name) is None:
                say(
                    f"{name} has no champion yet, so its requests are refused: 'everloop train' makes the first version"
                )


def serve(
    host: Host = None,
    port: Port = None,
    workers: Workers = None,
    insecure: Insecure = False,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
    as_json: AsJson = False,
) -> None:
    """The endpoint alone, until Ctrl-C. Its traffic waits in the spool for a mover."""
    import os

    from everloop.serving import run

    def listening(url: str) -> None:
        if as_json:
            show({"url": url, "pid": os.getpid()})
        else:
            lines(url)

    run(_to_answer(insecure, tls_cert, tls_key), host=host, port=port, workers=workers, listening=listening)


def worker(
    runs: Annotated[int | None, typer.Option(min=1, help="At once; everloop.yaml's where left out.")] = None,
    as_json: AsJson = False,
) -> None:
    """The worker alone: runs, schedules, monitor, rollouts. With a shared ledger, one on each machine."""
    from everloop.control import told_to_stop, work

    def tell(sentence: str) -> None:
        show({"said": sentence})

    with told_to_stop() as stop:
        work(project_here(may="operate"), stop, say=tell if as_json else say, runs=runs)


def check(
    file: Annotated[
        Path | None, typer.Argument(help="Past predictions to judge; left out: this project's traffic.")
    ] = None,
    time: Annotated[str | None, typer.Option(help="Column of when a row happened.")] = None,
    score: Annotated[str | None, typer.Option(help="Column of the score.")] = None,
    outcome: Annotated[str | None, typer.Option(help="Column of what turned out to be true.")] = None,
    positive: Annotated[str | None, typer.Option(help="The outcome that counts as positive; 1 or true.")] = None,
    threshold: Annotated[
        float | None,
        typer.Option(help="Scores from it on are positive; of numbers, how near is near. Chosen if left out."),
    ] = None,
    every: Annotated[str | None, typer.Option(help="A window's length, such as 1d; chosen if left out.")] = None,
    delay: Annotated[str, typer.Option(help="How long after a row its outcome was known.")] = "0d",
    false_alarms: Annotated[str, typer.Option(help="The budget over everything together.")] = "1 per 10y",
    reference: Annotated[float, typer.Option(help="Share of the oldest rows that the rest is held against.")] = 0.3,
    columns: Annotated[list[str] | None, typer.Option("--column", help="Inputs to watch as well.")] = None,
    time_unit: Annotated[str | None, typer.Option(help="Of a column of numbers: s, ms, us … since the origin.")] = None,
    time_origin: Annotated[str | None, typer.Option(help="What a column of numbers counts from, ISO 8601.")] = None,
    absent_negative: Annotated[bool, typer.Option(help="A missing outcome means negative.")] = False,
    timezone: Annotated[str, typer.Option(help="In which naive times are read.")] = "UTC",
    model: Annotated[str | None, typer.Option(help="Of the project; all where left out.")] = None,
    as_json: AsJson = False,
) -> None:
    """Phase 3 now: judge what is due, or past predictions.

    Without FILE the project's windows of traffic that are over and not judged yet; with it the predictions of any
    model, and no project is needed. An open alert is exit code 3.
    """
    if file is None:
        _check_project(model, as_json=as_json)
        return
    lacking = [name for name, value in (("time", time), ("score", score), ("outcome", outcome)) if value is None]
    if lacking:
        raise typer.BadParameter(f"say which columns of {file} are meant: {', '.join('--' + name for name in lacking)}")
    from everloop.monitoring import check_file
    from everloop.project import Budget

    done = check_file(
        file,
        time=str(time),
        score=str(score),
        outcome=str(outcome),
        positive=positive,
        threshold=threshold,
        every=None if every is None else _span(every, "--every"),
        delay=_span(delay, "--delay"),
        false_alarms=_parsed(Budget.parse, false_alarms, "--false-alarms"),
        reference_share=reference,
        columns=tuple(columns or ()),
        timezone=timezone,
        time_unit=time_unit,
        time_origin=time_origin,
        absent_negative=absent_negative,
    )
    if as_json:
        show(done.to_dict())
    else:
        from everloop.monitoring import file_check_screen

        draw(file_check_screen(done))
    if done.alerts:
        raise typer.Exit(REFUSED)


def _span(text: str, option: str) -> timedelta:
    from everloop.project import parse_duration

    span: timedelta = _parsed(parse_duration, text, option)
    return span


def _parsed(parse: Any, text: str, option: str) -> Any:
    try:
        return parse(text)
    except ValueError as error:
        raise typer.BadParameter(f"{option}: {error}") from None


def _check_project(model: str | None, *, as_json: bool) -> None:
    from everloop.control import Resources

    with opened(may="check") as here:
        resources = Resources.of(here.project, ledger=here.ledger, clock=here.clock)
        names = [here.project.model(model).name] if model else sorted(here.project.models)
        reports = [report for name in names for report in resources.monitor(name).judge(settled=True)]
        alerts = [alert for name in names for alert in here.ledger.alerts(name, open_only=True)]
        never = [name for name in names if here.ledger.last("check.done", name) is None]
    if as_json:
        shown = ("alert", "model", "check", "evidence_kind", "opened_at", "sentence")
        open_now = [{name: getattr(alert, name) for name in shown} for alert in alerts]
        show({"windows": [report.to_dict() for report in reports], "open_alerts": open_now})
    else:
        _tell_reports(reports, never)
        for alert in alerts:
            told = f"ALERT {alert.alert} {alert.model} ({alert.evidence_kind}): {alert.sentence}"
            lines(folded(told, indent=2))
        if alerts:
            say(f"next: everloop alert show {alerts[-1].alert}")
    if alerts:
        raise typer.Exit(REFUSED)


def _tell_reports(reports: list[WindowReport], never: list[str]) -> None:
    """A line per window, and one per check of it."""
    for report in reports:
        of = f"{report.model}: {report.kind} of {when(report.window.start)}"
        lines(f"{of} to {when(report.window.end)} UTC, {report.rows:,} rows")
        for one in report.checks:
            lines(folded(f"  {one.verdict.outcome:<10} {one.verdict.sentence}", indent=13))
    for name in never:
        say(f"{name}: no window is over yet; traffic comes through 'everloop up'")
    if not reports:
        say("no window is due")


def status(model: ModelName = None, as_json: AsJson = False) -> None:
    """How the project stands: who answers, how well, what is tried."""
    from everloop.control import status as stands

    with opened() as here:
        now = stands(here.project, here.ledger, here.clock, model=model)
    if as_json:
        show(now.to_dict())
        return
    lines(now.text(min(width(), 80)))


def why(
    version: Annotated[str, typer.Argument(help="Such as v2, or fraud/v2.")],
    model: Annotated[str | None, typer.Option(help="May be left out where the project has one.")] = None,
    as_json: AsJson = False,
) -> None:
    """Why a version is there: back to alert, data and people."""
    from everloop.control import why as reasons

    with opened() as here:
        found = reasons(here.project, here.ledger, version=version, model=model)
    if as_json:
        show([reason.to_dict() for reason in found])
        return
    for reason in found:
        lines(folded(f"{when(reason.at)}  {reason.actor}: {reason.sentence}  [{reason.seq}]", indent=18))


def rollback(
    model: ModelName = None,
    reason: Annotated[str, typer.Option(help="Why, for whoever reads the audit.")] = "",
    as_json: AsJson = False,
) -> None:
    """Return to the previous champion at once. A rollout that goes on is stopped."""
    from everloop.bundle import BundleStore
    from everloop.rollout import rollback as go_back

    with opened(may="rollback") as here:
        chosen = here.project.model(model)
        left = _champion(here, chosen.name)
        routing = go_back(
            here.ledger,
            chosen.name,
            actor=me(),
            reason=reason or f"rolled back by {me()}",
            has_bundle=BundleStore.of(here.project).holds,
        )
    if as_json:
        record = {"model": chosen.name, "from": left, "champion": routing.champion, "revision": routing.revision}
        show(record)
        return
    lines(f"{chosen.name} v{routing.champion} answers again; v{left} gave way")


def _champion(here: Opened, model: str) -> int | None:
    routing = here.ledger.routing(model)
    return None if routing is None else routing.champion


def doctor(as_json: AsJson = False) -> None:
    """Whether all is there that the project needs. A line each, with what to do."""
    from everloop.control import examine

    found = examine()
    if as_json:
        show([finding.to_dict() for finding in found])
    else:
        rows = [(finding.outcome, finding.question, finding.sentence) for finding in found]
        table(("", "what", "finding"), rows, empty="nothing to examine")
    if any(finding.outcome == "problem" for finding in found):
        raise typer.Exit(1)
