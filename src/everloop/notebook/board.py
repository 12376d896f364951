"""A search that ended, as a notebook has it: the trials, what was brought beside them, and the best one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from everloop.bundle import Graph
from everloop.errors import NotFound, Refused, UsageError
from everloop.experiment import (
    HeldAgainst,
    Judged,
    Leaderboard,
    Mine,
    SearchRows,
    Trial,
    TrialStore,
    Worst,
    evaluated,
    hold_against,
    judge_mine,
    leaderboard_fragment,
    unseen_rows,
    worst_segments,
    write_winner,
)
from everloop.notebook.frame import AnyFrame, Kind, as_kind, as_pandas, as_polars, kind_of
from everloop.notebook.place import Place, me
from everloop.notebook.written import WrittenSpec

__all__ = ["Best", "Board", "WorstParts"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Searched:
    """What a board goes on from. given: the frame that was searched instead of the source; kind: of what comes out."""

    root: Path
    rows: SearchRows
    given: pl.DataFrame | None
    kind: Kind

    def place(self, leaderboard: Leaderboard) -> Place:
        return Place.of(self.root, leaderboard.model)

    def graph(self, leaderboard: Leaderboard, trial: Trial) -> bytes:
        """The trial's graph. Raises NotFound where someone has removed it."""
        folder = self.place(leaderboard).project.state / "searches" / leaderboard.search
        found = TrialStore(folder).graph(trial)
        if found is None:
            raise NotFound(f"the graph of trial {trial.name} is no longer in {folder.name}; search again, it is quick")
        return found


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Board:
    """What a search found. leaderboard: its trials and verdict; beside: what was brought, judged on the same rows."""

    leaderboard: Leaderboard
    beside: tuple[Mine, ...]
    searched: _Searched

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
        """A row per trial: how it was fitted (`param_…`), what it was worth, what it costs."""
        records = [_record(trial, tied=self.leaderboard.tied(trial)) for trial in self.trials]
        names = dict.fromkeys(name for record in records for name in record)
        columns = [_column(name, [record.get(name) for record in records]) for name in names]
        return pl.DataFrame(columns)

    def to_pandas(self) -> Any:
        """The same as pandas."""
        return as_pandas(self.to_polars())

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return self.leaderboard.to_dict() | {"beside": [mine.to_dict() for mine in self.beside]}

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        beside = "".join(mine._repr_html_() for mine in self.beside)
        return leaderboard_fragment(self.leaderboard) + beside


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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Best:
    """The trial that would be handed over. judged: it on the test rows; beaten: what it surely beats, of yours."""

    board: Leaderboard
    judged: Judged
    beaten: tuple[HeldAgainst, ...]
    searched: _Searched

    @property
    def trial(self) -> Trial:
        """The trial itself: learner, hyperparameters, folds."""
        return self.judged.trial

    def worst(
        self, frame: AnyFrame | None = None, *, by: Sequence[str] | str | None = None, n: int = 10
    ) -> WorstParts:
        """Where it fails: the `n` worst parts of rows that it was not fitted on.

        frame: those rows; None takes the source's, or the frame that was searched. by: columns of the rows, or
        features, one by one: each value is a part, of numbers and times each fifth of the rows; None takes the model's
        segments, else every feature. Raises UsageError for an unknown column, NotEnoughData where no row is left.
        """
        if n < 1:
            raise UsageError(f"n={n} parts are none; ask for 1 or more")
        place = self.searched.place(self.board)
        given = self.searched.given if frame is None else as_polars(frame)
        asked = (by,) if isinstance(by, str) else by
        unseen = unseen_rows(
            place.project, place.model, self.searched.rows, by=asked, clock=place.clock, frame=given
        )
        part, objective = unseen.part, place.model.objective
        graph = Graph(self.searched.graph(self.board, self.trial))
        scores, quantiles = graph.predictions(part.X)
        evaluation = evaluated(
            objective,
            part.y,
            scores,
            part.weight,
            threshold=self.trial.threshold,
            task=self.board.task,
            quantiles=quantiles,
            levels=place.model.levels if quantiles is not None else (),
        )
        segments, count = worst_segments(
            evaluation, unseen.columns, objective, task=self.board.task, most=n, seed=self.board.seed
        )
        found = Worst(
            model=self.board.model,
            trial=self.trial.name,
            learner=self.trial.learner,
            objective=self.board.objective,
            metric=objective.metric,
            rows=evaluation.rows,
            positives=evaluation.positives,
            overall=evaluation.interval(objective.metric, seed=self.board.seed),
            segments=segments,
            asked=count,
            notes=unseen.notes,
        )
        return WorstParts(found=found, kind=self.searched.kind if frame is None else kind_of(frame))

    def to_spec(self, *, reason: str) -> WrittenSpec:
        """Write it as the next spec, with your reason before what the search says; someone else then approves it.

        Raises Refused where it does not beat the yardsticks, as `everloop search` does; UsageError without a reason.
        """
        if not reason.strip():
            raise UsageError('a spec says why it is there: to_spec(reason="…")')
        place = self.searched.place(self.board)
        before = {spec.name for spec in place.model.specs()}
        with place.ledger() as ledger:
            spec = write_winner(
                place.model, self.board, ledger=ledger, clock=place.clock, actor=me(), reason=reason.strip()
            )
        path = place.model.spec_path(spec.number)
        return WrittenSpec(spec=spec, path=path, shown=place.shown(path), new=spec.name not in before)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return {
            "trial": self.trial.to_dict(),
            "objective": self.judged.objective.to_dict(),
            "metrics": {name: value.to_dict() for name, value in self.judged.metrics.items()},
            "beaten": [one.to_dict() for one in self.beaten],
        }

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        from everloop.notebook.best_page import best_fragment

        return best_fragment(self)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WorstParts:
    """Where a trial fails. found: all of it; `frame()` gives the parts as the kind of frame that went in."""

    found: Worst
    kind: Kind

    @property
    def sentence(self) -> str:
        """The answer in one sentence."""
        return self.found.sentence

    @property
    def segments(self) -> tuple[Any, ...]:
        """The parts, the worst first."""
        return self.found.segments

    def frame(self) -> Any:
        """A row per part."""
        return as_kind(self.found.frame(), self.kind)

    def to_pandas(self) -> Any:
        """The same as pandas."""
        return as_pandas(self.found.frame())

    def to_polars(self) -> pl.DataFrame:
        """The same as Polars."""
        return self.found.frame()

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return self.found.to_dict()

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        return self.found._repr_html_()
