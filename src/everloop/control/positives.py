"""How many positives of a change a training could learn from."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from everloop.monitoring.reading import matured_rows
from everloop.project import Model
from everloop.traffic import TrafficLog

__all__ = ["ChangedPositives", "fitted_until"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def fitted_until(model: Model, as_of: datetime, data_start: datetime | None) -> datetime:
    """About the event time up to which a run at `as_of` is fitted; what is newer validates and tests.

    data_start: when the first row of all happened, where it is known. Rows are taken to come evenly, so it is near
    to where `retrain_split` will cut, and is known without reading them.
    """
    newest = as_of - model.outcome.delay
    span = model.train.window
    if data_start is not None:
        known = max(newest - data_start, timedelta(0))
        span = known if span is None else min(span, known)
    return newest if span is None else newest - span * model.train.holdout


@dataclass(frozen=True, slots=True)
class ChangedPositives:
    """Counts, each made once: what was known at a time does not change by looking later."""

    _known: dict[tuple[str, datetime, datetime], int] = field(default_factory=dict)

    def count(
        self, model: Model, log: TrafficLog, *, since: datetime, as_of: datetime, data_start: datetime | None
    ) -> int:
        """Positives of event time ≥ `since` that a run at `as_of` could be fitted on: known then, none held out."""
        end = fitted_until(model, as_of, data_start)
        if end <= since:
            return 0
        key = (model.name, since, as_of)
        if key not in self._known:
            self._known[key] = matured_rows(log, model, start=since, end=end, as_of=as_of).positives
        return self._known[key]

    @staticmethod
    def step(model: Model, now: datetime) -> datetime:
        """The last whole window, or hour where windows are shorter: it is counted anew no more often."""
        every = max(model.monitor.every, timedelta(hours=1))
        return _EPOCH + (now - _EPOCH) // every * every
