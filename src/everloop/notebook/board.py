"""A search that ended, as a notebook has it: the trials, what was brought beside them, and the best one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from everloop.errors import Refused, UsageError
from everloop.experiment import HeldAgainst, Leaderboard, Mine, Trial, hold_against, judge_mine
from everloop.notebook.best import Best
from everloop.notebook.frame import as_kind, as_pandas
from everloop.notebook.searched import Searched

__all__ = ["Board"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Board:
    """What a search found. leaderboard: its trials and verdict; beside: what was brought.

    A trial's objective is its mean over the folds. What was brought is judged on the newest fold's rows alone, and
    stands beside what the trials were worth there: `newest_fold`.
    """

    leaderboard: Leaderboard
    beside: tuple[Mine, ...]
    searched: Searched

    @property
    def trials(self) -> tuple[Trial, ...]:
        """Every trial, the best first, then what was brought."""
        return (*self.leaderboard.trials, *(mine.trial for mine in self.beside))

    @property
    def sentence(self) -> str:
        """What came of it, in a sentence."""
        return self.leaderboard.verdict.sentence

    def best(self, *, beats: Mine | Sequence[Mine] | None = None) -> Best:
        """The trial that is handed over; with `beats` only where it surely is better than that.

        Compared are the two on test rows that neither has seen, pair by pair. Raises Refused where every trial failed,
        and where the best does not surely beat `beats`, with the sentence that says by how much it does not;
        NotEnoughData where `beats` has seen too many of the rows.
        """
        board = self.leaderboard
        if board.winner is None:
            raise Refused(board.verdict.sentence)
        wanted = () if beats is None else (beats,) if isinstance(beats, Mine) else tuple(beats)
        held = tuple(self._held(mine) for mine in wanted)
        for one in held:
            if one.verdict.outcome != "passed":
                raise Refused(one.verdict.sentence, verdicts=({"name": f"beats {one.name}", **one.verdict.to_dict()},))
        return Best(board=board, judged=board.winner, beaten=held, searched=self.searched)

    def _held(self, mine: Mine) -> HeldAgainst:
        if not isinstance(mine, Mine):
            raise UsageError(f"beats takes what use() gave, not a {type(mine).__name__}")
        board, rows = self.leaderboard, self.searched.rows
        assert board.winner is not None
        place = self.searched.place(board)
        if mine not in self.beside:
            mine = judge_mine(mine, rows, place.model, seed=board.seed)
        graph = self.searched.graph(board, board.winner.trial)
        return hold_against(board.winner.trial, graph, mine, rows, place.model, seed=board.seed)

    def frame(self) -> Any:
        """A row per trial, what was brought among them, as the kind of frame that was searched; else Polars."""
        return as_kind(self.to_polars(), self.searched.kind)

    def to_polars(self) -> pl.DataFrame:
        """A row per trial: how it was fitted (`param_…`), what it was worth, what it costs.

        newest_fold: the objective on the newest fold's rows alone; null for a trial that failed.
        """
        records = [_record(trial, tied=self.leaderboard.tied(trial)) for trial in self.trials]
        names = dict.fromkeys(name for record in records for name in record)
        columns = [_column(name, [record.get(name) for record in records]) for name in names]
        return pl.DataFrame(columns)

    @property
    def _folds(self) -> int:
        return len(self.searched.rows.folds.folds)

    def to_pandas(self) -> Any:
        """The same as pandas."""
        return as_pandas(self.to_polars())

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return self.leaderboard.to_dict() | {"beside": [mine.to_dict() for mine in self.beside]}

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        beside = "".join(mine._repr_html_() for mine in self.beside)
        return self.leaderboard._repr_html_() + beside + (self._like_beside_like() if self.beside else "")

    def _like_beside_like(self) -> str:
        """What the winner was worth where those that were brought were judged."""
        winner = self.leaderboard.winner
        found = None if winner is None else newest_fold(winner.trial)
        if winner is None or found is None:
            return ""
        return (
            f'<p class="by">A trial\'s {self.leaderboard.objective} is its mean over {self._folds} folds; in the '
            f"newest alone, where what was brought is judged, trial {winner.trial.name} has {found:.3f} (newest_fold "
            "in frame()).</p>"
        )


def newest_fold(trial: Trial) -> float | None:
    """The objective on the newest fold's rows, by which every trial is judged first; None for one that failed."""
    return trial.folds[0].value if trial.folds else None


def _record(trial: Trial, *, tied: bool) -> dict[str, Any]:
    interval = trial.range
    return {
        "trial": trial.name,
        "kind": trial.kind,
        "learner": trial.learner,
        "status": trial.status,
        "objective": trial.value,
        "low": None if interval is None else interval.low,
        "high": None if interval is None else interval.high,
        "newest_fold": newest_fold(trial),
        "tied": tied,
        **trial.metrics,
        "threshold": trial.threshold,
        "folds": len(trial.folds),
        "fit_s": trial.fit_s,
        "us_per_row": trial.us_per_row,
        "graph_bytes": trial.graph_bytes,
        "sentence": trial.sentence,
        **{f"param_{name}": value for name, value in trial.hyperparameters.items()},
    }


def _column(name: str, values: list[Any]) -> pl.Series:
    """One type for all learners' values of a hyperparameter: numbers where they all are, else text."""
    told = [value for value in values if value is not None]
    if any(isinstance(value, str) for value in told) and not all(isinstance(value, str) for value in told):
        return pl.Series(name, [None if value is None else str(value) for value in values], dtype=pl.String)
    return pl.Series(name, values, strict=False)
