"""What each version did, counted: rows, errors, decisions, scoring time. For guardrails and for Prometheus.

Every worker slot writes `.everloop/serving/slot-N.json` once a second, whole and atomically, and starts from what
its predecessor left; `read_counters` adds the slots up. Scores and decisions are in the traffic log as well; errors
and times are only here.
"""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from everloop.errors import TrafficError
from everloop.rollout import LATENCY_EDGES_MS, latency_bin

if TYPE_CHECKING:
    from prometheus_client.core import Metric

__all__ = [
    "Counters",
    "SlotRecord",
    "SlotRouting",
    "VersionCounts",
    "read_counters",
    "read_slots",
    "slot_metrics",
    "spool_metric",
]

_BINS = len(LATENCY_EDGES_MS) + 1
_LATENCY_EDGES_S = tuple(edge / 1000 for edge in LATENCY_EDGES_MS)
_BATCH_EDGES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000)


class VersionCounts(msgspec.Struct, frozen=True, kw_only=True):
    """What one version did since it was first loaded.

    rows: rows it scored. answered: of them, those whose answer was its own. errors: rows it gave no score for.
    decisions: rows it decided positively. latency: shape (len(LATENCY_EDGES_MS) + 1,), rows by the time that the
    batch they were in took to score, in the bins of `everloop.rollout.LATENCY_EDGES_MS`.
    """

    rows: int = 0
    answered: int = 0
    errors: int = 0
    decisions: int = 0
    latency: tuple[int, ...] = (0,) * _BINS

    def __add__(self, other: VersionCounts) -> VersionCounts:
        """Both together."""
        return VersionCounts(
            rows=self.rows + other.rows,
            answered=self.answered + other.answered,
            errors=self.errors + other.errors,
            decisions=self.decisions + other.decisions,
            latency=tuple(one + two for one, two in zip(self.latency, other.latency, strict=True)),
        )


class SlotRouting(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker serves of one model. wanted: the ledger's revision; problem: why it is not served."""

    revision: int
    champion: int | None = None
    challengers: tuple[int, ...] = ()
    wanted: int
    problem: str | None = None


class SlotRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One worker's file.

    batches: by model, batches by their number of rows, one bin more than `_BATCH_EDGES`. unseen: by model and column,
    rows whose category no training row had. refused: by the kind of problem, requests that were not let in.
    """

    slot: int
    pid: int
    at: datetime
    routing: dict[str, SlotRouting] = {}
    requests: dict[str, int] = {}
    versions: dict[str, dict[str, VersionCounts]] = {}
    batches: dict[str, tuple[int, ...]] = {}
    unseen: dict[str, dict[str, int]] = {}
    refused: dict[str, int] = {}


class Counters:
    """A worker's counts. Written by the scoring thread alone, `refused` by the event loop's, read by any."""

    def __init__(self, before: SlotRecord | None = None) -> None:
        """before: what the slot's last worker left."""
        self._versions: dict[tuple[str, int], VersionCounts] = {}
        self._requests: dict[str, int] = {}
        self._batches: dict[str, tuple[int, ...]] = {}
        self._unseen: dict[tuple[str, str], int] = {}
        self._refused: dict[str, int] = {} if before is None else dict(before.refused)
        if before is not None:
            self._requests, self._batches = dict(before.requests), dict(before.batches)
            for model, versions in before.versions.items():
                for version, counts in versions.items():
                    self._versions[model, int(version)] = counts
            for model, columns in before.unseen.items():
                self._unseen |= {(model, column): count for column, count in columns.items()}

    def request(self, model: str, kind: str, status: int) -> None:
        """Count a request that was answered."""
        key = f"{model} {kind} {status}"
        self._requests[key] = self._requests.get(key, 0) + 1

    def refused(self, kind: str) -> None:
        """Count a request that was not let in, by the kind of its problem."""
        self._refused[kind] = self._refused.get(kind, 0) + 1

    def batch(self, model: str, *, rows: int) -> None:
        """Count one batch of rows that were scored together."""
        bins = list(self._batches.get(model, (0,) * (len(_BATCH_EDGES) + 1)))
        bins[bisect_left(_BATCH_EDGES, rows)] += 1
        self._batches[model] = tuple(bins)

    def unseen(self, model: str, column: str, *, rows: int) -> None:
        """Count rows whose value of `column` is a category that the champion's training rows did not have."""
        self._unseen[model, column] = self._unseen.get((model, column), 0) + rows

    def scored(
        self, model: str, version: int, *, rows: int, errors: int, decisions: int, answered: int, took_s: float
    ) -> None:
        """Count one batch that `version` scored."""
        latency = [0] * _BINS
        latency[latency_bin(took_s * 1000.0)] = rows
        seen = VersionCounts(rows=rows, answered=answered, errors=errors, decisions=decisions, latency=tuple(latency))
        self._versions[model, version] = self._versions.get((model, version), VersionCounts()) + seen

    def record(self, *, slot: int, at: datetime, routing: Mapping[str, SlotRouting]) -> SlotRecord:
        """The counts as they are now."""
        versions: dict[str, dict[str, VersionCounts]] = {}
        for (model, version), counts in list(self._versions.items()):
            versions.setdefault(model, {})[str(version)] = counts
        unseen: dict[str, dict[str, int]] = {}
        for (model, column), rows in list(self._unseen.items()):
            unseen.setdefault(model, {})[column] = rows
        return SlotRecord(
            slot=slot,
            pid=os.getpid(),
            at=at,
            routing=dict(routing),
            requests=dict(self._requests),
            versions=versions,
            batches=dict(self._batches),
            unseen=unseen,
            refused=dict(self._refused),
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
        for version, counts in record.versions.get(model, {}).items():
            total[int(version)] = total.get(int(version), VersionCounts()) + counts
    return total


def slot_metrics(records: list[SlotRecord]) -> Iterator[Metric]:
    """The slots' counts as Prometheus's families."""
    # who reads the counts, such as `status`, needs no part of the endpoint
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

    labels = ["slot", "model", "version"]
    counters = {
        name: CounterMetricFamily(f"everloop_{name}", text, labels=labels)
        for name, text in (
            ("rows", "Rows a version scored"),
            ("answered", "Rows a version answered"),
            ("errors", "Rows a version gave no score for"),
            ("decisions", "Rows a version decided positively"),
        )
    }
    latency = HistogramMetricFamily("everloop_score_seconds", "Time of the batch a row was scored in", labels=labels)
    requests = CounterMetricFamily("everloop_requests", "Requests", labels=["slot", "model", "route", "status"])
    revision = GaugeMetricFamily("everloop_routing_revision", "Routing served", labels=["slot", "model"])
    batches = HistogramMetricFamily("everloop_batch_rows", "Rows that were scored together", labels=["slot", "model"])
    unseen = CounterMetricFamily(
        "everloop_unseen_categories", "Rows with a category unknown to training", labels=["slot", "model", "column"]
    )
    refused = CounterMetricFamily("everloop_refused", "Requests that were not let in", labels=["slot", "problem"])
    for record in records:
        slot = str(record.slot)
        for kind, count in record.refused.items():
            refused.add_metric([slot, kind], count)
        for model, columns in record.unseen.items():
            for column, count in columns.items():
                unseen.add_metric([slot, model, column], count)
        for key, count in record.requests.items():
            requests.add_metric([slot, *key.split(" ")], count)
        for model, routing in record.routing.items():
            revision.add_metric([slot, model], routing.revision)
        for model, bins in record.batches.items():
            batches.add_metric([slot, model], _buckets(bins, _BATCH_EDGES), None)
        for model, versions in record.versions.items():
            for version, counts in versions.items():
                for name, family in counters.items():
                    family.add_metric([slot, model, version], getattr(counts, name))
                latency.add_metric([slot, model, version], _buckets(counts.latency, _LATENCY_EDGES_S), None)
    yield from (*counters.values(), latency, batches, requests, revision, unseen, refused)


def spool_metric(rows: int) -> Metric:
    """How far the log is behind: rows of all slots that wait in the spool."""
    from prometheus_client.core import GaugeMetricFamily

    return GaugeMetricFamily("everloop_spool_rows", "Recorded rows on their way to the log, of all slots", value=rows)


def _buckets(bins: Sequence[int], edges: Sequence[float]) -> list[Any]:
    """bins: one more than there are edges, each up to and with its edge."""
    total, buckets = 0, []
    for edge, count in zip([*(f"{edge:g}" for edge in edges), "+Inf"], bins, strict=True):
        total += count
        buckets.append((edge, total))
    return buckets
