"""Importing history: predictions of another system become traffic, as those of one of our versions.

The file is read twice. First all of it is held against the contract and against what is recorded, and where anything is
wrong nothing is written. Then chapter by chapter goes to the log, each a commit; killed anywhere, the same import goes
on behind the last one, and the fact at its end is written once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import polars as pl

from everloop.bundle import Bundle, BundleStore
from everloop.clock import Clock
from everloop.data import is_remote, local_files, scan
from everloop.errors import ContractViolation, IdConflict, NotFound, UsageError
from everloop.ledger import Fact, Ledger, TrafficImported
from everloop.production.history_columns import HistoryColumns, SaidColumns, history_columns
from everloop.production.history_rows import CHAPTER_ROWS, Chapter, HistoryReader, Problem
from everloop.production.repeats import Repeats, repeats
from everloop.project import Model, Project
from everloop.traffic import Differing, ForgottenKeys, ImportLog, Sorted, traffic_root

__all__ = ["Agreement", "History", "import_history", "version_of_history"]

_SHOWN: Final = 8
_SAMPLE: Final = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How alike the file and the version answer, on a few of its rows.

    decisions: the share that both decide alike, None where nothing is decided. off: the median distance of scores.
    """

    rows: int
    decisions: float | None
    off: float


@dataclass(slots=True, kw_only=True)
class History:
    """What an import found, did, or would do. rows: of the file; new: added. fact: where it stands, None of a dry run.

    again: the same file was imported before, at `at` by `by`, and nothing was done.
    """

    model: str
    source: str
    sha256: str
    version: int
    columns: HistoryColumns
    rows: int = 0
    new: int = 0
    repeated: int = 0
    left_out: int = 0
    forgotten: int = 0
    outcomes: int = 0
    first: datetime | None = None
    last: datetime | None = None
    problems: list[Problem] = field(default_factory=list)
    agreement: Agreement | None = None
    judged_to: datetime | None = None
    again: bool = False
    by: str | None = None
    at: datetime | None = None
    fact: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        names = ("model", "source", "sha256", "version", "rows", "new", "repeated", "left_out", "forgotten", "outcomes",
                 "again", "by", "fact")  # fmt: skip
        times = ("first", "last", "judged_to", "at")
        said = None if self.agreement is None else msgspec.to_builtins(self.agreement)
        return (
            {name: getattr(self, name) for name in names}
            | {name: None if (at := getattr(self, name)) is None else at.isoformat() for name in times}
            | {"columns": self.columns.to_dict(), "agreement": said}
            | {"problems": [one.sentence for one in self.problems]}
        )

    def saw(self, times: pl.Series) -> None:
        """Take these event times into the span."""
        if len(times):
            low: Any = times.min()
            high: Any = times.max()
            self.first = low if self.first is None else min(self.first, low)
            self.last = high if self.last is None else max(self.last, high)


def version_of_history(ledger: Ledger, model: str, said: str | None) -> int:
    """The version that rows count as answers of: `3`, `v3`, or the champion. Raises NotFound, UsageError."""
    if said not in (None, "champion"):
        text = str(said).removeprefix(f"{model}/").removeprefix("v")
        if not text.isdecimal():
            raise UsageError(f"{said!r} is no version; say a number, v3, or champion. 'everloop model list' shows them")
        return ledger.version(model, int(text)).number
    routing = ledger.routing(model)
    if routing is None or routing.champion is None:
        raise NotFound(
            f"{model} has no champion yet, and what was answered is judged against a version's baseline: run 'everloop "
            "train' first, then import again. Past predictions alone are judged by 'everloop check FILE --time … "
            "--score … --outcome …'"
        )
    return routing.champion


class _Import:
    """One import, from the file to the fact."""

    def __init__(
        self,
        project: Project,
        ledger: Ledger,
        clock: Clock,
        *,
        model: Model,
        source: str,
        said: SaidColumns,
        version: int,
        told: str,
        crash: Callable[[str], None],
        root: Path,
        chapter_rows: int,
    ) -> None:
        if is_remote(source):
            raise UsageError(f"{source} is not on this machine; copy it here first, so that it cannot change meanwhile")
        self._ledger = ledger
        self._model, self._source, self._root = model, source, root
        self._told, self._crash, self._chapter_rows = told, crash, chapter_rows
        self._bundle: Bundle = BundleStore.of(project).load(ledger.version(model.name, version).bundle)
        lazy = scan(source, root=root)
        columns = history_columns(lazy.collect_schema().names(), said, model=model, bundle=self._bundle, source=source)
        self.found = History(
            model=model.name, source=source, sha256=_sha256(source, root), version=version, columns=columns
        )
        self._reader = HistoryReader(
            source=source,
            root=root,
            columns=columns,
            model=model,
            bundle=self._bundle,
            version=version,
            key=self.found.sha256[:16],
            told=told,
            clock=clock,
        )
        self._name = self._application()
        self._log = ImportLog(
            traffic_root(project),
            project.paths.spool,
            model.name,
            application=self._name,
            flush=project.settings.endpoint.durability == "full",
            crash=crash,
        )
        self._forgotten = ForgottenKeys.of(
            traffic_root(project),
            model.name,
            [(fact.payload["subject"], fact.at) for fact in ledger.facts(kind="traffic.forgotten", subject=model.name)],
        )

    def _application(self) -> str:
        """The import's name: of the file's content, and of how it is read."""
        found = self.found
        asked = {"file": found.sha256, "version": found.version, "columns": found.columns.to_dict(), "told": self._told}
        text = msgspec.json.encode(asked | {"read": dict(found.columns.contract)}, order="sorted")
        return f"import-{hashlib.sha256(text).hexdigest()[:32]}"

    @property
    def key(self) -> tuple[str, str, int]:
        return f"import:{self._model.name}", self._name, 0

    def look(self, *, skip_bad: bool) -> None:
        """Read all of it. Raises ContractViolation for problems, unless they are skipped, and IdConflict."""
        found = self.found
        self._repeats = self._repeated()
        differing: list[tuple[Differing, int]] = []
        begun = self._log.begun
        for chapter in self._chapters(counted=True):
            if chapter.number == 1:
                found.agreement = self._agreement(chapter)
            against = self._log.sort_out(chapter.predictions)
            differing += [(one, chapter.places[one.place] + 1) for one in against.differing]
            self._count(chapter, against, begun)
            found.problems += chapter.problems
        found.problems += self._repeats.problems
        if found.problems and not skip_bad:
            raise ContractViolation(_refusal(self._source, found.problems))
        if differing:
            raise IdConflict(_conflict(self._source, differing))
        self._look_at_the_monitor()

    def _repeated(self) -> Repeats:
        columns = self.found.columns
        if columns.id is None:
            return Repeats()
        return repeats(scan(self._source, root=self._root).select(columns.read), columns.id)

    def _chapters(self, *, counted: bool = False) -> Iterator[Chapter]:
        for chapter in self._reader.chapters(self._chapter_rows):
            usable, forgotten = self._usable(chapter)
            if counted:
                self.found.forgotten += forgotten
            yield usable

    def _usable(self, chapter: Chapter) -> tuple[Chapter, int]:
        """The chapter without rows that repeat others of the file, or are of someone who was forgotten; how many."""
        made = chapter.predictions
        kept = ~self._repeats.among(made["prediction_id"], chapter.places)
        forgotten = self._forgotten.among(made["entity"], made["event_time"])
        kept = kept & ~forgotten
        if kept.all():
            return chapter, 0
        predictions = made.filter(kept)
        of_these = chapter.outcomes["prediction_id"].is_in(predictions["prediction_id"].implode())
        usable = replace(
            chapter,
            places=chapter.places.filter(kept),
            predictions=predictions,
            outcomes=chapter.outcomes.filter(of_these).unique("prediction_id", keep="first", maintain_order=True),
            typed=chapter.typed.filter(kept),
        )
        return usable, int(forgotten.sum())

    def _count(self, chapter: Chapter, against: Sorted, begun: int) -> None:
        found = self.found
        ours = against.imported if chapter.number <= begun else 0  # of this import, when it was killed
        found.rows += chapter.read
        found.new += len(against.new) + ours
        found.repeated += len(against.repeated) - ours
        found.left_out += chapter.read - chapter.predictions.height
        found.outcomes += chapter.outcomes.height
        found.saw(chapter.predictions["event_time"])

    def _agreement(self, chapter: Chapter) -> Agreement | None:
        typed, made = chapter.typed.head(_SAMPLE), chapter.predictions.head(_SAMPLE)
        if made.height == 0:
            return None
        scores = self._bundle.score_frame(typed)
        known = np.isfinite(scores.score)
        if not known.any():
            return None
        decisions = None
        if self._bundle.threshold is not None:
            decisions = float((made["decision"].to_numpy() == scores.decision)[known].mean())
        off = float(np.median(np.abs(made["score"].to_numpy() - scores.score)[known]))
        return Agreement(rows=int(known.sum()), decisions=decisions, off=off)

    def _look_at_the_monitor(self) -> None:
        """Up to when windows are judged: rows before are traffic, and no window of theirs is judged any more."""
        ends = [
            datetime.fromisoformat(str(fact.payload["window"]["end"]))
            for fact in self._ledger.facts(kind="check.done", subject=self._model.name)
        ]
        self.found.judged_to = max(ends, default=None)

    def write(self) -> None:
        """Put it into the log, chapter by chapter; those that are there are left alone."""
        done = self._log.chapters
        for chapter in self._chapters():
            if chapter.number <= done:
                continue
            against = self._log.sort_out(chapter.predictions)
            if against.differing:
                places = [(one, chapter.places[one.place] + 1) for one in against.differing]
                raise IdConflict(_conflict(self._source, places))
            new = chapter.predictions[against.new]
            features = self._bundle.features.matrix(chapter.typed[against.new])
            names = [f"f_{name}" for name in self._bundle.features.names]
            new = new.with_columns(
                pl.Series(name, np.ascontiguousarray(features[:, at])) for at, name in enumerate(names)
            )
            self._log.add(chapter.number, new, self._log.unknown(chapter.outcomes))

    def record(self, *, actor: str) -> Fact:
        """The fact, once."""
        found = self.found
        self._crash("before the fact")
        payload = TrafficImported(
            model=found.model,
            version=found.version,
            source=found.source,
            sha256=found.sha256,
            rows=found.new,
            repeated=found.repeated,
            left_out=found.left_out,
            outcomes=found.outcomes,
            start=found.first,
            end=found.last,
            columns=found.columns.to_dict(),
        )
        return self._ledger.append("traffic.imported", found.model, payload, actor=actor, key=self.key)


def import_history(
    project: Project,
    ledger: Ledger,
    clock: Clock,
    *,
    model: Model,
    source: str,
    said: SaidColumns,
    version: int,
    actor: str,
    told: str = "import",
    dry_run: bool = False,
    skip_bad: bool = False,
    crash: Callable[[str], None] = lambda point: None,
    root: Path | None = None,
    chapter_rows: int = CHAPTER_ROWS,
) -> History:
    """Import a file of past predictions as traffic of `version`; the same file and columns again add nothing.

    source: CSV, Parquet or a Delta folder on this machine. told: the source of its outcomes. skip_bad: leave rows out
    that break the contract, or whose id another row of the file has with other content. dry_run: look only.
    Raises ContractViolation with rows and columns, IdConflict where an id is recorded with other content: then nothing
    was written.
    """
    work = _Import(
        project,
        ledger,
        clock,
        model=model,
        source=source,
        said=said,
        version=version,
        told=told,
        crash=crash,
        root=Path.cwd() if root is None else root,
        chapter_rows=chapter_rows,
    )
    before = ledger.keyed(*work.key)
    if before is not None:
        found = work.found
        found.again, found.by, found.at, found.fact = True, before.actor, before.at, before.seq
        found.rows = found.repeated = before.payload["rows"] + before.payload["repeated"]
        return found
    work.look(skip_bad=skip_bad)
    if work.found.rows == work.found.left_out:
        raise ContractViolation(f"{source} has no row that can be imported")
    if not dry_run:
        work.write()
        work.found.fact = work.record(actor=actor).seq
    return work.found


def _sha256(source: str, root: Path) -> str:
    """Of a file's bytes; of several files, of their names and what theirs are."""
    files = sorted(set(local_files(source, root=root)))
    if len(files) == 1:
        return _of_file(files[0])
    whole = hashlib.sha256()
    for path in files:
        whole.update(f"{path.name}\n{_of_file(path)}\n".encode())
    return whole.hexdigest()


def _of_file(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _refusal(source: str, problems: Sequence[Problem]) -> str:
    told = [one.sentence for one in problems[:_SHOWN]]
    if len(problems) > _SHOWN:
        told.append(f"and {len(problems) - _SHOWN} more")
    return f"{source} was not imported: {'; '.join(told)}. Correct the rows, or leave them out with --skip-bad"


def _conflict(source: str, differing: Sequence[tuple[Differing, int]]) -> str:
    told = [
        f"row {row}: {one.prediction_id} is recorded with {one.column} {_shown(one.there)}, not {_shown(one.here)}"
        for one, row in differing[:_SHOWN]
    ]
    if len(differing) > _SHOWN:
        told.append(f"and {len(differing) - _SHOWN:,} rows more")
    return (
        f"{source} was not imported, for what is recorded is not changed: {'; '.join(told)}. Leave those rows out, "
        "or give them ids of their own"
    )


def _shown(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else f"{value!s:.40}"
