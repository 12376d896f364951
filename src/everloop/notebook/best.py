"""The trial that would be handed over: where it fails, and its way into a spec."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import polars as pl

from everloop.bundle import Graph
from everloop.errors import UsageError
from everloop.experiment import (
    HeldAgainst,
    Judged,
    Leaderboard,
    Segment,
    Trial,
    Worst,
    evaluated,
    fragment,
    settings_of,
    settings_text,
    unseen_rows,
    worst_segments,
    write_winner,
)
from everloop.notebook.frame import AnyFrame, Kind, as_kind, as_pandas, as_polars, kind_of
from everloop.notebook.searched import Searched
from everloop.notebook.written import WrittenSpec
from everloop.project import Model, quantile_level

__all__ = ["Best", "WorstParts"]

_BODY: Final = """<h2>{{ board.model }}: trial {{ trial.name }}, {{ trial.learner }}</h2>
<p class="lead fine">{{ board.verdict.sentence }}</p>
{% for one in beaten %}<p>{{ one.verdict.sentence }}</p>{% endfor %}
<table><tr><th>on the test rows</th><th>value, 95 %</th></tr>
<tr><td>{{ board.objective }}</td><td>{{ judged.objective }}</td></tr>
{% for name, value in judged.metrics.items() if name != board.objective %}
<tr><td>{{ name }}</td><td>{{ value }}</td></tr>
{% endfor %}{% for name, gap in judged.against.items() %}<tr><td>better than {{ name }} by</td><td>{{ gap }}</td></tr>
{% endfor %}</table>
<p class="by">{{ settings }}</p>"""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Best:
    """The trial that would be handed over. judged: it on the test rows; beaten: what it surely beats, of yours."""

    board: Leaderboard
    judged: Judged
    beaten: tuple[HeldAgainst, ...]
    searched: Searched

    @property
    def trial(self) -> Trial:
        """The trial itself: learner, hyperparameters, folds."""
        return self.judged.trial

    def worst(self, frame: AnyFrame | None = None, *, by: Sequence[str] | str | None = None, n: int = 10) -> WorstParts:
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
        unseen = unseen_rows(place.project, place.model, self.searched.rows, by=asked, clock=place.clock, frame=given)
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
            levels=_levels(place.model) if quantiles is not None else (),
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
        with place.writing() as (ledger, me):
            spec = write_winner(
                place.model, self.board, ledger=ledger, clock=place.clock, actor=me, reason=reason.strip()
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
        return fragment(
            _BODY,
            board=self.board,
            judged=self.judged,
            beaten=self.beaten,
            trial=self.trial,
            settings=settings_text(settings_of(self.trial)),
        )


def _levels(model: Model) -> tuple[float, ...]:
    return tuple(quantile_level(name) for name in model.quantiles)


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
    def segments(self) -> tuple[Segment, ...]:
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
