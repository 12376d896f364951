"""What each version did, counted: rows, errors, decisions, scores, scoring time. For guardrails and for Prometheus.

Every worker slot writes `.everloop/serving/slot-N.json` once a second, whole and atomically, and starts from what
its predecessor left; `read_counters` adds the slots up. Scores and decisions are in the traffic log as well; errors
and times are only here. What is counted is counted once a batch.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from everloop.errors import TrafficError
from everloop.rollout import LATENCY_EDGES_MS, latency_bin
from everloop.serving.histogram import Bins, Histogram
from everloop.serving.requests import Requests

if TYPE_CHECKING:
    import numpy as np

__all__ = [
    "BATCH_EDGES",
    "Counters",
    "Moment",
    "ScoreBins",
    "SlotRecord",
    "SlotRouting",
    "VersionCounts",
    "read_counters",
    "read_slots",
]

Role = Literal["champion", "challenger"]

_BINS = len(LATENCY_EDGES_MS) + 1
BATCH_EDGES: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000)


class VersionCounts(msgspec.Struct, frozen=True, kw_only=True):
    """What one version did since it was first loaded.

    rows: rows it scored. answered: of them, those whose answer was its own. errors: rows it gave no score for.
    decisions: rows it decided positively. latency: shape (len(LATENCY_EDGES_MS) + 1,), rows by the time that the
    batch they were in took to score, in the bins of `everloop.rollout.LATENCY_EDGES_MS`; took_s: these times' sum.
    """

    rows: int = 0
    answered: int = 0
    errors: int = 0
    decisions: int = 0
    latency: tuple[int, ...] = (0,) * _BINS
    took_s: float = 0.0

    def __add__(self, other: VersionCounts) -> VersionCounts:
        """Both together."""
        return VersionCounts(
            rows=self.rows + other.rows,
            answered=self.answered + other.answered,
            errors=self.errors + other.errors,
            decisions=self.decisions + other.decisions,
            latency=tuple(one + two for one, two in zip(self.latency, other.latency, strict=True)),
            took_s=self.took_s + other.took_s,
        )


class ScoreBins(msgspec.Struct, frozen=True, kw_only=True):
    """A version's scores by their size: the upper edges of the bins, and what is in them."""

    edges: tuple[float, ...]
    bins: Bins


class SlotRouting(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker serves of one model. wanted: the ledger's revision; problem: why it is not served."""

    revision: int
    champion: int | None = None
    challengers: tuple[int, ...] = ()
    wanted: int
    problem: str | None = None


class Moment(msgspec.Struct, frozen=True, kw_only=True):
    """What holds of a worker just now, and means nothing once it has ended.

    began_s: when its process began, seconds since 1970; with its number that names it. looked_s: its last look into the
    ledger that was answered, on the machine's monotonic clock. waiting, waiting_bytes: requests that wait to be scored.
    process: what Prometheus's client tells of a process, by name.
    """

    began_s: float
    looked_s: float | None = None
    waiting: int = 0
    waiting_bytes: int = 0
    process: dict[str, float] = {}


class SlotRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One worker's file.

    requests, problems, refused_rows, durations: see `Requests`. versions: by model, then by version and role with a
    space between (a file of earlier has the version alone). batch_rows: by model, batches by their number of rows.
    unseen: by model and column, rows whose category no training row had. scores: by model and version. lost_lines: of
    the access log. refused: by the kind of problem, requests that were not let in.
    """

    slot: int
    pid: int
    at: datetime
    routing: dict[str, SlotRouting] = {}
    requests: dict[str, int] = {}
    problems: dict[str, int] = {}
    refused_rows: dict[str, int] = {}
    durations: dict[str, Bins] = {}
    versions: dict[str, dict[str, VersionCounts]] = {}
    batch_rows: dict[str, Bins] = {}
    unseen: dict[str, dict[str, int]] = {}
    refused: dict[str, int] = {}
    scores: dict[str, dict[str, ScoreBins]] = {}
    lost_lines: int = 0
    moment: Moment | None = None


class Counters:
    """A worker's counts. Written by whoever scores, `refused` by the event loop; read by any thread."""

    def __init__(self, before: SlotRecord | None = None) -> None:
        """before: what the slot's last worker left."""
        self._versions: dict[tuple[str, int, str], _Tally] = {}
        self._batches: dict[str, Histogram] = {}
        self._unseen: dict[tuple[str, str], int] = {}
        self._scores: dict[tuple[str, int], Histogram] = {}
        self._refused: dict[str, int] = {} if before is None else dict(before.refused)
        if before is None:
            return
        for model, bins in before.batch_rows.items():
            self._batches[model] = Histogram(BATCH_EDGES, bins)
        for model, versions in before.versions.items():
            for key, counts in versions.items():
                version, _, role = key.partition(" ")
                self._versions[model, int(version), role] = _Tally(counts)
        for model, scores in before.scores.items():
            for version, found in scores.items():
                self._scores[model, int(version)] = Histogram(found.edges, found.bins)
        for model, columns in before.unseen.items():
            self._unseen |= {(model, column): count for column, count in columns.items()}

    def refused(self, kind: str) -> None:
        """Count a request that was not let in, by the kind of its problem."""
        self._refused[kind] = self._refused.get(kind, 0) + 1

    def batch(self, model: str, *, rows: int) -> None:
        """Count one batch of rows that were scored together."""
        found = self._batches.get(model)
        if found is None:
            found = self._batches[model] = Histogram(BATCH_EDGES)
        found.add(rows)

    def unseen(self, model: str, column: str, *, rows: int) -> None:
        """Count rows whose value of `column` is a category that the champion's training rows did not have."""
        self._unseen[model, column] = self._unseen.get((model, column), 0) + rows

    def scored(
        self,
        model: str,
        version: int,
        *,
        role: Role = "champion",
        rows: int,
        errors: int,
        decisions: int,
        answered: int,
        took_s: float | None,
    ) -> None:
        """Count one batch that `version` scored. role: which it had then.

        took_s: None where another server took the time and did not say it.
        """
        key = (model, version, role)
        tally = self._versions.get(key)
        if tally is None:
            tally = self._versions[key] = _Tally(VersionCounts())
        tally.rows += rows
        tally.answered += answered
        tally.errors += errors
        tally.decisions += decisions
        if took_s is not None:
            tally.latency[latency_bin(took_s * 1000.0)] += rows
            tally.took_s += took_s * rows

    def scores(
        self, model: str, version: int, values: np.ndarray[Any, np.dtype[Any]], *, edges: tuple[float, ...]
    ) -> None:
        """Count a batch's scores by their size. values: shape (n,), all finite. edges: always the same of a version."""
        found = self._scores.get((model, version))
        if found is None or (found.edges is not edges and found.edges != edges):
            found = self._scores[model, version] = Histogram(edges)
        found.add_many(values)

    def record(
        self,
        *,
        slot: int,
        at: datetime,
        routing: Mapping[str, SlotRouting],
        requests: Requests | None = None,
        lost_lines: int = 0,
        moment: Moment | None = None,
    ) -> SlotRecord:
        """The counts as they are now, with those of the requests."""
        versions: dict[str, dict[str, VersionCounts]] = {}
        for (model, version, role), tally in list(self._versions.items()):
            versions.setdefault(model, {})[f"{version} {role}".rstrip()] = tally.counts()
        scores: dict[str, dict[str, ScoreBins]] = {}
        for (model, version), found in list(self._scores.items()):
            scores.setdefault(model, {})[str(version)] = ScoreBins(edges=found.edges, bins=found.bins())
        unseen: dict[str, dict[str, int]] = {}
        for (model, column), rows in list(self._unseen.items()):
            unseen.setdefault(model, {})[column] = rows
        asked = Requests() if requests is None else requests
        return SlotRecord(
            slot=slot,
            pid=os.getpid(),
            at=at,
            routing=dict(routing),
            requests=asked.statuses(),
            problems=asked.problems(),
            refused_rows=asked.refused_rows(),
            durations=asked.durations(),
            versions=versions,
            batch_rows={model: found.bins() for model, found in list(self._batches.items())},
            unseen=unseen,
            refused=dict(self._refused),
            scores=scores,
            lost_lines=lost_lines,
            moment=moment,
        )


class _Tally:
    """A version's counts while they grow: lists that are written in place cost a tenth of records that are added."""

    __slots__ = ("answered", "decisions", "errors", "latency", "rows", "took_s")

    def __init__(self, before: VersionCounts) -> None:
        self.rows = before.rows
        self.answered = before.answered
        self.errors = before.errors
        self.decisions = before.decisions
        self.latency = list(before.latency)
        self.took_s = before.took_s

    def counts(self) -> VersionCounts:
        return VersionCounts(
            rows=self.rows,
            answered=self.answered,
            errors=self.errors,
            decisions=self.decisions,
            latency=tuple(self.latency),
            took_s=self.took_s,
        )


def slot_path(folder: Path, slot: int) -> Path:
    """The file of a slot in `.everloop/serving`."""
    return folder / f"slot-{slot}.json"


def write_slot(folder: Path, record: SlotRecord) -> None:
    """Replace the slot's file, whole or not at all."""
    path = slot_path(folder, record.slot)
    beside = path.with_suffix(".tmp")
    beside.write_bytes(msgspec.json.encode(record))
    beside.replace(path)


def read_slot(path: Path) -> SlotRecord | None:
    """What a slot's file says; None where there is none. Raises TrafficError where it cannot be read."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=SlotRecord)
    except FileNotFoundError:
        return None
    except msgspec.MsgspecError as error:
        raise TrafficError(f"{path} is not a worker's counters ({error}); delete it, it is written anew") from error


def read_slots(state: Path) -> list[SlotRecord]:
    """Every slot's record, by slot; also of workers that run no more. state: the folder `.everloop`."""
    found = [read_slot(path) for path in sorted((state / "serving").glob("slot-*.json"))]
    return [record for record in found if record is not None]


def read_counters(state: Path, model: str) -> dict[int, VersionCounts]:
    """Counts of each version of `model`, all slots together. state: the folder `.everloop`."""
    total: dict[int, VersionCounts] = {}
    for record in read_slots(state):
        for key, counts in record.versions.get(model, {}).items():
            version = int(key.partition(" ")[0])
            total[version] = total.get(version, VersionCounts()) + counts
    return total
