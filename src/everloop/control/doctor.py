"""Is everything there that the project needs? One finding per question, with what to do where the answer is no."""

from __future__ import annotations

import importlib.util
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from everloop.control.extras import EXTRAS
from everloop.errors import EverloopError

if TYPE_CHECKING:
    from everloop.ledger import Ledger, Version
    from everloop.project import Project

__all__ = ["Finding", "examine"]

Outcome = Literal["ok", "note", "problem"]
_FREE_BYTES = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """An answer. `note`: something works less well or is not there yet; `problem`: something does not work."""

    question: str
    outcome: Outcome
    sentence: str

    def to_dict(self) -> dict[str, str]:
        """Plain JSON."""
        return {"question": self.question, "outcome": self.outcome, "sentence": self.sentence}


def examine(start: Path | None = None) -> list[Finding]:
    """Examine this machine and the project of `start` (the current folder), as far as each can be read."""
    from everloop.project import Project

    found = [_python(), *_extras()]
    try:
        project = Project.find(start)
    except EverloopError as error:
        return [*found, _problem("project", str(error))]
    found.append(_ok("project", f"{project.name} with {', '.join(sorted(project.models)) or 'no model yet'}"))
    for question, ask in _QUESTIONS.items():
        found += _answers(question, ask, project)
    return found


def _answers(question: str, ask: Callable[[Project], Iterator[Finding]], project: Project) -> list[Finding]:
    """What was found before an error counts; the error is a finding itself."""
    found: list[Finding] = []
    try:
        found.extend(ask(project))
    except (EverloopError, OSError) as error:
        found.append(_problem(question, str(error)))
    return found


def _ok(question: str, sentence: str) -> Finding:
    return Finding(question=question, outcome="ok", sentence=sentence)


def _note(question: str, sentence: str) -> Finding:
    return Finding(question=question, outcome="note", sentence=sentence)


def _problem(question: str, sentence: str) -> Finding:
    return Finding(question=question, outcome="problem", sentence=sentence)


def _python() -> Finding:
    version = ".".join(str(part) for part in sys.version_info[:3])
    return _ok("python", f"{version}, {sys.executable}")


def _extras() -> Iterator[Finding]:
    for extra, modules in EXTRAS.items():
        lacking = [name for name in modules if importlib.util.find_spec(name) is None]
        if lacking:
            yield _note(f"extra {extra}", f"{', '.join(lacking)} missing; pip install 'everloop[{extra}]'")
        else:
            yield _ok(f"extra {extra}", "installed")


def _ledger(project: Project) -> Iterator[Finding]:
    from everloop.ledger import Ledger

    if project.settings.ledger is None and not project.paths.ledger_db.exists():
        yield _note("ledger", "not there yet; the first command that changes something makes it")
        return
    with Ledger.open(project, clock=project.clock()) as ledger:
        report = ledger.verify()
        if not report.ok:
            yield _problem("ledger", f"the chain does not verify: {report.problem}; restore the ledger from a copy")
            return
        yield _ok("ledger", f"{report.facts:,} facts, unbroken")
        for model in sorted(project.models):
            open_alerts = ledger.alerts(model, open_only=True)
            if open_alerts:
                count = f"{len(open_alerts)} open alert" + ("s" if len(open_alerts) > 1 else "")
                yield _note(f"alerts of {model}", f"{count}; 'everloop alert list --open' shows them")


def _models(project: Project) -> Iterator[Finding]:
    from everloop.data import load_features, read_contract

    for model in project.models.values():
        name = f"model {model.name}"
        if not model.contract_path.exists():
            yield _note(name, "no contract.yaml yet; 'everloop explore' writes it from the source")
            continue
        features = load_features(model.features_path, read_contract(model))
        specs = model.specs()
        last = f"newest spec {specs[-1].name}" if specs else "no spec yet; 'everloop search' finds one"
        yield _ok(name, f"{len(features.tree().names)} features; {last}")


def _bundles(project: Project) -> Iterator[Finding]:
    from everloop.bundle import BundleStore
    from everloop.errors import NotFound
    from everloop.ledger import Ledger
    from everloop.registry import bundle_place

    if not project.paths.ledger_db.exists() and project.settings.ledger is None:
        return
    store = BundleStore.of(project)
    with Ledger.open(project, clock=project.clock()) as ledger:
        for model in sorted(project.models):
            for version in ledger.versions(model):
                if version.role is None:
                    continue
                try:
                    store.load(version.bundle)
                except NotFound:
                    sentence = bundle_place(project, ledger, version).sentence
                    yield _problem(f"bundle {version.name}", f"{version.role}, {sentence}{_meanwhile(ledger, version)}")
                except EverloopError as error:
                    yield _problem(f"bundle {version.name}", f"{error}{_meanwhile(ledger, version)}")
                else:
                    yield _ok(f"bundle {version.name}", f"{version.role}, its sums are right")


def _meanwhile(ledger: Ledger, version: Version) -> str:
    """What answers until a champion's bundle is there again, where anything can."""
    routing = ledger.routing(version.model)
    if routing is None or routing.champion != version.number or routing.previous is None:
        return ""
    return f"; until then 'everloop rollback {version.model}' answers with v{routing.previous}"


def _spool(project: Project) -> Iterator[Finding]:
    from everloop.traffic import pending_rows

    if not project.paths.spool.is_dir():
        return
    rows = pending_rows(project.paths.spool)
    if rows:
        yield _note("spool", f"{rows:,} rows on their way to the log; 'everloop up' moves them")
    else:
        yield _ok("spool", "nothing waits")


def _channels(project: Project) -> Iterator[Finding]:
    """What the ledger says of the channels; only `everloop notice test` sends anything."""
    from everloop.control.telling import channel_status
    from everloop.ledger import Ledger

    channels = project.settings.channels
    if not channels or (project.settings.ledger is None and not project.paths.ledger_db.exists()):
        return
    with Ledger.open(project, clock=project.clock()) as ledger:
        for status in (channel_status(ledger, channel) for channel in channels):
            question, at = f"channel {status.channel}", (status.at or "")[:16].replace("T", " ")
            if status.reached is None:
                yield _note(question, "nothing was sent to it yet; 'everloop notice test' tries it")
            elif status.reached:
                yield _ok(question, f"reached at {at} UTC" + (f"; {status.waiting} wait" if status.waiting else ""))
            else:
                waits = f"; {status.waiting} wait, and are sent once it answers" if status.waiting else ""
                yield _problem(
                    question,
                    f"not reached at {at} UTC: {status.problem}{waits}. Is its address right? "
                    "'everloop notice test' tries it",
                )


def _callers(project: Project) -> Iterator[Finding]:
    """Whether the endpoint starts as everloop.yaml has it, as to keys and certificate; if not, that is said."""
    from everloop.serving.entrance import keys_needed, refuse_unguarded
    from everloop.serving.tls import tls_context, tls_files

    host, files = project.settings.endpoint.host, tls_files(project)
    if files is not None:
        tls_context(*files)
    refuse_unguarded(project, host)
    speaks = "http" if files is None else "https"
    if not keys_needed(project, host):
        yield _ok("callers", f"nobody is asked for a key on {host}, by {speaks}")
    elif files is None:
        yield _note("callers", f"they show a key on {host}, by http: what is in front of it should speak https")
    else:
        yield _ok("callers", f"they show a key on {host}, by https")


def _disk(project: Project) -> Iterator[Finding]:
    free = shutil.disk_usage(project.root).free
    shown = f"{free / 1e9:,.1f} GB free"
    yield _ok("disk", shown) if free >= _FREE_BYTES else _problem("disk", f"{shown}; free some space")


def _port(project: Project) -> Iterator[Finding]:
    host, port = project.settings.endpoint.host, project.settings.endpoint.port
    if port == 0:
        return
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM) as tried:
        tried.settimeout(1.0)
        taken = tried.connect_ex((host, port)) == 0
    if taken:
        yield _note("port", f"{port} of {host} is in use: by 'everloop up', or take another with --port")
    else:
        yield _ok("port", f"{port} of {host} is free")


_QUESTIONS: dict[str, Callable[[Project], Iterator[Finding]]] = {
    "ledger": _ledger,
    "models": _models,
    "bundles": _bundles,
    "spool": _spool,
    "channels": _channels,
    "callers": _callers,
    "disk": _disk,
    "port": _port,
}
