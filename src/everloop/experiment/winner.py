"""A leaderboard's winner as a spec: a file that people review, and the fact that it was written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from everloop.clock import Clock
from everloop.errors import Refused
from everloop.experiment.leaderboard import Judged, Leaderboard
from everloop.ledger import Estimate, Ledger, SpecWritten
from everloop.models import BLEND
from everloop.project import Model, Spec, flat_spec, spec_diff, write_spec
from everloop.stats import Interval

__all__ = ["champion_spec", "winner_spec", "write_winner"]


def _estimates(winner: Judged, objective: str) -> dict[str, dict[str, float]]:
    named: dict[str, Interval] = {objective: winner.objective, **winner.metrics}
    return {name: interval.to_dict() for name, interval in named.items()}


def _data(board: Leaderboard) -> dict[str, Any]:
    used = board.data
    return {
        "source": used.source,
        "rows": used.rows,
        "positives": used.positives,
        "start": used.start.isoformat(),
        "end": used.end.isoformat(),
        "hash": used.hash,
        "train": used.train[0],
        "validation": used.validation[0],
        "test": used.test[0],
    }


def winner_spec(
    board: Leaderboard, *, name: str, clock: Clock, parent: Spec | None = None, reason: str | None = None
) -> Spec:
    """The spec of the leaderboard's winner. Raises Refused, with the verdict's sentence, where it may not be one.

    reason: a person's own; what the search says of the winner stands after it.
    """
    winner = board.winner
    if winner is None or board.verdict.outcome != "passed":
        raise Refused(board.verdict.sentence)
    fields: Mapping[str, Any] = {
        "hyperparameters": dict(winner.trial.hyperparameters),
        "features": board.data.features,
        "calibration": board.calibration,
        "threshold": winner.trial.threshold,
        "quantiles": board.quantiles,
        "seed": board.seed,
        "expected": _estimates(winner, board.objective),
        "yardsticks": dict(winner.yardsticks),
        "data": _data(board),
        "parent": None if parent is None else parent.name,
        "reason": _reason(board, reason),
        "created_at": clock.now(),
    }
    spec = Spec.new(name=name, objective=board.objective, learner=winner.trial.learner, **fields)
    return spec.model_copy(update={"diff": spec_diff(parent, spec)})


def _reason(board: Leaderboard, said: str | None) -> str:
    winner = board.winner
    assert winner is not None
    found = f"trial {winner.trial.name} of search {board.search}{_chosen(board)}: {board.verdict.sentence}"
    return found if said is None else f"{said} ({found})"


def _chosen(board: Leaderboard) -> str:
    """Why it is not the best by number, where it is not."""
    winner = board.winner
    assert winner is not None
    best = next(trial for trial in board.trials if trial.kind == "trial" and trial.status == "done")
    if winner.trial == best:
        return ""
    why = "as the mean of several" if winner.trial.learner == BLEND else "for its size"
    return f", chosen {why} of {board.ties} that the data cannot tell from the best ({best.name}, {best.learner})"


def champion_spec(model: Model, ledger: Ledger) -> Spec | None:
    """The spec that the champion was trained from; None without a champion, or where the spec is not in the folder."""
    routing = ledger.routing(model.name)
    if routing is None or routing.champion is None:
        return None
    name = ledger.version(model.name, routing.champion).spec
    return next((spec for spec in model.specs() if spec.name == name), None)


def _same(spec: Spec, other: Spec) -> bool:
    """Whether both say the same to train, found on the same data: what a search finds again when it is repeated."""
    return flat_spec(spec) == flat_spec(other) and spec.data == other.data


def write_winner(
    model: Model,
    board: Leaderboard,
    *,
    ledger: Ledger,
    clock: Clock,
    actor: str = "search",
    reason: str | None = None,
) -> Spec:
    """Write the winner as the next spec of the model, never over another one, and its fact into the ledger.

    reason: a person's own, before what the search says.
    A search that is repeated, or was killed before its fact was written, finds its own spec again, with the reason it
    was written for, and writes no second.
    Raises Refused where the winner may not become a spec.
    """
    spec = winner_spec(
        board,
        name=f"{model.name}-s{model.next_spec_number()}",
        clock=clock,
        parent=champion_spec(model, ledger),
        reason=reason,
    )
    existing = [other for other in model.specs() if _same(other, spec)]
    if existing:
        spec = existing[-1]
    else:
        write_spec(model.spec_path(spec.number), spec)
    ledger.append(
        "spec.written", spec.name, _fact(board, spec), actor=actor, key=(f"search-{board.search}", spec.name, 0)
    )
    return spec


def _fact(board: Leaderboard, spec: Spec) -> SpecWritten:
    winner = board.winner
    assert winner is not None
    positives = float(board.data.test[1])
    return SpecWritten.of(
        spec,
        trigger="search",
        expected={
            name: Estimate(**values, rows=float(board.data.test[0]), positives=positives)
            for name, values in _estimates(winner, board.objective).items()
        },
        data=board.data.span,
        details={"search": board.search, "trial": winner.trial.number},
    )
