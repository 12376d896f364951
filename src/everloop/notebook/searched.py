"""What a board goes on from when it is asked more: the rows that were searched, and what the search left on disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from everloop.errors import NotFound
from everloop.experiment import Leaderboard, SearchRows, Trial, TrialStore
from everloop.notebook.frame import Kind
from everloop.notebook.place import Place

__all__ = ["Searched"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Searched:
    """What a board goes on from. given: the frame that was searched instead of the source; kind: of what comes out."""

    root: Path
    rows: SearchRows
    given: pl.DataFrame | None
    kind: Kind

    def place(self, leaderboard: Leaderboard) -> Place:
        """The project and the model as they are now."""
        return Place.of(self.root, leaderboard.model)

    def graph(self, leaderboard: Leaderboard, trial: Trial) -> bytes:
        """The trial's graph. Raises NotFound where someone has removed it."""
        folder = self.place(leaderboard).project.state / "searches" / leaderboard.search
        found = TrialStore(folder).graph(trial)
        if found is None:
            raise NotFound(f"the graph of trial {trial.name} is no longer in {folder.name}; search again, it is quick")
        return found
