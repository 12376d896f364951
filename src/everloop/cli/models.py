"""`model`: registered versions: which there are, a version's card, how two differ, and what of the old ones may go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from everloop.cli.commands import group
from everloop.cli.context import Opened, me, opened
from everloop.cli.daily import AsJson, ModelName
from everloop.cli.output import fields, folded, lines, say, show, table, when, width

if TYPE_CHECKING:
    from everloop.project import Retention
    from everloop.registry import Difference, Pruning, VersionCard

__all__ = ["models"]

models = group("model", "Models and their registered versions.")
VersionName = Annotated[str, typer.Argument(help="Such as v2, or fraud/v2.")]
OfModel = Annotated[str | None, typer.Option(help="May be left out where the project has one.")]


@models.command("list")
def model_list(model: ModelName = None, as_json: AsJson = False) -> None:
    """Every registered version, newest last."""
    from everloop.registry import bundle_place

    with opened() as here:
        names = [here.project.model(model).name] if model else sorted(here.project.models)
        versions = [version for name in names for version in here.ledger.versions(name)]
        records = [_version_record(each, _answers(each, here.project)) for each in versions] if as_json else []
        told = {name: _told_metric(here.project.model(name)) for name in names}
        places = [bundle_place(here.project, here.ledger, version) for version in versions]
    if as_json:
        show([record | {"bundle_state": place.state} for record, place in zip(records, places, strict=True)])
        return
    heading = told[names[0]] if len(set(told.values())) == 1 else "measured"
    rows = []
    for version, place in zip(versions, places, strict=True):
        value = _metric(version.metrics, told[version.model])
        shown = f"{told[version.model]} {value}" if heading == "measured" and value is not None else value
        role = version.role if place.state == "here" else f"{version.role or 'bundle'} ({place.short})"
        rows.append((version.name, role, version.spec, version.run, when(version.at), shown))
    table(
        ("version", "role", "spec", "run", "registered", heading),
        rows,
        empty="no version yet: 'everloop train' registers the first",
    )


@models.command("add")
def model_add(
    version: Annotated[int, typer.Option(min=1, help="What its server calls it.")],
    model: ModelName = None,
    baseline: Annotated[
        str | None, typer.Option(help="Labelled rows that its traffic is held against; data.source where left out.")
    ] = None,
    score: Annotated[str | None, typer.Option(help="Column of those rows with what the version said of them.")] = None,
    threshold: Annotated[float | None, typer.Option(help="Scores from it on are decided positively.")] = None,
    as_json: AsJson = False,
) -> None:
    """Register a version that something else serves.

    It is watched, and rolled out, as one of our own.
    """
    from everloop.control import add_version

    with opened(may="rollout") as here:
        added = add_version(
            here.project,
            here.ledger,
            here.clock,
            model=model,
            number=version,
            actor=me(),
            baseline=baseline,
            score=score,
            threshold=threshold,
        )
    if as_json:
        show(added.to_dict())
        return
    name = added.version.name
    lines(f"{name} is registered" if added.new else f"{name} was known already")
    measured = ", ".join(f"{metric} {_interval(value)}" for metric, value in added.version.metrics.items())
    say(f"its traffic is held against {added.rows:,} rows" + (f": {measured}" if measured else ""))
    if added.answers:
        say("it answers by default")
    else:
        say(f"next: everloop rollout start {added.version.model} --version {version}")


def _card(here: Opened, version: str | None, model: str | None) -> VersionCard:
    from everloop.control import version_number
    from everloop.registry import version_card

    named, number = (None, None) if version is None else version_number(version)
    chosen = here.project.model(model if named is None else named)
    if number is None:
        number = _answering(here, chosen.name)
    return version_card(here.project, here.ledger, here.clock, model=chosen.name, number=number)


def _answering(here: Opened, model: str) -> int:
    """The version that answers; the newest where none does. Raises NotFound where there is none yet."""
    from everloop.errors import NotFound

    routing, versions = here.ledger.routing(model), here.ledger.versions(model)
    if not versions:
        raise NotFound(f"{model} has no version yet; 'everloop train' makes the first")
    return versions[-1].number if routing is None or routing.champion is None else routing.champion


@models.command("show")
def model_show(
    version: Annotated[
        str | None, typer.Argument(help="Such as v2, or fraud/v2; left out, the one that answers.")
    ] = None,
    model: OfModel = None,
    page: Annotated[bool, typer.Option("--page", help="Write the card as an HTML page too.")] = False,
    as_json: AsJson = False,
) -> None:
    """A version's card. What it is for, what it promises, what not to expect, where it is from."""
    from everloop.registry import write_card

    with opened() as here:
        card = _card(here, version, model)
        answers = _answers(card.version, here.project)
        out = here.project.state / "reports" / f"{card.version.model}-v{card.version.number}.html"
    if page:
        write_card(card, out)
    if as_json:
        show(card.to_dict() | answers | ({"page": str(out)} if page else {}))
        return
    _draw_card(card, answers)
    if page:
        say(f"the page is {out}")


def _draw_card(card: VersionCard, answers: dict[str, Any]) -> None:
    from everloop.registry import lineage_lines, made_of

    version, about = card.version, card.about
    spans = ", ".join(_stint(one) for one in card.stints)
    fields({"version": card.name, "role": version.role, "answered": spans or "never"})
    lines("\nwhat it is for")
    if not about.get("purpose"):
        lines(_item("nobody has written it down: about: {purpose: …} in model.yaml"))
    for said in (about.get("purpose"), *(f"not for: {one}" for one in about.get("not_for", ()))):
        if said:
            lines(_item(said))
    if about.get("owner"):
        lines(_item(f"who answers for it: {about['owner']}"))
    lines("\nwhat not to expect of it")
    for limit in card.limits:
        lines(_item(limit))
    lines("\nwhat it promises, on its test rows")
    fields({f"  {name}": _interval(value) for name, value in version.metrics.items()})
    _draw_segments(card)
    lines("\ngates")
    for gate in card.gates or [{"outcome": "none was asked", "name": "", "sentence": ""}]:
        lines(_item(f"{gate['outcome']}: {gate['sentence'] or gate['name']}".removesuffix(": ")))
    lines("\nlineage")
    for line in lineage_lines(card.family):
        lines("  " + _cut(line))
    lines("\nhow it was made")
    told = {name: ", ".join(said) or "none" if isinstance(said, list) else said for name, said in answers.items()}
    fields({f"  {name}": value for name, value in (*made_of(card), *told.items())})


def _item(text: str) -> str:
    return folded(f"  - {text}", indent=4)


def _cut(line: str) -> str:
    room = width() - 2
    return line if len(line) <= room else f"{line[: room - 1]}…"


def _stint(stint: Any) -> str:
    return f"from {when(stint.start)}" + ("" if stint.end is None else f" to {when(stint.end)}")


def _draw_segments(card: VersionCard) -> None:
    if not card.segments:
        return
    metric = card.model.objective.metric
    lines(f"\n{metric} per segment")
    rows = [
        (f"  {one['segment']} {one['value']}", one["rows"], one["positives"], _interval(one["metrics"].get(metric)))
        for one in card.segments
    ]
    if not card.decides:
        table(("  of", "rows", metric), [(row[0], row[1], row[3]) for row in rows], empty="")
        return
    table(("  of", "rows", "positives", metric), [(*row[:2], int(row[2] or 0), row[3]) for row in rows], empty="")


def _answers(version: Any, project: Any) -> dict[str, Any]:
    """How the graph makes probabilities of its scores, or of a regression the quantiles that it gives beside them.

    None where the bundle is not on this machine.
    """
    from everloop.bundle import BundleStore
    from everloop.errors import BundleError, NotFound
    from everloop.tasks import get_task

    try:
        manifest = BundleStore.of(project).manifest(version.bundle)
    except (NotFound, BundleError):
        manifest = None
    if get_task(project.model(version.model).task).decides:
        return {"calibration": None if manifest is None else manifest.calibration or "none"}
    return {"quantiles": None if manifest is None else list(manifest.quantiles or ())}


def _interval(value: Any) -> str | None:
    if value is None or value["point"] is None:
        return None
    if value.get("low") is None:
        return f"{value['point']:.3f}"
    return f"{value['point']:.3f} [{value['low']:.3f}, {value['high']:.3f}]"


def _told_metric(model: Any) -> str:
    """What a line tells of a version: recall, or of a regression its objective."""
    from everloop.tasks import get_task

    metric: str = "recall" if get_task(model.task).decides else model.objective.metric
    return metric


def _metric(metrics: Any, name: str) -> str | None:
    value = metrics.get(name)
    return None if value is None or value["point"] is None else f"{value['point']:.3f}"


def _version_record(version: Any, answers: dict[str, Any]) -> dict[str, Any]:
    names = ("model", "number", "bundle", "run", "spec", "spec_hash", "at", "role", "metrics", "data", "trigger")
    record = {"name": version.name} | {name: getattr(version, name) for name in names}
    return record | answers


@models.command("diff")
def model_diff(
    first: VersionName,
    second: VersionName,
    model: OfModel = None,
    everything: Annotated[bool, typer.Option("--all", help="What is the same in both too.")] = False,
    as_json: AsJson = False,
) -> None:
    """How two versions differ. Spec, data, results on the same rows, features, code, environment."""
    from everloop.registry import difference

    with opened() as here:
        found = difference(here.project, _card(here, first, model), _card(here, second, model))
    if as_json:
        show(found.to_dict())
        return
    _draw_difference(found, everything=everything)


def _draw_difference(found: Difference, *, everything: bool) -> None:
    names = tuple(f"v{card.version.number}" for card in (found.first, found.second))
    chosen = found.lines if everything else found.changed
    rows: list[tuple[object, ...]] = []
    group = None
    for line in chosen:
        if line.group != group:
            group = line.group
            rows.append((group, "", ""))
        rows.append((f"  {line.what}", line.first, line.second))
    table(("", *names), rows, empty=f"{names[0]} and {names[1]} differ in nothing that is known of both")
    if found.paired is not None:
        lines(folded(f"\nside by side: {found.paired.sentence}", indent=2))
    elif found.unpaired is not None:
        say(f"no comparison on the same rows: {found.unpaired}")
    for one in found.unknown:
        say(f"not compared: {one}")


@models.command("prune")
def model_prune(
    bundles: Annotated[str | None, typer.Option(metavar="SPAN", help="Instead of retention.bundles, e.g. 90d.")] = None,
    runs: Annotated[str | None, typer.Option(metavar="SPAN", help="Instead of retention.runs.")] = None,
    spools: Annotated[str | None, typer.Option(metavar="SPAN", help="Instead of retention.spools.")] = None,
    traffic: Annotated[str | None, typer.Option(metavar="SPAN", help="Instead of retention.traffic.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go, and remove nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Remove it.")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove old bundles, runs, spools, traffic. Never a champion, a challenger, the last good one."""
    from everloop.errors import UsageError
    from everloop.registry import prune, what_may_go

    if dry_run == yes:
        raise UsageError("say --dry-run to see what would go, or --yes to remove it")
    with opened(may="prune" if yes else "read") as here:
        rules = _rules(here, {"bundles": bundles, "runs": runs, "spools": spools, "traffic": traffic})
        if yes:
            done = prune(here.project, here.ledger, here.clock, actor=me(), rules=rules)
        else:
            done = what_may_go(here.project, here.ledger, here.clock, rules=rules)
    if as_json:
        show(done.to_dict())
        return
    _draw_pruning(done, removed=yes)


def _rules(here: Opened, asked: dict[str, str | None]) -> Retention:
    """Those of everloop.yaml, save what was asked for here."""
    from pydantic import ValidationError

    from everloop.errors import UsageError
    from everloop.project import Retention

    given = {name: span for name, span in asked.items() if span is not None}
    try:
        asked_for = Retention.model_validate(given)
    except ValidationError as error:
        raise UsageError("; ".join(str(item["ctx"]["error"]) for item in error.errors())) from None
    rules = here.project.settings.retention.model_copy(
        update={name: getattr(asked_for, name) for name in given},
    )
    if not rules.any:
        raise UsageError(
            "nothing is old without a rule: set retention: {bundles: 90d, runs: 30d, spools: 7d} in everloop.yaml, "
            "or give --bundles 90d, --runs 30d, --spools 7d or --traffic 400d here"
        )
    return rules


def _draw_pruning(done: Pruning, *, removed: bool) -> None:
    from everloop.registry import removal_sentence, size_text

    rows = []
    for one in done.removed:
        versions = ", ".join(f"{one.model}/v{number}" for number in one.versions)
        name = one.name if one.what == "traffic" else one.name[:16]
        rows.append((one.what, versions or name, size_text(one.bytes), one.rule))
    table(("what", "of", "size", "because"), rows, empty="nothing is old enough to go")
    for model, kept in done.kept.items():
        for number, why in sorted(kept.items()):
            say(f"kept: {model}/v{number}, {why}")
    for model, why in done.needed.items():
        say(f"kept: all traffic of {model}, {why}")
    if done.removed:
        say(f"{removal_sentence(done.removed)} {'removed' if removed else 'would go; --yes removes it'}")
