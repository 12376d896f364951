"""An alert investigated: findings, a report, a notebook, and the fact that says where they lie."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import polars as pl

from everloop.bundle import BundleStore
from everloop.clock import Clock
from everloop.data import EVENT_TIME, Rows
from everloop.errors import NotFound
from everloop.improvement.change import Change
from everloop.improvement.investigation import Investigation
from everloop.improvement.report import error_cells, error_report, input_cells, input_report
from everloop.improvement.study import ErrorStudy, InputStudy, Scene, known_data, study_errors, study_inputs
from everloop.ledger import AlertState, InvestigationMade, Key, Ledger
from everloop.pages import write_whole
from everloop.project import Model, executed, notebook_text
from everloop.traffic import TrafficLog

__all__ = ["investigate"]

_ACTOR: Final = "improvement"


def investigate(
    model: Model,
    alert: AlertState,
    *,
    ledger: Ledger,
    log: TrafficLog,
    bundles: BundleStore,
    known: Rows,
    clock: Clock,
    out: Path,
    root: Path | None = None,
    execute: bool = True,
) -> Investigation:
    """What changed, where, since when, what it costs, what would repair it.

    known: all labelled rows known at `clock.now()`; what was not due by then is left out once more. out: the folder of
    the report and of the rows it compares. root: the project's folder, which recorded paths are relative to; the one
    above the model's where None. execute: whether the notebook is run, which takes some seconds.
    An alert is investigated once: asked again, also after a kill, the ledger's investigation is given.
    Raises NotFound for an unknown version or spec, NotEnoughData where the alert is of labels and none are known.
    """
    key: Key = (f"alert:{alert.alert}", "investigate", 1)
    made = ledger.keyed(*key)
    if made is not None:
        return Investigation.of(made)
    scene = _scene(model, alert, ledger=ledger, log=log, bundles=bundles, known=known, clock=clock)
    place = _Place(out=out, root=model.folder.parent if root is None else root, model=model, alert=alert.alert)
    if alert.evidence_kind == "labels":
        payload = _of_errors(scene, place, execute=execute)
    else:
        payload = _of_inputs(scene, place, execute=execute)
    fact = ledger.append("investigation.made", alert.alert, payload, actor=_ACTOR, cause=alert.seq, key=key)
    return Investigation.of(fact)


class _Place:
    """Where an investigation's files lie; each is written whole, and again after a kill."""

    def __init__(self, *, out: Path, root: Path, model: Model, alert: str) -> None:
        self.report = out / f"{alert}.html"
        self.rows = out / f"{alert}.parquet"
        self.baseline = out / f"{alert}.baseline.json"
        self.notebook = model.notebooks / f"{alert}.ipynb"
        self._root = root

    def shown(self, path: Path) -> str:
        """A path as the ledger has it."""
        return Path(os.path.relpath(path, self._root)).as_posix()

    def from_notebook(self, path: Path) -> str:
        """A path as the notebook has it."""
        return Path(os.path.relpath(path, self.notebook.parent)).as_posix()

    def write_rows(self, frame: pl.DataFrame) -> None:
        """The rows that the notebook loads."""
        self.rows.parent.mkdir(parents=True, exist_ok=True)
        draft = self.rows.with_name(f".{self.rows.name}.{os.getpid()}")
        try:
            frame.write_parquet(draft, compression="zstd", compression_level=1)
            draft.replace(self.rows)
        finally:
            draft.unlink(missing_ok=True)

    def write_notebook(self, text: str, *, execute: bool) -> str | None:
        """The notebook, executed where asked for; why it could not be, or None."""
        self.notebook.parent.mkdir(parents=True, exist_ok=True)
        problem = None
        if execute:
            text, problem = executed(text, folder=self.notebook.parent)
        write_whole(self.notebook, text.encode())
        return problem


def _scene(
    model: Model,
    alert: AlertState,
    *,
    ledger: Ledger,
    log: TrafficLog,
    bundles: BundleStore,
    known: Rows,
    clock: Clock,
) -> Scene:
    number = alert.record.get("version")
    if number is None:
        routing = ledger.routing(model.name)
        number = None if routing is None else routing.champion
    if number is None:
        raise NotFound(f"{model.name} has no champion, so alert {alert.alert} has nothing to be investigated against")
    version = ledger.version(model.name, number)
    return Scene(
        model=model,
        alert=alert,
        version=version,
        bundle=bundles.load(version.bundle),
        spec=model.spec(version.spec),
        known=replace(known, frame=known.frame.sort(EVENT_TIME, maintain_order=True)),
        log=log,
        clock=clock,
        now=clock.now(),
    )


def _of_errors(scene: Scene, place: _Place, *, execute: bool) -> InvestigationMade:
    study = study_errors(scene)
    place.write_rows(study.compared.frame)
    write_whole(place.report, error_report(scene, study, beside=_beside(place)).encode())
    text = notebook_text(error_cells(scene, study, rows=place.from_notebook(place.rows)))
    problem = place.write_notebook(text, execute=execute)
    since = None if study.examined.change is None else study.since
    return _payload(scene, place, study.sentence, since, error_findings(study), executes=execute, problem=problem)


def _of_inputs(scene: Scene, place: _Place, *, execute: bool) -> InvestigationMade:
    study = study_inputs(scene)
    place.write_rows(study.rows)
    write_whole(place.baseline, scene.bundle.baseline_json)
    write_whole(place.report, input_report(scene, study, beside=_beside(place)).encode())
    paths = {name: place.from_notebook(getattr(place, name)) for name in ("rows", "baseline")}
    problem = place.write_notebook(notebook_text(input_cells(scene, study, **paths)), execute=execute)
    return _payload(scene, place, study.sentence, study.since, input_findings(study), executes=execute, problem=problem)


def _beside(place: _Place) -> str:
    return f"The notebook {place.shown(place.notebook)} replays it on the rows of {place.shown(place.rows)}."


def _payload(
    scene: Scene,
    place: _Place,
    sentence: str,
    since: datetime | None,
    findings: Mapping[str, Any],
    *,
    executes: bool,
    problem: str | None,
) -> InvestigationMade:
    findings = {**findings, "version": scene.version.number}
    if scene.known.frame.height:
        findings["known"] = known_data(scene.known)
    return InvestigationMade(
        alert=scene.alert.alert,
        model=scene.model.name,
        sentence=sentence,
        report_path=place.shown(place.report),
        notebook_path=place.shown(place.notebook),
        since=since,
        findings=findings,
        details={"executed": executes and problem is None, **({} if problem is None else {"problem": problem})},
    )


def error_findings(study: ErrorStudy) -> dict[str, Any]:
    """What goes into the ledger of a study of errors."""
    found: dict[str, Any] = {
        "focus": study.examined.focus,
        "is_new": study.examined.is_new,
        "cost": study.cost.to_dict(),
        "repair": study.repair.to_dict(),
        "drifted": [drifted.to_dict() for drifted in study.drifted],
        "fresh_from": study.fresh_from.isoformat(),
    }
    if study.examined.change is not None:
        found["change"] = _change(study.examined.change)
    if study.examined.rule is not None and study.counts is not None:
        found |= {"rule": study.examined.rule.to_dict(), "counts": study.counts.to_dict()}
    if study.upcoming is not None:
        found["upcoming"] = study.upcoming
    return found


def input_findings(study: InputStudy) -> dict[str, Any]:
    """What goes into the ledger of a study of inputs."""
    found: dict[str, Any] = {
        "focus": "inputs",
        "drifted": [drifted.to_dict() for drifted in study.examined.drifted],
        "decided": study.decided,
        "segment": study.examined.segment,
    }
    if study.examined.change is not None:
        found["change"] = _change(study.examined.change)
    return found


def _change(change: Change) -> dict[str, Any]:
    """A change as plain JSON."""
    return {
        "at": change.at.isoformat(),
        "low": change.low.isoformat(),
        "high": change.high.isoformat(),
        "before": change.before,
        "after": change.after,
        "nats": change.nats,
    }
