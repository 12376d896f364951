"""What a retrain on what is known by now would repair, estimated on the newest rows it does not see."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl

from everloop.bundle import Bundle
from everloop.clock import Clock
from everloop.data import EVENT_TIME, MIN_POSITIVES, TARGET, WEIGHT, fit_sample
from everloop.errors import EverloopError, NotEnoughData
from everloop.improvement.refit import refitted
from everloop.project import Objective, Spec
from everloop.stats import Interval, jsonable, wilson
from everloop.tasks import choose_threshold, decided

__all__ = ["FIT_ROWS", "Repair", "retrain_estimate"]

FIT_ROWS: Final = 40_000
_LEAST_HELD: Final = 8
_HELD_ROWS: Final = 60_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Repair:
    """An estimate of a retrain: shares of the positives caught on held-out rows newer than all it was fitted on.

    retrained, champion: of the same `positives`; None where it could not be tried, and `sentence` says why.
    known_positives: how many positives of the change are known. needed: how many a retrain is judged on.
    """

    sentence: str
    known_positives: int
    needed: int
    positives: int = 0
    retrained: Interval | None = None
    champion: Interval | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        found: dict[str, Any] = jsonable(
            {
                "sentence": self.sentence,
                "known_positives": self.known_positives,
                "needed": self.needed,
                "positives": self.positives,
                "retrained": self.retrained,
                "champion": self.champion,
            }
        )  # type: ignore[assignment]
        return found


def retrain_estimate(
    known: pl.DataFrame,
    bundle: Bundle,
    spec: Spec,
    *,
    since: datetime | None,
    subject: str,
    clock: Clock,
    fit_rows: int = FIT_ROWS,
    own: Path | None = None,
) -> Repair:
    """Fit the champion's spec on all known rows but the newest positives of the change, and judge it on those.

    known: matured rows in order of time. since: when the change began; None takes the newest twentieth of the rows.
    The threshold is chosen on one half of the held-out rows and judged on the other, both ways round, so that few
    positives tell as much as they can; the champion keeps its own. subject: what positives are called.
    own: the model's learners.py, where it has one.
    """
    times, positive = known[EVENT_TIME], known[TARGET].to_numpy() > 0.5
    begin = times[-1] - (times[-1] - times[0]) / 20 if since is None else since
    new = np.flatnonzero(positive & (times >= begin).to_numpy())
    needed = 2 * MIN_POSITIVES
    if len(new) < 2 * _LEAST_HELD:
        return Repair(
            sentence=f"not enough {subject}s of the change are known yet to estimate a retrain: "
            f"{len(new)} of the about {needed} that one is judged on",
            known_positives=len(new),
            needed=needed,
        )
    cut = int(np.searchsorted(times.to_physical().to_numpy(), times.to_physical()[int(new[len(new) // 2])]))
    try:
        caught = _tried(known, cut, bundle, spec, clock=clock, fit_rows=fit_rows, own=own)
    except EverloopError as error:
        return Repair(sentence=f"a retrain could not be estimated: {error}", known_positives=len(new), needed=needed)
    retrained, champion = caught["retrained"], caught["champion"]
    held = int(positive[cut:].sum())
    sentence = (
        f"a retrain on what is known by now catches {retrained:.2f} of the {held} newest {subject}s held out from it, "
        f"the champion {champion:.2f}"
    )
    if len(new) < needed:
        sentence += f"; {len(new)} {subject}s of the change are known, a retrain is judged on about {needed}"
    return Repair(
        sentence=sentence,
        known_positives=len(new),
        needed=needed,
        positives=held,
        retrained=retrained,
        champion=champion,
    )


def _tried(
    known: pl.DataFrame, cut: int, bundle: Bundle, spec: Spec, *, clock: Clock, fit_rows: int, own: Path | None
) -> Mapping[str, Interval]:
    train, held = known[:cut], known[cut:]
    judge = fit_sample(held[TARGET].to_numpy(), held[WEIGHT].to_numpy(), most=_HELD_ROWS, seed=spec.seed)
    matrix = bundle.features.matrix(held[judge.rows])
    graph = refitted(train, bundle.features, spec, spec.hyperparameters, most=fit_rows, clock=clock, own=own)
    y = held[TARGET].to_numpy()[judge.rows] > 0.5
    objective = Objective.parse(spec.objective)
    decision = _crossed(objective, y, graph.scores(matrix), judge.weight, seed=spec.seed)
    champion = bundle.score_matrix(matrix).decision
    return {"retrained": _share(decision[y]), "champion": _share(champion[y])}


def _share(caught: np.ndarray) -> Interval:
    return wilson(float(caught.sum()), len(caught))


def _crossed(objective: Objective, y: np.ndarray, score: np.ndarray, weight: np.ndarray, *, seed: int) -> np.ndarray:
    """Decisions where each half's threshold was chosen on the other half; positives are halved evenly."""
    order = np.random.default_rng(seed).permutation(len(y))
    order = order[np.argsort(~y[order], kind="stable")]
    half = np.zeros(len(y), dtype=bool)
    half[order[::2]] = True
    decision = np.zeros(len(y), dtype=bool)
    for chosen_on, judged_on in ((half, ~half), (~half, half)):
        if not y[chosen_on].any() or y[chosen_on].all():
            raise NotEnoughData("the held-out rows are of one class only")
        threshold = choose_threshold(objective, y[chosen_on], score[chosen_on], weight[chosen_on])
        decision[judged_on] = decided(score[judged_on], threshold)
    return decision
