"""Carrying the retention rule out: look at the disk, decide within a transaction, write the fact, then remove.

The fact comes first. Whoever changes who answers in the same moment comes before it, and is reckoned with, or after it,
and reads it; and what a process that died did not get to remove is found, and told, the next time.
"""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from everloop.bundle import BundleStore
from everloop.clock import Clock
from everloop.errors import EverloopError, ProjectError
from everloop.ledger import Exposure, Fact, Ledger, Removed, RetentionDone, RoutingState, Transaction
from everloop.project import Project, Retention, format_duration
from everloop.registry.retention import (
    DayFound,
    Found,
    History,
    SpoolFound,
    kept_versions,
    needed_traffic,
    removable,
)
from everloop.storage import Storage, artifacts_of, folder_bytes
from everloop.traffic import idle_spools, remove_days, remove_spool, traffic_days, traffic_root

__all__ = ["Pruning", "histories", "last_pruning", "prune", "removal_sentence", "size_text", "what_may_go"]

_GONE: Final = ".gone-"
_RUNS: Final = "runs/"
_WINDOWS: Final = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruning:
    """What goes, or went. kept: version → why it is never removed, by model. fact: where it was carried out.

    needed: model → why no day of its traffic goes, where the rule is on.
    """

    removed: tuple[Removed, ...]
    kept: Mapping[str, Mapping[int, str]]
    rules: Retention
    fact: int | None = None
    needed: Mapping[str, str] = field(default_factory=dict)

    @property
    def bytes(self) -> int:
        """Of all of it."""
        return sum(one.bytes for one in self.removed)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return {
            "removed": [msgspec.to_builtins(one) for one in self.removed],
            "bytes": self.bytes,
            "rules": spans(self.rules),
            "kept": {model: {f"v{number}": why for number, why in said.items()} for model, said in self.kept.items()},
            "needed_traffic": dict(self.needed),
            "fact": self.fact,
        }


def spans(rules: Retention) -> dict[str, str]:
    """The spans that are set, as people write them."""
    found = {name: getattr(rules, name) for name in ("bundles", "runs", "spools", "traffic")}
    return {name: format_duration(span) for name, span in found.items() if span is not None}


def size_text(size: int) -> str:
    """`212 B`, `160 kB`, `41.3 MB`."""
    if size < 1_000:
        return f"{size} B"
    return f"{size / 1e3:,.0f} kB" if size < 1_000_000 else f"{size / 1e6:,.1f} MB"


def removal_sentence(removed: Sequence[Removed]) -> str:
    """`2 bundles, 1 run, 3 days of traffic, 41.3 MB`."""
    counts = {what: sum(one.what == what for one in removed) for what in ("bundle", "run", "spool")}
    days = sum(one.what == "traffic" for one in removed)
    told = [f"{count} {what}{'' if count == 1 else 's'}" for what, count in counts.items() if count]
    told += [f"{days} day{'' if days == 1 else 's'} of traffic"] if days else []
    return ", ".join([*told, size_text(sum(one.bytes for one in removed))])


def histories(project: Project, ledger: Ledger | Transaction) -> list[History]:
    """Every model of the project, and those that the ledger alone still knows."""
    known = {run.model for run in ledger.runs() if run.model} | {one.model for one in ledger.versions()}
    return [_history(project, ledger, name) for name in sorted(known | set(project.models))]


def _history(project: Project, ledger: Ledger | Transaction, name: str) -> History:
    model = project.models.get(name)
    lasts = {} if model is None else {"matures_in": model.outcome.delay + 2 * model.monitor.every}
    return History(
        model=name,
        versions=tuple(ledger.versions(name)),
        routings=tuple(_routing(fact) for fact in ledger.facts(kind="routing.changed", subject=name)),
        rollouts=tuple(ledger.rollouts(name)),
        alerts=tuple(ledger.alerts(name)),
        runs=tuple(ledger.runs(name)),
        judged_to=_judged_to(ledger, name),
        **lasts,
    )


def _judged_to(ledger: Ledger | Transaction, name: str) -> datetime | None:
    """Up to when both kinds of its windows are judged; of outcomes none may ever be, where nobody tells any."""
    newest: dict[str, datetime] = {}
    for fact in ledger.facts(kind="check.done", subject=name, limit=_WINDOWS, newest_first=True):
        kind = str(fact.payload.get("details", {}).get("kind"))
        end = datetime.fromisoformat(fact.payload["window"]["end"])
        newest[kind] = max(end, newest.get(kind, end))
    return min((end for kind, end in newest.items() if kind in ("traffic", "outcomes")), default=None)


def _routing(fact: Fact) -> RoutingState:
    said = {name: fact.payload[name] for name in ("model", "revision", "champion", "previous", "reason")}
    exposures = msgspec.convert(fact.payload["challengers"], tuple[Exposure, ...])
    return RoutingState(challengers=exposures, at=fact.at, seq=fact.seq, **said)


def last_pruning(ledger: Ledger) -> datetime | None:
    """When something was last removed."""
    fact = ledger.last("retention.done")
    return None if fact is None else fact.at


def what_may_go(project: Project, ledger: Ledger, clock: Clock, *, rules: Retention | None = None) -> Pruning:
    """What `prune` would remove now; nothing is changed. rules: instead of those of everloop.yaml."""
    given = project.settings.retention if rules is None else rules
    return _decided(project, ledger, clock, given, _on_disk(project, clock, given))


def _decided(project: Project, ledger: Ledger | Transaction, clock: Clock, rules: Retention, disk: Found) -> Pruning:
    lives = histories(project, ledger)
    found = Found(
        bundles=disk.bundles,
        runs=disk.runs,
        spools=disk.spools,
        days=disk.days,
        made_by=_made_by(ledger),
        gone=frozenset(gone_bundles(ledger) - disk.bundles.keys()),
    )
    removed = removable(lives, found, rules, now=clock.now())
    kept = {life.model: kept_versions(life) for life in lives if life.versions}
    with_traffic = {one.model for one in disk.days}
    needed = {life.model: why for life in lives if life.model in with_traffic and (why := needed_traffic(life))}
    return Pruning(removed=tuple(removed), kept=kept, rules=rules, needed=needed)


def gone_bundles(ledger: Ledger | Transaction) -> set[str]:
    """The bundles that the rule ever took away."""
    facts = ledger.facts(kind="retention.done")
    return {one["name"] for fact in facts for one in fact.payload["removed"] if one["what"] == "bundle"}


def _made_by(ledger: Ledger | Transaction) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for fact in ledger.facts(kind="run.step"):
        if fact.payload["step"] == "package" and "bundle" in fact.payload["outputs"]:
            found.setdefault(str(fact.payload["outputs"]["bundle"]), []).append(fact.payload["run"])
    return found


def _on_disk(project: Project, clock: Clock, rules: Retention) -> Found:
    """Folders, objects and their sizes, read before the ledger is held. Raises IntegrationError."""
    idle = idle_spools(project.paths.spool, now=clock.now())
    return Found(
        bundles=BundleStore.of(project).sizes(),
        runs=_runs_found(project),
        spools=[SpoolFound(name=one.name, bytes=one.bytes, since=one.since) for one in idle],
        days=[] if rules.traffic is None else _days_found(project),
    )


def _days_found(project: Project) -> list[DayFound]:
    root = traffic_root(project)
    days = [one for name in sorted(project.models) for one in traffic_days(root, name)]
    return [DayFound(model=one.model, day=one.day, bytes=one.bytes) for one in days]


def _runs_found(project: Project) -> dict[str, int]:
    """Run → its bytes: of those that have a folder here its files', of others those of its objects elsewhere."""
    found: dict[str, int] = {}
    elsewhere = artifacts_of(project)
    for entry in () if elsewhere is None else elsewhere.list(_RUNS):
        name = entry.key.removeprefix(_RUNS).partition("/")[0]
        found[name] = found.get(name, 0) + entry.size
    runs = project.paths.runs
    folders = [item for item in runs.iterdir() if item.is_dir()] if runs.is_dir() else []
    return found | {item.name: folder_bytes(item) for item in folders if not item.name.startswith(".")}


def prune(project: Project, ledger: Ledger, clock: Clock, *, actor: str, rules: Retention | None = None) -> Pruning:
    """Remove what may go, and say so in the ledger; nothing is written where nothing goes.

    Raises ProjectError where something cannot be removed: the rest went, and it is tried again the next time.
    """
    given = project.settings.retention if rules is None else rules
    disk = _on_disk(project, clock, given)
    with ledger.transaction() as transaction:
        plan = _decided(project, transaction, clock, given, disk)
        if plan.removed:
            payload = RetentionDone(removed=list(plan.removed), bytes=plan.bytes, rules=spans(given))
            fact = transaction.append("retention.done", project.name, payload, actor=actor)
    days = _days_of(plan.removed)
    if given.traffic is not None:  # files of days that went before are old enough now
        days = {one.model: set[date]() for one in disk.days} | days
    _carry_out(project, plan.removed, days)
    if not plan.removed:
        return plan
    return replace(plan, fact=fact.seq)


def _carry_out(project: Project, removed: Sequence[Removed], days_of: Mapping[str, set[date]]) -> None:
    store, problems = BundleStore.of(project), []
    elsewhere = artifacts_of(project)
    for one in removed:
        try:
            if one.what == "bundle":
                store.remove(one.name)
            elif one.what == "run":
                if elsewhere is not None:
                    _remove_objects(elsewhere, f"{_RUNS}{one.name}/")
                _remove_folder(project.paths.runs / one.name)
            elif one.what == "spool" and one.since is not None:
                remove_spool(project.paths.spool, one.name, since=one.since)
        except OSError as error:
            problems.append(f"{one.what} {one.name[:12]}: {error.strerror}; make it writable")
        except EverloopError as error:
            problems.append(f"{one.what} {one.name[:12]}: {error}")
    for model, days in days_of.items():
        try:
            flush = project.settings.endpoint.durability == "full"
            remove_days(traffic_root(project), project.paths.spool, model, days, flush=flush)
        except (OSError, EverloopError) as error:
            problems.append(f"traffic of {model}: {error}")
    if problems:
        raise ProjectError(f"{'; '.join(problems)}; what is left goes the next time")


def _days_of(removed: Sequence[Removed]) -> dict[str, set[date]]:
    found: dict[str, set[date]] = {}
    for one in removed:
        if one.what == "traffic" and one.model is not None:
            found.setdefault(one.model, set()).add(date.fromisoformat(one.name.rpartition("/")[2]))
    return found


def _remove_objects(storage: Storage, prefix: str) -> None:
    for entry in list(storage.list(prefix)):
        storage.remove(entry.key)


def _remove_folder(folder: Path) -> None:
    """Out of sight at once, then away; what a killed process left half removed goes too."""
    if folder.is_dir():
        folder.rename(folder.with_name(f"{_GONE}{folder.name}-{secrets.token_hex(4)}"))
    for left in folder.parent.glob(f"{_GONE}*"):
        shutil.rmtree(left, ignore_errors=False)
