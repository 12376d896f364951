"""A project with a trained champion whose life goes on day by day under a controller, without any endpoint."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from everloop.bundle import Bundle
from everloop.clock import SimulatedClock
from everloop.control import Controller, Resources
from everloop.data import EVENT_TIME
from everloop.experiment import approve
from everloop.ledger import Ledger
from everloop.production import start_training
from everloop.project import Project
from everloop.rollout import assign_many, load_routing
from everloop.traffic import Mover, OutcomeRecord, PredictionBatch, Spool, row_digest

from ..experiment.made import opened, project
from ..production.shop import add_spec

HISTORY_DAYS = 20
ROWS_PER_DAY = 400
BEGIN = datetime(2024, 2, 26, tzinfo=UTC)  # a Monday
DAY = timedelta(days=1)
LIFE = """\
outcome: {{delay: 1d, absent: negative}}
train: {{window: 15d, holdout: 25%{schedule}}}
gates: [recall >= 0.30]
rollout: {{steps: [shadow 12h, 50% 12h], stop if: [decision share moves > 60%]}}
monitor: {{every: 1d, false_alarms: 1 per 30d, checks: [recall]}}
on_alert: {on_alert}
"""


def life(*, on_alert: str = "notify", schedule: str | None = None) -> str:
    return LIFE.format(on_alert=on_alert, schedule="" if schedule is None else f', schedule: "{schedule}"')


def make(root: Path, more: str) -> Project:
    """The project with an approved `fraud-s1`, not trained yet."""
    days = [rows_of(BEGIN - DAY * k, rows=ROWS_PER_DAY, changed=False) for k in range(HISTORY_DAYS, 0, -1)]
    found, model = project(root, pl.concat(days).drop(EVENT_TIME), more=more)
    add_spec(model, 1)
    with Ledger.open(found, clock=SimulatedClock(BEGIN)) as ledger:
        assert found.state.is_dir()
        approve(found, model, "fraud-s1", by="alice", ledger=ledger)
    return opened(root)[0]


def train_first(resources: Resources) -> None:
    assert resources.engine is not None
    model = resources.model("fraud")
    handle = start_training(
        resources.engine,
        resources.pipeline,
        resources.ledger,
        model=model,
        as_of=resources.clock.now(),
        actor="alice",
        run_id="r-first",
    )
    result = resources.engine.wait(handle.run_id)
    assert result.status == "finished", result.sentence


def rows_of(day: datetime, *, rows: int, changed: bool) -> pl.DataFrame:
    """A day's payments; once the world changed, fraud looks the other way round."""
    rng = np.random.default_rng([7, (day - BEGIN).days + 1000])
    x = rng.standard_normal((rows, 4))
    sign = -1.0 if changed else 1.0
    risk = -np.abs(x[:, 0] - 1.5 * sign) - np.abs(x[:, 1] + sign) + 0.1 * rng.standard_normal(rows)
    step = DAY / rows
    times = [day + step * at for at in range(rows)]
    return pl.DataFrame(
        {
            "payment": [f"{day:%Y%m%d}-{at}" for at in range(rows)],
            "paid_at": times,
            **{f"v{at}": x[:, at] for at in range(4)},
            "amount": np.exp(3 + rng.standard_normal(rows)),
            "fraud": (risk > -1.2).astype(np.int64),
            EVENT_TIME: pl.Series(times).cast(pl.Datetime("us", "UTC")),
        }
    )


@dataclass
class Town:
    """Time goes by in ticks of six hours."""

    resources: Resources
    clock: SimulatedClock
    controller: Controller
    rows_per_day: int = ROWS_PER_DAY
    changed_from: datetime | None = None
    said: list[tuple[datetime, str]] = field(default_factory=list)
    _bundles: dict[int, Bundle] = field(default_factory=dict)

    @property
    def ledger(self) -> Ledger:
        return self.resources.ledger

    def kinds(self) -> list[str]:
        return [fact.kind for fact in self.ledger.facts()]

    def days(self, n: int) -> None:
        for _ in range(n):
            self.day()

    def until(self, kind: str, *, days: int, count: int = 1) -> None:
        """Days go by until there are so many such facts."""
        for _ in range(days):
            if len(self.ledger.facts(kind=kind)) >= count:
                return
            self.day()
        assert len(self.ledger.facts(kind=kind)) >= count, "\n".join(f"{at:%m-%d %H} {what}" for at, what in self.said)

    def day(self) -> None:
        start = self.clock.now()
        changed = self.changed_from is not None and start >= self.changed_from
        frame = rows_of(start, rows=self.rows_per_day, changed=changed)
        for quarter in range(4):
            begin, end = start + DAY / 4 * quarter, start + DAY / 4 * (quarter + 1)
            self._serve(frame.filter((pl.col(EVENT_TIME) >= begin) & (pl.col(EVENT_TIME) < end)))
            self.clock.set(end)
            self.said += [(end, sentence) for sentence in self.controller.tick()]

    def _bundle(self, version: int) -> Bundle:
        if version not in self._bundles:
            self._bundles[version] = self.resources.bundles.load(self.ledger.version("fraud", version).bundle)
        return self._bundles[version]

    def _serve(self, frame: pl.DataFrame) -> None:
        routing = load_routing(self.ledger, "fraud")
        ids = frame["payment"].to_list()
        results = [self._bundle(version).score_frame(frame) for version in routing.live]
        picked = assign_many(routing, ids)
        times = frame[EVENT_TIME].to_physical().to_numpy()
        batch = PredictionBatch(
            model="fraud",
            routing_revision=routing.revision,
            ids=ids,
            digests=[row_digest({"id": one}) for one in ids],
            answers=[b"{}"] * len(ids),
            event_time_us=times,
            entities=[None] * len(ids),
            versions=tuple(routing.live),
            thresholds=tuple(self._bundle(version).threshold for version in routing.live),
            scores=np.stack([result.score for result in results], axis=1),
            decisions=np.stack([result.decision for result in results], axis=1),
            answered=np.array([routing.live.index(one.version) for one in picked]),
            sides=[one.side for one in picked],
            propensities=np.array([one.propensity for one in picked]),
            inputs=frame.drop(EVENT_TIME, "fraud"),
            feature_names=self._bundle(routing.live[0]).features.names,
            features=results[0].features,
        )
        frauds = [at for at, truth in enumerate(frame["fraud"].to_list()) if truth]
        known = [_known(ids[at], int(times[at]) + DAY // (2 * timedelta(microseconds=1))) for at in frauds]
        paths = self.resources.project.paths
        with Spool.open(paths.spool, clock=self.clock) as spool:
            spool.append_predictions(batch)
            spool.append_outcomes("fraud", known)
        with Mover.open(spool=paths.spool, traffic=paths.traffic, clock=self.clock) as mover:
            mover.move_once()


def _known(prediction: str, at_us: int) -> OutcomeRecord:
    value: Any = True
    return OutcomeRecord(prediction_id=prediction, name="fraud", value=value, observed_at_us=at_us, source="test")
