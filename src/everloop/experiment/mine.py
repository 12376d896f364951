"""Someone's own fitted estimator beside a search: judged on rows that it cannot have seen, and held against the winner.

Nobody knows what it was fitted on but who fitted it. So every row up to `until` counts as seen: it is judged, and its
threshold chosen, on the newest fold's judged rows after it, and held against the winner on the test rows after it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import numpy as np

from everloop.bundle import Graph
from everloop.clock import from_us, to_us
from everloop.errors import NotEnoughData, Refused
from everloop.experiment.judging import better_by, evaluated, judged
from everloop.experiment.rows import SearchRows
from everloop.experiment.trial_fit import us_per_row
from everloop.experiment.trials import FoldScore, Trial
from everloop.models import BroughtGraph, brought_graph
from everloop.project import Model
from everloop.stats import Interval, Verdict
from everloop.tasks import Evaluated

__all__ = ["HeldAgainst", "Mine", "hold_against", "judge_mine", "take_mine"]

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mine:
    """A fitted estimator that was brought, as a trial.

    name: what it is called on boards and in `beats`. kind: its class. brought: its graph.
    until: the last moment that it may have learned from; said: by whoever brought it, else the end of the rows that a
    search fits on. trial: what it was worth on `rows` rows of the newest fold, `positives` of them positive, all after
    `until`; a search's trial is worth its mean over all folds, and beside this one stands what it was in the newest.
    """

    name: str
    kind: str
    brought: BroughtGraph
    until: datetime
    said: bool
    trial: Trial
    rows: int
    positives: int

    @property
    def sentence(self) -> str:
        """What it is worth, on which rows, and what should be known of it."""
        told = "as was said" if self.said else "where a search's own fits end"
        missing = (
            "; its graph fills missing values with medians, as it has no way of its own with them"
            if self.brought.fills_missing
            else ""
        )
        return (
            f"{self.name} ({self.kind}): {self.trial.range} on {self.rows:,} rows after "
            f"{self.until:%Y-%m-%d %H:%M} UTC, {told}: older ones it may have seen{missing}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return {
            "name": self.name,
            "kind": self.kind,
            "features": list(self.brought.features),
            "agreement": self.brought.agreement,
            "fills_missing": self.brought.fills_missing,
            "until": self.until.isoformat(),
            "said": self.said,
            "rows": self.rows,
            "positives": self.positives,
            "trial": self.trial.to_dict(),
        }

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        from everloop.experiment.mine_page import mine_fragment

        return mine_fragment(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldAgainst:
    """By how much the search's winner is better than someone's own on test rows that neither has seen.

    gap: in the objective, with its 95 % interval; winner, mine: the objective of each. rows, positives: of the test
    rows after `mine.until`.
    """

    name: str
    gap: Interval
    winner: float
    mine: float
    rows: int
    positives: int
    verdict: Verdict

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return {
            "name": self.name,
            "gap": self.gap.to_dict(),
            "winner": self.winner,
            "mine": self.mine,
            "rows": self.rows,
            "positives": self.positives,
            "verdict": self.verdict.to_dict(),
        }


def take_mine(
    estimator: Any, rows: SearchRows, model: Model, *, name: str, fitted_until: datetime | None, seed: int
) -> Mine:
    """The estimator as a trial: its graph, and what it is worth on rows that it cannot have seen.

    fitted_until: None for the end of the rows that the newest fold is fitted on.
    Raises Refused with the reason where it has no graph that agrees with it, or where nobody knows what it has seen;
    NotEnoughData where no judged row, or one class only, is left after `fitted_until`.
    """
    if model.objective.metric == "pinball":
        raise Refused(f"{model.name}'s objective asks for quantiles, which an estimator of your own has not")
    newest = rows.folds.newest
    if fitted_until is None and not rows.folds.by_time:
        raise Refused(
            "the folds of this search are dealt at random, so no time says which rows the estimator may have seen; "
            "say it: fitted_until="
        )
    brought = brought_graph(
        estimator,
        features=rows.features,
        fitted=rows.X[newest.fitted],
        compared=rows.X[newest.judged],
        y=rows.y[newest.fitted],
        task=rows.task.name,
        seed=seed,
    )
    until = from_us(int(rows.times_us[newest.fitted].max())) if fitted_until is None else fitted_until
    trial, count, positives = _tried(name, brought, until, rows, model, number=1, seed=seed)
    return Mine(
        name=name,
        kind=_kind(estimator),
        brought=brought,
        until=until,
        said=fitted_until is not None,
        trial=trial,
        rows=count,
        positives=positives,
    )


def _kind(estimator: Any) -> str:
    """`LogisticRegression`, or of a pipeline `StandardScaler → LogisticRegression`."""
    steps = getattr(estimator, "steps", None)
    if steps is None:
        return type(estimator).__name__
    return " → ".join(type(step).__name__ for _, step in steps)


def judge_mine(mine: Mine, rows: SearchRows, model: Model, *, seed: int, number: int = 1) -> Mine:
    """The same, judged on the rows of this search. Raises NotEnoughData as `take_mine`."""
    trial, count, positives = _tried(mine.name, mine.brought, mine.until, rows, model, number=number, seed=seed)
    return replace(mine, trial=trial, rows=count, positives=positives)


def _tried(
    name: str, brought: BroughtGraph, until: datetime, rows: SearchRows, model: Model, *, number: int, seed: int
) -> tuple[Trial, int, int]:
    """The trial, and how many rows and positives it was judged on."""
    places = _after(name, until, rows, rows.folds.newest.judged, "validation rows", model)
    part = rows.part(places)
    scores = Graph(brought.graph).scores(part.X)
    found = judged(model.objective, part.y, scores, part.weight, seed=seed, task=rows.task.name)
    positives = rows.task.positives(part.y)
    score = FoldScore(
        value=found.value,
        interval=found.interval.to_dict(),
        worth=1.0,
        threshold=found.threshold,
        metrics=found.metrics,
        fit_s=0.0,
        rows=0,
    )
    trial = Trial(
        number=number,
        kind="own",
        learner=name,
        hyperparameters={},
        status="done",
        value=found.value,
        interval=score.interval,
        threshold=found.threshold,
        metrics=found.metrics,
        folds=(score,),
        us_per_row=us_per_row(brought.graph, part.X),
        graph_bytes=len(brought.graph),
    )
    return trial, int(places.size), positives


def hold_against(winner: Trial, graph: bytes, mine: Mine, rows: SearchRows, model: Model, *, seed: int) -> HeldAgainst:
    """The search's winner against `mine`, on the test rows after `mine.until`.

    Both have their thresholds from validation rows. The winner is the best of many on those, so that there it would
    look better than it is; no trial was chosen by a test row. Raises NotEnoughData as `take_mine`.
    """
    places = _after(mine.name, mine.until, rows, rows.folds.test, "test rows", model)
    part = rows.part(places)

    def on(graph_bytes: bytes, threshold: float | None) -> Evaluated:
        scores = Graph(graph_bytes).scores(part.X)
        return evaluated(model.objective, part.y, scores, part.weight, threshold=threshold, task=rows.task.name)

    theirs, ours = on(graph, winner.threshold), on(mine.brought.graph, mine.trial.threshold)
    gap = better_by(model.objective, theirs, ours, seed=seed, task=rows.task.name)
    values = [rows.task.objective_value(model.objective, one) for one in (theirs, ours)]
    return HeldAgainst(
        name=mine.name,
        gap=gap,
        winner=values[0],
        mine=values[1],
        rows=int(places.size),
        positives=rows.task.positives(part.y),
        verdict=_verdict(winner, mine.name, gap, values, rows=int(places.size), objective=str(model.objective)),
    )


def _verdict(winner: Trial, name: str, gap: Interval, values: list[float], *, rows: int, objective: str) -> Verdict:
    trial = f"trial {winner.name} ({winner.learner})"
    told = f"{objective} is {values[0]:.3f} against {values[1]:.3f} on {rows:,} test rows that neither has seen"
    evidence = {"trial": winner.number, "mine": name, "gap": gap.to_dict(), "rows": rows}
    if gap.low > 0:
        return Verdict.passed(f"{trial} beats {name}: {told}, better by {gap}", **evidence)
    if gap.high < 0:
        worse = replace(gap, low=-gap.high, point=-gap.point, high=-gap.low)
        return Verdict.failed(f"{trial} is worse than {name}: {told}, by {worse}; keep {name}", **evidence)
    return Verdict.undecided(
        f"{trial} does not surely beat {name}: {told}, better by {gap}; other features, more trials or more rows may "
        "tell",
        **evidence,
    )


def _after(name: str, until: datetime, rows: SearchRows, places: Array, what: str, model: Model) -> Array:
    """Those of `places` that lie after `until`, with both classes among them."""
    kept: Array = places[rows.times_us[places] > to_us(until)]
    lacking = "no rows" if kept.size == 0 else rows.task.lacks(rows.y[kept])
    if lacking is None:
        return kept
    first, last = (from_us(int(edge(rows.times_us[places]))) for edge in (np.min, np.max))
    raise NotEnoughData(
        f"{name} may have seen all up to {until:%Y-%m-%d %H:%M} UTC, and the {what} of {model.name} "
        f"({first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M}) after it hold {lacking}: fit it on older rows, those of "
        "`training()`, or say an earlier fitted_until"
    )
