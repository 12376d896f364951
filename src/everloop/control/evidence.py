"""What is known of a rollout that goes on: guardrails over all rows both sides scored, and the paired comparison."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from msgspec import UnsetType

from everloop.bundle import BundleStore
from everloop.clock import Clock
from everloop.errors import NotFound
from everloop.ledger import Ledger
from everloop.monitoring import PairedComparison, paired_rows
from everloop.project import Model, Project
from everloop.rollout import Comparison, Evidence, PairedCounts, Rollout, judge, load_rollout
from everloop.traffic import TrafficLog, traffic_root

__all__ = ["RolloutEvidence", "champions_bound", "rollout_now"]

# By then all that was answered on a day has been moved to the log, also after a crash.
_SETTLED = timedelta(hours=2)
_DAY = timedelta(days=1)
_MOMENT = timedelta(microseconds=1)
# The comparison counts whole steps of so long; between two of them it could only say what it said.
_COMPARE_EVERY = timedelta(hours=6)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def rollout_now(
    project: Project, ledger: Ledger, clock: Clock, *, model: str | None = None
) -> tuple[Rollout, Evidence]:
    """The rollout that goes on, and what is known of it now; looking changes nothing (law 6). Raises NotFound."""
    chosen = project.model(model)
    rollout = load_rollout(ledger, chosen.name)
    if rollout is None:
        raise NotFound(f"no rollout of {chosen.name} goes on; 'everloop rollout list' shows those that ended")
    log = TrafficLog(traffic_root(project), chosen.name)
    bound = champions_bound(project, ledger, rollout)
    return rollout, RolloutEvidence(project, chosen, log, rollout, bound=bound).look(clock.now())


def champions_bound(project: Project, ledger: Ledger, rollout: Rollout) -> float | None:
    """Where the champion's errors are cut, in the target's unit; None of what is no regression."""
    version = ledger.version(rollout.model, rollout.champion)
    bound = BundleStore.of(project).manifest(version.bundle).error_bound
    return None if isinstance(bound, UnsetType) else bound


class RolloutEvidence:
    """The evidence of one rollout, looked at again and again; days that are over are counted once.

    bound: of errors, which is the unit of scores too; see `champions_bound`.
    """

    def __init__(
        self, project: Project, model: Model, log: TrafficLog, rollout: Rollout, *, bound: float | None = None
    ) -> None:
        self._project = project
        self._model = model
        self._log = log
        self._bound = bound
        self.rollout = rollout
        self._settled: dict[datetime, PairedCounts] = {}
        self._others: tuple[int, PairedCounts] | None = None
        self._comparison: PairedComparison | None = None
        self._compared_at: int | None = None
        self._compared_since: datetime | None = None
        self._last: Comparison | None = None

    def look(self, now: datetime) -> Evidence:
        """Everything known at `now`; rows dated ahead of it count when their time comes.

        Without a row that came since the rollout started every rule is undecided: nothing seen is no proof.
        """
        span, since = self._log.span(now), self.rollout.started_at
        if span is not None and span[1] >= since:
            return self._evidence(since, now, span[1])
        last = self._log.last_recorded()
        if span is None or last is None or last <= since:
            return Evidence(guardrails=judge(self._model.rollout.stop_if, PairedCounts()))
        # What came since carries the event times of other years: old traffic, sent through on today's clock.
        return self._evidence(None, now, span[1])

    def _evidence(self, since: datetime | None, now: datetime, newest: datetime) -> Evidence:
        counts = self._with_latency(self._counts(since, now))
        return Evidence(
            guardrails=judge(self._model.rollout.stop_if, counts), comparison=self._compared(since, now, newest)
        )

    def _counts(self, since: datetime | None, now: datetime) -> PairedCounts:
        if since is None:
            version = self._log.version[0]
            if self._others is None or self._others[0] != version:
                self._others = (version, self._between(None, now + _MOMENT))
            return self._others[1]
        total = PairedCounts()
        start = since
        while start <= now:
            end = datetime(start.year, start.month, start.day, tzinfo=UTC) + _DAY
            counted = self._settled.get(start)
            if counted is None:
                counted = self._between(start, min(end, now + _MOMENT))
                if end + _SETTLED <= now:
                    self._settled[start] = counted
            total += counted
            start = end
        return total

    def _between(self, start: datetime | None, end: datetime | None) -> PairedCounts:
        rows = paired_rows(
            self._log, challenger=self.rollout.challenger, champion=self.rollout.champion, since=start, until=end
        )
        return PairedCounts.of(
            champion_score=rows.champion_score,
            challenger_score=rows.challenger_score,
            champion_decision=rows.champion_decision,
            challenger_decision=rows.challenger_decision,
            unit=1.0 if self._bound is None else self._bound,
        )

    def _with_latency(self, counts: PairedCounts) -> PairedCounts:
        """The times are the endpoint's own to know; nothing is read where no rule asks."""
        if not any(rule.kind == "latency" for rule in self._model.rollout.stop_if):
            return counts
        from everloop.serving import read_counters

        served = read_counters(self._project, self._model.name)
        champion, challenger = served.get(self.rollout.champion), served.get(self.rollout.challenger)
        if champion is None or challenger is None:
            return counts
        return replace(counts, champion_latency=champion.latency, challenger_latency=challenger.latency)

    def _compared(self, since: datetime | None, now: datetime, newest: datetime) -> Comparison | None:
        every = min(_COMPARE_EVERY, self._model.monitor.every)
        step = (min(now - self._model.outcome.delay, newest) - _EPOCH) // every
        if step != self._compared_at:
            self._compared_at = step
            self._last = self._looked(since, now)
        return self._last

    def _looked(self, since: datetime | None, now: datetime) -> Comparison | None:
        if self._comparison is None or self._compared_since != since:
            self._compared_since = since
            self._comparison = PairedComparison(
                self._model,
                self._log,
                challenger=self.rollout.challenger,
                champion=self.rollout.champion,
                since=since,
                bound=self._bound,
            )
        seen = self._comparison.look(now)
        if not self._comparison.has_matured:
            return None
        return Comparison(outcome=seen.outcome, sentence=seen.sentence)
