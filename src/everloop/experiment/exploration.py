"""What was found in a source, as one record: for the screen, for JSON, for the page and the notebook."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from everloop.experiment.association import Association
from everloop.experiment.columns import ColumnSummary
from everloop.experiment.correlated import Correlated
from everloop.experiment.finding import Finding
from everloop.experiment.importance import Importance
from everloop.experiment.overtime import Period, Season, Span
from everloop.experiment.target import TargetSummary

__all__ = ["Exploration", "Looked"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """How closely a source was looked at.

    streamed: it was read block by block, and `rows` is a seeded sample of its usable rows; else `rows` is all of them.
    importance_rows: rows that importances were taken from, 0 where there are none, and then the reason.
    """

    streamed: bool
    rows: int
    importance_rows: int
    why_no_importances: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Exploration:
    """A source seen through a model's eyes.

    findings: what looks wrong, the gravest first. associations, importances: the strongest first. groups: features that
    move together, the largest group first. periods, seasons: in order of time, without the rows that lie far from all
    others.
    page: where the HTML page was written, None where none was asked for.
    """

    model: str
    source: str
    task: str
    rows: int
    span: Span | None
    columns: tuple[ColumnSummary, ...]
    target: TargetSummary | None
    periods: tuple[Period, ...]
    seasons: tuple[Season, ...]
    associations: tuple[Association, ...]
    importances: tuple[Importance, ...]
    groups: tuple[Correlated, ...]
    looked: Looked
    findings: tuple[Finding, ...]
    seconds: float
    page: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON, times as ISO 8601."""
        record: dict[str, Any] = msgspec.to_builtins(self)
        return record

    def column(self, name: str) -> ColumnSummary:
        """The column called `name`. Raises KeyError where there is none."""
        return next(column for column in self.columns if column.name == name)

    def importance(self, feature: str) -> Importance | None:
        """The feature's importance; None where importances were not taken."""
        return next((one for one in self.importances if one.feature == feature), None)

    @property
    def about_importances(self) -> str:
        """What importances were taken from, and what they do not say; or why there are none."""
        looked = self.looked
        if not looked.importance_rows:
            return f"No importances: {looked.why_no_importances}."
        said = (
            f"Shuffled, forest: of small models on a seeded sample of {looked.importance_rows:,} rows; they rank only."
        )
        if any(one.permutation > 0 for one in self.importances):
            return said
        return f"{said} Nothing is lost by shuffling: together the features tell no more than chance may."

    def _repr_html_(self) -> str:
        """What a notebook shows: the same findings, tables and charts, without a script."""
        from everloop.experiment.page import exploration_fragment

        return exploration_fragment(self)
