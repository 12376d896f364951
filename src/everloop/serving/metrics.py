"""What all workers of one machine counted, as Prometheus's text.

Whichever worker a scrape reaches gives the numbers of all of them: it writes its own file first and then reads every
slot's, so that a later scrape, wherever it ends up, never sees a counter go back. Counts of workers that ended stay in
the sums, since the slot's next worker goes on from them; what holds only of a moment is told of living workers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, Final

from everloop.rollout import LATENCY_EDGES_MS
from everloop.serving.counters import BATCH_EDGES, ScoreBins, SlotRecord, VersionCounts
from everloop.serving.histogram import Bins
from everloop.serving.requests import DURATION_EDGES_S

if TYPE_CHECKING:
    from prometheus_client.core import Metric

    from everloop.traffic import Pending

__all__ = ["metrics_text"]

_LATENCY_EDGES_S: Final = tuple(edge / 1000 for edge in LATENCY_EDGES_MS)
_NEWEST: Final = 5  # versions that are shown beside those that answer or are tried, of each model
_OF_VERSIONS: Final = (
    ("everloop_scored_rows", "Rows a version scored", "rows"),
    ("everloop_answered_rows", "Rows whose answer was this version's", "answered"),
    ("everloop_unscored_rows", "Rows a version gave no score for", "errors"),
    ("everloop_positive_decisions", "Rows a version decided positively", "decisions"),
)


def metrics_text(
    records: Sequence[SlotRecord], living: Sequence[SlotRecord], *, pending: Pending | None, now_us: int
) -> tuple[bytes, str]:
    """The text and its content type.

    records: of every slot there ever was. living: of them, those whose worker runs. pending: what waits in the spool;
    None where nobody counted it yet. now_us: the project's time.
    """
    from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

    registry = CollectorRegistry()
    refused = [((kind,), count) for kind, count in sorted(_summed(records, lambda one: one.refused).items())]
    families = [
        *_request_families(records),
        _counter("everloop_refused", "Requests that were not let in, by the kind of problem", ("problem",), refused),
        *_version_families(records, living),
        *_model_families(records, living),
        *_moment_families(living),
        *_spool_families(pending, now_us),
        _counter(
            "everloop_access_log_lost_lines",
            "Lines of the access log that were lost",
            (),
            [((), sum(r.lost_lines for r in records))],
        ),
        _gauge(
            "everloop_build_info", "1, with the version of everloop that answers", ("version",), [((_version(),), 1)]
        ),
    ]
    registry.register(_Families(families))
    return generate_latest(registry), CONTENT_TYPE_LATEST


class _Families:
    """Families as a Prometheus collector."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = tuple(families)

    def collect(self) -> Iterable[Metric]:
        return self._families


Labelled = Iterable[tuple[tuple[str, ...], float]]


def _counter(name: str, text: str, labels: tuple[str, ...], values: Labelled) -> Metric:
    # who reads the counts, such as `status`, needs no part of the endpoint
    from prometheus_client.core import CounterMetricFamily

    family = CounterMetricFamily(name, text, labels=labels)
    for where, value in values:
        family.add_metric(where, value)
    return family


def _gauge(name: str, text: str, labels: tuple[str, ...], values: Labelled) -> Metric:
    from prometheus_client.core import GaugeMetricFamily

    family = GaugeMetricFamily(name, text, labels=labels)
    for where, value in values:
        family.add_metric(where, value)
    return family


def _histogram(
    name: str, text: str, labels: tuple[str, ...], found: Iterable[tuple[tuple[str, ...], Sequence[float], Bins]]
) -> Metric:
    from prometheus_client.core import HistogramMetricFamily

    family = HistogramMetricFamily(name, text, labels=labels)
    for where, edges, bins in found:
        family.add_metric(where, _buckets(bins.counts, edges), bins.total)
    return family


def _buckets(counts: Sequence[int], edges: Sequence[float]) -> list[Any]:
    total, buckets = 0, []
    for edge, count in zip([*(f"{edge:g}" for edge in edges), "+Inf"], counts, strict=True):
        total += count
        buckets.append((edge, total))
    return buckets


def _summed(records: Iterable[SlotRecord], of: Callable[[SlotRecord], Mapping[str, Any]]) -> dict[str, Any]:
    """The slots' values of each key, added up."""
    total: dict[str, Any] = {}
    for record in records:
        for key, value in of(record).items():
            total[key] = value if key not in total else total[key] + value
    return total


def _request_families(records: Sequence[SlotRecord]) -> Iterator[Metric]:
    # keys are model, route, and what is counted
    def split(of: Callable[[SlotRecord], Mapping[str, Any]]) -> list[tuple[tuple[str, ...], Any]]:
        return [(tuple(key.split(" ")), value) for key, value in sorted(_summed(records, of).items())]

    where = ("model", "route")
    yield _counter("everloop_requests", "Requests answered", (*where, "status"), split(lambda one: one.requests))
    yield _counter(
        "everloop_problems",
        "Requests answered with a problem, by its kind",
        (*where, "kind"),
        split(lambda one: one.problems),
    )
    yield _counter(
        "everloop_refused_rows", "Rows of requests that were not taken", where, split(lambda one: one.refused_rows)
    )
    yield _histogram(
        "everloop_request_duration_seconds",
        "Time from a request's head to its answer",
        where,
        [(key, DURATION_EDGES_S, bins) for key, bins in split(lambda one: one.durations)],
    )


def _version_families(records: Sequence[SlotRecord], living: Sequence[SlotRecord]) -> Iterator[Metric]:
    labels = ("model", "version", "role")
    counts: dict[tuple[str, str, str], VersionCounts] = {}
    for record in records:
        for model, versions in record.versions.items():
            for key, found in versions.items():
                number, _, role = key.partition(" ")
                where = (model, number, role)
                counts[where] = found if where not in counts else counts[where] + found
    shown = _shown({(model, int(number)) for model, number, _ in counts}, living)
    told = sorted((where, found) for where, found in counts.items() if (where[0], int(where[1])) in shown)
    for name, text, field in _OF_VERSIONS:
        yield _counter(name, text, labels, [(where, getattr(found, field)) for where, found in told])
    yield _histogram(
        "everloop_score_seconds",
        "Time that the batch of a row took a version to score",
        labels,
        [(where, _LATENCY_EDGES_S, Bins(counts=found.latency, total=found.took_s)) for where, found in told],
    )
    yield _histogram(
        "everloop_score",
        "Scores a version gave",
        ("model", "version"),
        [
            ((model, str(number)), found.edges, found.bins)
            for (model, number), found in _scores(records)
            if (model, number) in shown
        ],
    )


def _scores(records: Sequence[SlotRecord]) -> list[tuple[tuple[str, int], ScoreBins]]:
    total: dict[tuple[str, int], ScoreBins] = {}
    for record in sorted(records, key=lambda record: record.at, reverse=True):
        for model, versions in record.scores.items():
            for number, found in versions.items():
                where = (model, int(number))
                known = total.setdefault(where, found)
                # an everloop of earlier may have cut otherwise; its counts cannot be added to these
                if known is not found and known.edges == found.edges:
                    total[where] = ScoreBins(edges=known.edges, bins=known.bins + found.bins)
    return sorted(total.items())


def _shown(counted: set[tuple[str, int]], living: Sequence[SlotRecord]) -> set[tuple[str, int]]:
    """Versions worth their series: those that answer or are tried, and of each model the newest besides."""
    shown = {(model, number) for record in living for model, number, _ in _roles(record)}
    for model in {model for model, _ in counted}:
        others = sorted(number for name, number in counted if name == model and (model, number) not in shown)
        shown |= {(model, number) for number in others[-_NEWEST:]}
    return shown


def _roles(record: SlotRecord) -> Iterator[tuple[str, int, str]]:
    for model, routing in record.routing.items():
        if routing.champion is not None:
            yield model, routing.champion, "champion"
        for number in routing.challengers:
            yield model, number, "challenger"


def _model_families(records: Sequence[SlotRecord], living: Sequence[SlotRecord]) -> Iterator[Metric]:
    batches = sorted(_summed(records, lambda one: one.batch_rows).items())
    yield _histogram(
        "everloop_batch_rows",
        "Rows that were scored together",
        ("model",),
        [((model,), BATCH_EDGES, bins) for model, bins in batches],
    )
    unseen: dict[tuple[str, str], int] = {}
    for record in records:
        for model, columns in record.unseen.items():
            for column, count in columns.items():
                unseen[model, column] = unseen.get((model, column), 0) + count
    yield _counter(
        "everloop_unseen_categories",
        "Rows with a category unknown to training",
        ("model", "column"),
        sorted(unseen.items()),
    )
    yield from _routing_families(living)


def _routing_families(living: Sequence[SlotRecord]) -> Iterator[Metric]:
    """What every living worker serves at least."""
    ready: dict[tuple[str, ...], int] = {}
    served: dict[tuple[str, ...], int] = {}
    wanted: dict[tuple[str, ...], int] = {}
    for record in living:
        for model, routing in record.routing.items():
            where = (model,)
            ready[where] = min(ready.get(where, 1), int(routing.champion is not None))
            served[where] = min(served.get(where, routing.revision), routing.revision)
            wanted[where] = max(wanted.get(where, 0), routing.wanted)
    live = {(model, str(number), role) for record in living for model, number, role in _roles(record)}
    by = ("model",)
    yield _gauge(
        "everloop_model_ready", "1 where every worker has a champion to answer with", by, sorted(ready.items())
    )
    yield _gauge("everloop_routing_revision", "Routing that every worker serves", by, sorted(served.items()))
    yield _gauge("everloop_routing_wanted_revision", "Routing that the ledger says", by, sorted(wanted.items()))
    yield _gauge(
        "everloop_live_version",
        "1 for each version that scores",
        ("model", "version", "role"),
        [(one, 1) for one in sorted(live)],
    )


def _moment_families(living: Sequence[SlotRecord]) -> Iterator[Metric]:
    moments = [(str(record.slot), record.moment) for record in living if record.moment is not None]
    now_s = time.monotonic()
    yield _gauge("everloop_workers", "Processes that answer", (), [((), len(living))])
    yield _gauge(
        "everloop_waiting_requests",
        "Requests that wait to be scored",
        (),
        [((), sum(one.waiting for _, one in moments))],
    )
    yield _gauge(
        "everloop_waiting_bytes",
        "Bodies that wait to be scored",
        (),
        [((), sum(one.waiting_bytes for _, one in moments))],
    )
    looks = [max(0.0, now_s - one.looked_s) for _, one in moments if one.looked_s is not None]
    if looks:
        text = "Time since the ledger last told its routings and keys; of the worker that has waited longest"
        yield _gauge("everloop_ledger_look_age_seconds", text, (), [((), max(looks))])
    for name in sorted({name for _, one in moments for name in one.process}):
        values = [((slot,), one.process[name]) for slot, one in moments if name in one.process]
        if name.endswith("_total"):
            yield _counter(name, "Of a worker's process, by slot", ("slot",), values)
        else:
            yield _gauge(name, "Of a worker's process, by slot", ("slot",), values)


def _spool_families(pending: Pending | None, now_us: int) -> Iterator[Metric]:
    """How far the log is behind."""
    if pending is None:
        return
    age_s = 0.0 if pending.oldest_us is None else max(0.0, (now_us - pending.oldest_us) / 1e6)
    yield _gauge("everloop_spool_rows", "Recorded rows on their way to the log", (), [((), pending.rows)])
    yield _gauge("everloop_spool_bytes", "Their size in the spool", (), [((), pending.size_bytes)])
    yield _gauge("everloop_spool_age_seconds", "How long the oldest of them has waited", (), [((), age_s)])


def _version() -> str:
    try:
        return version("everloop")
    except PackageNotFoundError:  # run from a folder that was never installed
        return "unknown"
