"""A small shop with a real project, ledger, bundles and traffic log, whose traffic follows from a seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from everloop.bundle import Bundle, BundleParts, BundleStore, Graph
from everloop.clock import SimulatedClock, to_us
from everloop.data import EVENT_TIME, Baseline, Column, Contract, FeatureTree, profiled_frame
from everloop.ledger import Estimate, Ledger, Version, VersionRegistered
from everloop.monitoring import Monitor
from everloop.project import Model, Project
from everloop.tasks import Evaluation
from everloop.traffic import Mover, OutcomeRecord, PredictionBatch, Spool, TrafficLog, row_digest

from ..serving.place import graph

START = datetime(2026, 3, 2, tzinfo=UTC)  # a Monday
DAY = timedelta(days=1)
DELAY = timedelta(days=2)
COUNTRIES = ("AT", "BE", "CH")
CONTRACT = Contract(
    columns=(
        Column(name="id", type="string", role="id"),
        Column(name="paid_at", type="datetime", role="time"),
        Column(name="amount", type="float", role="feature"),
        Column(name="risk", type="float", role="feature", nullable=True),
        Column(name="noise", type="float", role="feature"),
        Column(name="country", type="string", role="feature", categories=COUNTRIES, nullable=True),
        Column(name="fraud", type="bool", role="target"),
    ),
    positive=True,
)
MODEL_YAML = """\
task: classification
data: {source: rows.parquet, time: paid_at, id: id, target: fraud}
outcome: {delay: 2d, absent: negative, acts: {column: action, blocked: [declined], holdout: 1%}}
objective: recall at precision >= 0.80
monitor:
  every: 1d
  false_alarms: 1 per 10y
  checks: [schema, drift, score, recall, precision]
on_alert: rollout
"""


@dataclass
class Rows:
    """A day's rows and their truth."""

    frame: pl.DataFrame
    y: np.ndarray


def rows_of_day(day: datetime, *, seed: int, rows: int = 2_000, frauds: int = 25, new: int = 0) -> Rows:
    """Rows with the rhythm of a day and a week; frauds have a high `risk`, `new` ones look like everyone."""
    random = np.random.default_rng([seed, (day - START).days + 1000])
    weekend = day.weekday() >= 5
    n = int(random.poisson(rows * (0.8 if weekend else 1.0)))
    caught, missed = int(random.poisson(frauds)), int(random.poisson(new))
    total = n + caught + missed
    y = np.zeros(total, dtype=bool)
    y[n:] = True
    risk = random.normal(0.0, 1.0, total)
    risk[n : n + caught] += random.choice([6.0, 0.5], p=[0.8, 0.2], size=caught)
    amount = random.lognormal(3.0 + 0.1 * weekend, 1.0, total)
    seconds = np.clip(random.normal(13 * 3600, 5 * 3600, total), 0, 86_399)
    times = np.array([to_us(day)], dtype=np.int64) + (seconds * 1e6).astype(np.int64)
    order = np.argsort(times, kind="stable")
    prefix = f"{day:%Y%m%d}-"
    frame = pl.DataFrame(
        {
            "id": [prefix + str(index) for index in range(total)],
            EVENT_TIME: pl.Series(times[order]).cast(pl.Datetime("us", "UTC")),
            "amount": amount[order],
            "risk": risk[order],
            "noise": random.normal(size=total),
            "country": random.choice([*COUNTRIES], p=[0.6, 0.3, 0.1], size=total),
        }
    )
    return Rows(frame=frame.with_columns(pl.col(EVENT_TIME).alias("paid_at")), y=y[order])


@dataclass
class World:
    root: Path
    seed: int = 0
    clock: SimulatedClock = field(default_factory=lambda: SimulatedClock(START))
    model_yaml: str = MODEL_YAML

    def __post_init__(self) -> None:
        folder = self.root / "shop" / "fraud"
        folder.mkdir(parents=True, exist_ok=True)
        (folder.parent / "everloop.yaml").write_text("{}\n")
        (folder / "model.yaml").write_text(self.model_yaml)
        self.project = Project.open(folder.parent)
        assert self.project.state.is_dir()
        self.ledger = Ledger.open(self.project, clock=self.clock)
        self.bundles = BundleStore(self.project.paths.bundles)
        self._loaded: dict[int, Bundle] = {}

    @property
    def model(self) -> Model:
        return self.project.model()

    @property
    def log(self) -> TrafficLog:
        return TrafficLog(self.project.paths.traffic, "fraud")

    def monitor(self) -> Monitor:
        return Monitor(self.model, ledger=self.ledger, log=self.log, bundles=self.bundles, clock=self.clock)

    def version(
        self, *, weights: Sequence[float] = (0.0, 2.0, 0.0, 0.0), bias: float = -6.0, days: int = 28, **options: int
    ) -> Version:
        """A version whose baseline and metrics come from the `days` before the start. options: of `rows_of_day`."""
        made = [rows_of_day(START - (k + 1) * DAY, seed=self.seed, **options) for k in reversed(range(days))]
        frame, y = pl.concat([one.frame for one in made]), np.concatenate([one.y for one in made])
        tree, code = FeatureTree.of(CONTRACT), graph(list(weights), bias)
        matrix = tree.matrix(frame)
        score = Graph(code).scores(matrix)
        test = np.arange(frame.height) >= int(frame.height * 0.7)
        evaluation = Evaluation(y=y[test], score=score[test], threshold=0.5)
        shown = np.where(test, score, np.nan).astype(np.float32)
        baseline = Baseline.build(profiled_frame(frame, CONTRACT, tree, matrix, shown), window=DAY)
        metrics = {name: evaluation.interval(name) for name in ("recall", "precision", "accuracy")}
        parts = BundleParts(
            graph=code,
            features=tree,
            contract=CONTRACT,
            baseline=baseline,
            threshold=0.5,
            metrics={name: one.point for name, one in metrics.items()},
            spec_hash="h",
            model="fraud",
            learner="logistic",
            target="fraud",
            positive="fraud",
            negative="fine",
        )
        counts = {"rows": float(evaluation.rows), "positives": float(evaluation.positives)}
        payload = VersionRegistered(
            model="fraud",
            bundle=self.bundles.write(parts),
            run="r-1",
            spec="fraud-s1",
            spec_hash="h",
            threshold=0.5,
            metrics={
                name: Estimate(point=one.point, low=one.low, high=one.high, **counts) for name, one in metrics.items()
            },
        )
        found, _ = self.ledger.register_version("fraud", payload, actor="test")
        self._loaded[found.number] = self.bundles.load(found.bundle)
        return found

    def serve(
        self,
        rows: Rows,
        versions: Sequence[int],
        *,
        declined: Sequence[int] = (),
        sides: Sequence[str] | None = None,
        known_after: timedelta = DELAY / 2,
        silent: bool = True,
    ) -> None:
        """Rows answered by the first version, scored by all, their frauds known later; all of it in the log.

        silent: of what is no fraud nothing is said.
        """
        frame, n = rows.frame, rows.frame.height
        bundles = [self._loaded[version] for version in versions]
        results = [bundle.score_frame(frame) for bundle in bundles]
        times = frame[EVENT_TIME].to_physical().to_numpy()
        ids = frame["id"].to_list()
        batch = PredictionBatch(
            model="fraud",
            routing_revision=1,
            ids=ids,
            digests=[row_digest({"id": one}) for one in ids],
            answers=[b"{}"] * n,
            event_time_us=times,
            entities=[None] * n,
            versions=tuple(versions),
            thresholds=(0.5,) * len(versions),
            scores=np.stack([result.score for result in results], axis=1),
            decisions=np.stack([result.decision for result in results], axis=1),
            answered=np.zeros(n, dtype=np.int64),
            sides=["champion"] * n if sides is None else list(sides),
            propensities=np.ones(n),
            inputs=frame.drop(EVENT_TIME, "paid_at"),
            feature_names=bundles[0].features.names,
            features=results[0].features,
        )
        blocked = set(declined)
        after_us = known_after // timedelta(microseconds=1)
        told = np.flatnonzero(rows.y | (not silent)).tolist()
        said = [
            record(ids[place], "fraud", bool(rows.y[place]), int(times[place]) + after_us)
            for place in told
            if place not in blocked
        ]
        said += [record(ids[place], "action", "declined", int(times[place])) for place in sorted(blocked)]
        with Spool.open(self.project.paths.spool, clock=self.clock) as spool:
            spool.append_predictions(batch)
            spool.append_outcomes("fraud", said)
        self.move()

    def serve_declining(self, rows: Rows, versions: Sequence[int], *, let_through: float, silent: bool = True) -> None:
        """As `serve`: what the first version flags is declined, but for a random share."""
        flagged = np.flatnonzero(self._loaded[versions[0]].score_frame(rows.frame).decision)
        random = np.random.default_rng([self.seed, len(rows.y)])
        declined = flagged[random.random(flagged.size) >= let_through].tolist()
        self.serve(rows, versions, declined=declined, silent=silent)

    def move(self) -> None:
        paths = self.project.paths
        with Mover.open(spool=paths.spool, traffic=paths.traffic, clock=self.clock) as mover:
            mover.move_once()

    def days(self, n: int, versions: Sequence[int], **options: int) -> None:
        """The first `n` days go by: as `day`, but all that they left is moved to the log at once."""
        made = [rows_of_day(START + k * DAY, seed=self.seed, **options) for k in range(n)]
        rows = Rows(frame=pl.concat([one.frame for one in made]), y=np.concatenate([one.y for one in made]))
        self.serve(rows, versions)
        self.clock.set(START + n * DAY)

    def day(self, k: int, versions: Sequence[int], **options: Any) -> Rows:
        """Day `k` goes by: its rows are served, and the clock stands at its end."""
        rows = rows_of_day(START + k * DAY, seed=self.seed, **options)
        self.serve(rows, versions)
        self.clock.set(START + (k + 1) * DAY)
        return rows


def record(prediction_id: str, name: str, value: Any, at_us: int) -> OutcomeRecord:
    return OutcomeRecord(prediction_id=prediction_id, name=name, value=value, observed_at_us=at_us, source="test")
