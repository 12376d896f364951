"""A bank whose payments follow from a seed: a champion, traffic, an alert, and a fraud pattern that appears one day."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl

from everloop.bundle import Bundle, BundleParts, BundleStore, Graph
from everloop.clock import SimulatedClock
from everloop.data import (
    EVENT_TIME,
    TARGET,
    Baseline,
    Rows,
    infer_contract,
    load_features,
    load_rows,
    profiled_frame,
    read_contract,
    scan,
    write_contract,
)
from everloop.improvement import Investigation, Proposal, investigate, propose
from everloop.ledger import AlertOpened, AlertState, DataSpan, Estimate, Ledger, VersionRegistered, Window
from everloop.models import FitRequest, fit
from everloop.project import Objective, Project, Spec, write_spec
from everloop.tasks import Evaluation, choose_threshold
from everloop.templates import create_project
from everloop.templates.fraud.generator import Payments
from everloop.traffic import Mover, PredictionBatch, Spool, TrafficLog, row_digest

START = datetime(2026, 1, 5, tzinfo=UTC)
DAY = timedelta(days=1)
DAYS = 30
CHANGE = START + 19 * DAY
NOW = START + 33 * DAY
"""With outcomes a week late, what is older than day 26 is known."""

LEARNER: dict[str, Any] = {"n_estimators": 60, "num_leaves": 15}


def thinned(payments: Payments, k: int, *, share: float = 0.2) -> tuple[pl.DataFrame, np.ndarray]:
    """Day `k` with all its frauds and a share of the rest; which rows are the new pattern's frauds."""
    frame, new = payments.day(k), payments.of_new_pattern(k)
    kept = (frame["Class"].to_numpy() == 1) | (np.random.default_rng([payments.seed, k]).random(frame.height) < share)
    return frame.filter(pl.Series(kept)), new[kept]


@dataclass
class Place:
    """A project with a champion fitted on its first days."""

    root: Path
    seed: int = 3
    change_at: datetime | None = CHANGE
    clock: SimulatedClock = field(default_factory=lambda: SimulatedClock(START + 23 * DAY))

    def __post_init__(self) -> None:
        create_project(self.root / "bank", days=2, rows_per_day=50, start=START, seed=self.seed)
        self.payments = Payments(seed=self.seed, start=START, days=DAYS, rows_per_day=15_000, change_at=self.change_at)
        days = [thinned(self.payments, k) for k in range(DAYS)]
        self.source = pl.concat([frame for frame, _ in days])
        self.of_new_pattern = np.concatenate([new for _, new in days])
        self.write_source(self.source)
        self.project = Project.open(self.root / "bank", environment={})
        self.model = self.project.model()
        lazy = scan(self.model.data.source, root=self.project.root)
        write_contract(self.model.contract_path, infer_contract(lazy, self.model))
        assert self.project.state.is_dir()
        self.ledger = Ledger.open(self.project, clock=self.clock)
        self.bundles = BundleStore(self.project.paths.bundles)
        self.champion = self._released()
        self.clock.set(NOW)

    def write_source(self, frame: pl.DataFrame) -> None:
        frame.write_parquet(self.root / "bank" / "data" / "payments.parquet")

    @property
    def log(self) -> TrafficLog:
        return TrafficLog(self.project.paths.traffic, "fraud")

    @property
    def tree(self) -> Any:
        return load_features(self.model.features_path, read_contract(self.model)).tree()

    def known(self, *, as_of: datetime | None = NOW) -> Rows:
        return load_rows(self.model, read_contract(self.model), as_of=as_of)

    def _released(self) -> Bundle:
        rows = self.known(as_of=self.clock.now())
        frame, tree, objective = rows.frame, self.tree, self.model.objective
        X, y = tree.matrix(frame), rows.y
        fitted, chosen = int(len(y) * 0.7), int(len(y) * 0.85)
        request = FitRequest(learner="lightgbm", params=LEARNER, X=X[:fitted], y=y[:fitted], seed=0)
        graph = fit(request, clock=self.clock).graph
        scores = Graph(graph).scores(X)
        threshold = choose_threshold(objective, y[fitted:chosen], scores[fitted:chosen])
        evaluation = Evaluation(y=y[chosen:], score=scores[chosen:], threshold=threshold)
        spec = Spec.new(name="fraud-s1", objective=str(objective), learner="lightgbm", hyperparameters=LEARNER)
        write_spec(self.model.spec_path(1), spec)
        metrics = {name: evaluation.interval(name) for name in ("recall", "precision")}
        held_out = np.where(np.arange(len(y)) >= fitted, scores, np.nan).astype(np.float32)
        bundle = self.bundles.write(
            BundleParts(
                graph=graph,
                features=tree,
                contract=read_contract(self.model),
                baseline=Baseline.build(
                    profiled_frame(frame, read_contract(self.model), tree, X, held_out), window=DAY
                ),
                threshold=threshold,
                metrics={name: one.point for name, one in metrics.items()},
                spec_hash=spec.hash,
                model="fraud",
                learner="lightgbm",
                target="Class",
                positive="fraud",
                negative="legitimate",
            )
        )
        payload = VersionRegistered(
            model="fraud",
            bundle=bundle,
            run="r-1",
            spec=spec.name,
            spec_hash=spec.hash,
            threshold=threshold,
            metrics={name: Estimate(point=one.point, low=one.low, high=one.high) for name, one in metrics.items()},
            data=DataSpan(rows=len(y), start=rows.span[0], end=rows.span[1], positives=rows.positives),
        )
        self.ledger.register_version("fraud", payload, actor="test")
        self.ledger.change_routing(
            "fraud", expected_revision=0, champion=1, previous=None, reason="first", actor="test"
        )
        return self.bundles.load(bundle)

    def alert(
        self,
        name: str = "a-test01",
        *,
        kind: Literal["labels", "no labels"] = "labels",
        check: str = "recall",
        start: datetime = CHANGE + 5 * DAY,
    ) -> AlertState:
        payload = AlertOpened(
            alert=name,
            model="fraud",
            check=check,
            window=Window(start=start, end=start + DAY),
            sentence=f"{check} dropped",
            evidence_kind=kind,
            version=1,
            policy="propose",
        )
        self.ledger.append("alert.opened", name, payload, actor="test")
        return self.ledger.alert(name)

    @property
    def out(self) -> Path:
        return self.project.state / "reports"

    def investigate(self, alert: AlertState, **options: Any) -> Investigation:
        given: dict[str, Any] = {"known": options.pop("known", None) or self.known(), "execute": False, **options}
        return investigate(
            self.model,
            alert,
            ledger=self.ledger,
            log=self.log,
            bundles=self.bundles,
            clock=self.clock,
            out=self.out,
            root=self.project.root,
            **given,
        )

    def propose(self, alert: AlertState, made: Investigation, **options: Any) -> Proposal:
        return propose(self.model, alert, made, ledger=self.ledger, clock=self.clock, **options)

    def serve(self, frame: pl.DataFrame) -> None:
        """Rows (as the source has them) answered by the champion at their own time, in the log."""
        rows = with_time(frame)
        scores, n = self.champion.score_frame(rows), rows.height
        ids = rows["id"].to_list()
        batch = PredictionBatch(
            model="fraud",
            routing_revision=1,
            ids=ids,
            digests=[row_digest({"id": one}) for one in ids],
            answers=[b"{}"] * n,
            event_time_us=rows[EVENT_TIME].to_physical().to_numpy(),
            entities=rows["customer"].to_list(),
            versions=(1,),
            thresholds=(self.champion.threshold,),
            scores=scores.score[:, None],
            decisions=scores.decision[:, None],
            answered=np.zeros(n, dtype=np.int64),
            sides=["champion"] * n,
            propensities=np.ones(n),
            inputs=rows.select(pl.col("^V.*$"), "Amount"),
            feature_names=self.champion.features.names,
            features=scores.features,
        )
        with Spool.open(self.project.paths.spool, clock=self.clock) as spool:
            spool.append_predictions(batch)
        with Mover.open(spool=self.project.paths.spool, traffic=self.project.paths.traffic, clock=self.clock) as mover:
            mover.move_once()


def with_time(frame: pl.DataFrame) -> pl.DataFrame:
    """The frame with its event time, as a request gives it."""
    after = pl.duration(seconds=pl.col("Time")).cast(pl.Duration("us"))
    return frame.with_columns((pl.lit(START) + after).cast(pl.Datetime("us", "UTC")).alias(EVENT_TIME))


def truth(place: Place, known: Rows) -> np.ndarray:
    """Which of the known rows are frauds of the new pattern."""
    new = place.source.filter(pl.Series(place.of_new_pattern))["id"].implode()
    found: np.ndarray = known.frame.select(pl.col("id").is_in(new) & (pl.col(TARGET) > 0.5)).to_series().to_numpy()
    return found


__all__ = ["CHANGE", "DAY", "DAYS", "NOW", "START", "Objective", "Place", "thinned", "truth"]
