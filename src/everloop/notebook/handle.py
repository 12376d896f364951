"""A model in a notebook: explore, look at features, fit one's own, search, hand over. Phase 1 by hand."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from everloop.control import require_extra
from everloop.data import parse_time
from everloop.errors import UsageError
from everloop.experiment import (
    Exploration,
    FeatureTable,
    Mine,
    SearchRows,
    Trial,
    champion_spec,
    explore,
    feature_table,
    fragment,
    judge_mine,
    keep_frame,
    load_search_rows,
    note_search,
    search,
    take_mine,
)
from everloop.notebook.board import Board
from everloop.notebook.frame import AnyFrame, as_polars, kind_of
from everloop.notebook.place import Place
from everloop.notebook.searched import Searched
from everloop.notebook.training import Training, training_of
from everloop.project import FoldsPlan, Model, SearchMethod, Spec

if TYPE_CHECKING:
    import polars as pl

__all__ = ["ModelHandle"]

_BODY: Final = """<p><b>{{ model.name }}</b>, a {{ model.task }} in <code>{{ root }}</code></p>
<table><tr><td>objective</td><td>{{ model.objective }}</td></tr>
<tr><td>source</td><td>{{ model.data.source }}, target {{ model.data.target }}</td></tr>
<tr><td>learners</td><td>{{ model.search.learners | join(", ") }}</td></tr>
<tr><td>specs</td><td>{{ specs | join(", ") or "none yet" }}</td></tr></table>
<p><code>explore()</code> → <code>features()</code> → <code>search(minutes=20)</code> → <code>board.best()</code> →
<code>best.worst()</code> → <code>best.to_spec(reason="…")</code></p>"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelHandle:
    """A model of a project. Its files are read anew by every call, so that what was just edited holds.

    Frames may be pandas or Polars; rows come out as the kind that went in. Without a frame the rows are the source's.
    """

    root: Path
    name: str

    def explore(self, frame: AnyFrame | None = None, *, seed: int = 0) -> Exploration:
        """What the rows look like, and what looks wrong. seed: of the samples."""
        place = self._place()
        return explore(place.project, place.model, frame=_polars(frame), clock=place.clock, seed=seed)

    def features(self, frame: AnyFrame | None = None, *, seed: int = 0) -> FeatureTable:
        """Every feature by itself: what it is, costs and tells, and which say nothing new. seed: of the samples."""
        place = self._place()
        return feature_table(place.project, place.model, frame=_polars(frame), clock=place.clock, seed=seed)

    def training(
        self, frame: AnyFrame | None = None, *, folds: str | int | None = None, seed: int | None = None
    ) -> Training:
        """Features and target of the rows that a search fits on, to fit an estimator of your own on.

        folds, seed: of the search that it will stand beside, model.yaml's where None.
        """
        rows = self._rows(self._place(), _polars(frame), folds=_folds(folds), seed=seed)
        return training_of(rows, "polars" if frame is None else kind_of(frame))

    def use(
        self,
        estimator: Any,
        *,
        name: str = "mine",
        fitted_until: datetime | str | None = None,
        frame: AnyFrame | None = None,
        folds: str | int | None = None,
        seed: int | None = None,
    ) -> Mine:
        """Your own fitted estimator as a trial: converted to ONNX, held against itself, and judged.

        estimator: scikit-learn's, XGBoost's or LightGBM's, or a pipeline, fitted on the model's features: a matrix of
        all of them in order, or a frame with their names. fitted_until: the newest row it has seen; what is not newer
        never judges it. None means `training()`'s rows, where a search's own fits end. frame, folds, seed: as `search`
        will have them. Raises Refused with the reason; NotEnoughData where no row is left to judge it by.
        """
        require_extra("train")
        place = self._place()
        rows = self._rows(place, _polars(frame), folds=_folds(folds), seed=seed)
        until = _moment(fitted_until, place.model)
        return take_mine(estimator, rows, place.model, name=name, fitted_until=until, seed=_seed(place.model, seed))

    def search(
        self,
        *,
        minutes: float | None = None,
        trials: int | None = None,
        learners: Sequence[str] | None = None,
        method: SearchMethod | None = None,
        folds: str | int | None = None,
        seed: int | None = None,
        jobs: int | None = None,
        frame: AnyFrame | None = None,
        beside: Sequence[Mine] | Mine = (),
        quiet: bool = False,
    ) -> Board:
        """Search learners × hyperparameters; interrupted, it ends with what there is, and goes on when called again.

        What is None is model.yaml's. minutes: no trial is begun after them. learners: which to try, each in its own
        space. folds: "auto", 5, "5 by time" or "5 stratified". jobs: processes. frame: rows to search instead of the
        source. beside: what `use` gave, to stand on the board. quiet: say nothing on the way. No spec is written: that
        is `best().to_spec(…)`.
        """
        require_extra("train")
        place = self._place()
        model = _with_learners(place.model, learners)
        given = _polars(frame)
        rows = self._rows(place, given, folds=_folds(folds), seed=seed)
        chosen_seed = _seed(model, seed)
        brought = (beside,) if isinstance(beside, Mine) else tuple(beside)
        _refuse_same_names(brought)
        judged = [
            judge_mine(mine, rows, model, seed=chosen_seed, number=number) for number, mine in enumerate(brought, 1)
        ]
        with place.writing() as (ledger, _):  # who may not search is told so before it begins
            champion = champion_spec(model, ledger)
        board = search(
            place.project,
            model,
            clock=place.clock,
            method=method,
            trials=trials,
            folds=_folds(folds),
            seed=seed,
            jobs=jobs,
            minutes=minutes,
            champion=champion,
            rows=rows,
            progress=None if quiet else _told,
        )
        if given is not None:
            keep_frame(place.project, board.search, given)
        with place.writing() as (ledger, me):
            note_search(place.project, board, ledger=ledger, actor=me, beside=judged)
        kind = "polars" if frame is None else kind_of(frame)
        searched = Searched(root=self.root, rows=rows, given=given, kind=kind)
        return Board(leaderboard=board, beside=tuple(judged), searched=searched)

    def spec(self, name: str | int | None = None) -> Spec:
        """The spec of that name or number; the newest where None. Raises NotFound."""
        model = self._place().model
        if name is not None:
            return model.spec(name)
        return model.spec(max(1, model.next_spec_number() - 1))

    def _place(self) -> Place:
        return Place.of(self.root, self.name)

    def _rows(
        self, place: Place, given: pl.DataFrame | None, *, folds: FoldsPlan | None, seed: int | None
    ) -> SearchRows:
        return load_search_rows(
            place.model, as_of=place.clock.now(), folds=folds, seed=_seed(place.model, seed), frame=given
        )

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        model = self._place().model
        return fragment(_BODY, model=model, root=self.root.name, specs=[spec.name for spec in model.specs()])


def _polars(frame: AnyFrame | None) -> pl.DataFrame | None:
    return None if frame is None else as_polars(frame)


def _seed(model: Model, seed: int | None) -> int:
    return model.search.seed if seed is None else seed


def _folds(said: str | int | None) -> FoldsPlan | None:
    try:
        return None if said is None else FoldsPlan.parse(said)
    except ValueError as error:
        raise UsageError(f"folds={said!r}: {error}") from error


def _moment(said: datetime | str | None, model: Model) -> datetime | None:
    """The time in UTC; a naive one is read in the model's time zone."""
    if said is None:
        return None
    try:
        return parse_time(said if isinstance(said, str) else said.isoformat(), model.timezone)
    except ValueError as error:
        raise UsageError(f"fitted_until={said!r}: {error}") from error


def _with_learners(model: Model, learners: Sequence[str] | None) -> Model:
    if learners is None:
        return model
    named = (learners,) if isinstance(learners, str) else tuple(learners)
    if not named:
        raise UsageError("learners=[] leaves nothing to try; leave it out for model.yaml's")
    space = {name: said for name, said in model.search.space.items() if name in named}
    return model.model_copy(update={"search": model.search.model_copy(update={"learners": named, "space": space})})


def _refuse_same_names(brought: Sequence[Mine]) -> None:
    names = [mine.name for mine in brought]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UsageError(f'two of those beside the search are called {twice[0]!r}; use(…, name="…") gives each its own')


def _told(trial: Trial | None, best: Trial | None, ended: int, of: int | None) -> None:
    """A line for every trial that is the best so far."""
    if trial is None or trial != best or best.range is None:
        return
    whole = "" if of is None else f" of {of}"
    print(f"{ended}{whole}: {best.learner} {best.range} is the best so far", file=sys.stderr, flush=True)
