"""Searches that were kept, their trials, and their rows found again: as they were, or an error that says they are not.

.everloop/searches/ID/plan.json           what was searched, on which rows
                      trials.jsonl        a line for each trial
                      frame.parquet       the rows, where a notebook gave them in place of the source's
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import polars as pl

from everloop.data import Contract, FeatureTree, Rows, load_features, load_rows, read_contract, rows_of
from everloop.errors import DataError, FitFailed, NotFound
from everloop.experiment.leaderboard import ranked
from everloop.experiment.rows import SearchRows, split_rows
from everloop.experiment.search_plan import PLAN_FILE, KeptPlan, libraries, read_plan
from everloop.experiment.trials import Trial, read_trials
from everloop.models import fitted_learners, own_content
from everloop.pages import drafted
from everloop.project import FoldsPlan, Model, Objective, Project

__all__ = ["KeptSearch", "keep_frame", "kept_search", "kept_searches"]

_FRAME: Final = "frame.parquet"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class KeptSearch:
    """A search that ran in this project. trials: every one that has ended, by kind and number."""

    project: Project
    model: Model
    plan: KeptPlan
    trials: Mapping[tuple[str, int], Trial]

    @property
    def objective(self) -> Objective:
        """What its trials are ranked by, whatever model.yaml says by now."""
        return Objective.parse(self.plan.objective)

    @property
    def ranked(self) -> tuple[Trial, ...]:
        """All trials and yardsticks, the best first."""
        return ranked(list(self.trials.values()), maximise=self.objective.maximise)

    def trial(self, name: str | int) -> Trial:
        """The trial called 7, `7` or, a yardstick, `y1`. Raises NotFound that names those there are."""
        found = next((trial for trial in self.trials.values() if trial.name == str(name)), None)
        if found is None:
            raise NotFound(f"search {self.plan.id} has no trial {name}; {self._there_are()}")
        return found

    def _there_are(self) -> str:
        numbers = sorted(trial.number for trial in self.trials.values() if trial.kind == "trial")
        yardsticks = sorted(trial.name for trial in self.trials.values() if trial.kind == "yardstick")
        if not (numbers or yardsticks):
            return "none has ended yet"
        span = f"trials {numbers[0]} to {numbers[-1]}" if numbers else ""
        return f"it has {' and '.join(part for part in (span, ', '.join(yardsticks)) if part)}"

    @property
    def _frame(self) -> Path:
        return _folder(self.project, self.plan.id) / _FRAME

    def known(self, contract: Contract) -> Rows:
        """The rows whose outcome was due when it began: of the source, or of the frame that it was given."""
        if not self._frame.exists():
            return load_rows(self.model, contract, as_of=self.plan.as_of)
        frame = pl.read_parquet(self._frame)
        return rows_of(frame, self.model, contract, source="the frame given", as_of=self.plan.as_of)

    def rows(self, known: Rows, tree: FeatureTree) -> SearchRows:
        """The rows as features, in the search's own folds.

        Raises DataError where rows, features or folds are not what they were: no number could be the same.
        """
        folds = FoldsPlan.parse(self.plan.folds)
        found = split_rows(known, tree, self.model, folds=folds, seed=self.plan.seed)
        if found.hash != self.plan.data:
            kept = self._frame.exists()
            lost = "" if kept else " (or were a frame's, and it was killed before it kept that)"
            source = "its frame" if kept else self.model.data.source
            raise DataError(
                f"the rows of search {self.plan.id} have changed since{lost}: what {source}, features.py, "
                "contract.yaml and model.yaml give now is not what it saw, so no trial can give its number again; "
                "'everloop search' searches the rows as they are"
            )
        return found

    def load(self) -> SearchRows:
        """The search's rows, read anew. Raises as `rows`, and what reading raises."""
        contract = read_contract(self.model)
        tree = load_features(self.model.features_path, contract).tree()
        return self.rows(self.known(contract), tree)

    def check(self, trial: Trial) -> None:
        """Raise where `trial` cannot give its number again: it failed, or rows or its own learner have changed."""
        if trial.value is None:
            raise FitFailed(f"trial {trial.name} of search {self.plan.id} has no number to find: {trial.sentence}")
        own = own_content(fitted_learners(trial.learner, trial.hyperparameters), own=self.model.own_learners)
        if own is not None and own != self.plan.own_learners:
            raise DataError(
                f"{self.model.name}/learners.py has changed since search {self.plan.id}, so {trial.learner} may not be "
                "what was fitted there; 'everloop search' searches with it as it is"
            )
        self.load()

    @property
    def other_libraries(self) -> tuple[str, ...]:
        """Where this Python's libraries are not those of the search: `numpy is 2.4 and was 2.3`."""
        here = libraries()
        return tuple(
            f"{name} is {here.get(name, 'not installed')} and was {was}"
            for name, was in self.plan.libraries.items()
            if here.get(name) != was
        )


def _folder(project: Project, search: str) -> Path:
    return project.state / "searches" / search


def keep_frame(project: Project, search: str, frame: pl.DataFrame) -> None:
    """Keep the rows that `search` was given beside it, so that its trials can be fitted anew. Raises StorageFull."""
    path = _folder(project, search) / _FRAME
    full = (
        f"the disk of {path.parent} is full, and the frame of search {search} was not kept; its trials were: "
        "make room and run the same search again, it is done at once"
    )
    with drafted(path, full=full) as draft:
        frame.write_parquet(draft)


def kept_searches(project: Project, model: Model) -> list[KeptPlan]:
    """Every search of the model that was kept, the newest last."""
    plans = [read_plan(path.parent) for path in (project.state / "searches").glob(f"*/{PLAN_FILE}")]
    return sorted((plan for plan in plans if plan.model == model.name), key=lambda plan: (plan.as_of, plan.id))


def kept_search(search: str | None = None, *, model: str | None = None, project: Project | None = None) -> KeptSearch:
    """The search with that id; without one the newest of `model`.

    model: may be left out where the project has one. project: that of the current folder, or of one above, where None.
    Raises NotFound that names the searches there are.
    """
    here = Project.find() if project is None else project
    models = list(here.models.values()) if search is not None and model is None else [here.model(model)]
    plans = [plan for one in models for plan in kept_searches(here, one)]
    found = [plan for plan in plans if search in (None, plan.id)]
    if not found:
        raise NotFound(_nothing(search, models, plans))
    plan = found[-1]
    trials = read_trials(_folder(here, plan.id) / "trials.jsonl")
    return KeptSearch(project=here, model=here.model(plan.model), plan=plan, trials=trials)


def _nothing(search: str | None, models: list[Model], plans: list[KeptPlan]) -> str:
    names = " and ".join(model.name for model in models)
    if not plans:
        return f"{names} has no search yet; 'everloop search' runs one"
    kept = ", ".join(plan.id for plan in plans[-5:])
    return f"{names} has no search {search}; it has {kept}, the newest last"
