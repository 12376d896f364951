"""Two versions on the same test rows, where both bundles and the rows of the later run are on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import msgspec
import polars as pl

from everloop.bundle import Bundle
from everloop.data import EVENT_TIME, TARGET, WEIGHT
from everloop.errors import NotFound
from everloop.project import Project, quantile_level
from everloop.registry.card import VersionCard
from everloop.tasks import Evaluated, get_task

__all__ = ["PairedGain", "paired_gain"]

_SPLIT: Final = "steps/split.json"
_ROWS: Final = "snapshot.parquet"


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedGain:
    """The objective's metric of the second version minus the first's, on the same rows, with its interval.

    rows, positives: of those rows. better: which way is better. of: the version whose test rows they are.
    seen: the other version's data reach into them, so that it may have been fitted on some of them.
    """

    metric: str
    point: float
    low: float
    high: float
    rows: int
    positives: int
    maximise: bool
    of: str
    seen: bool

    @property
    def sentence(self) -> str:
        """In a line or two."""
        sure = "no difference can be told"
        if self.low > 0 or self.high < 0:
            sure = "surely better" if (self.low > 0) == self.maximise else "surely worse"
        rows = f"the {self.rows:,} test rows of {self.of}"
        seen = "; the other may have been fitted on some of them" if self.seen else ""
        return f"{self.metric} {self.point:+.3f} [{self.low:+.3f}, {self.high:+.3f}] on {rows}: {sure}{seen}"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        names = ("metric", "point", "low", "high", "rows", "positives", "maximise", "of", "seen", "sentence")
        return {name: getattr(self, name) for name in names}


def paired_gain(project: Project, first: VersionCard, second: VersionCard) -> PairedGain:
    """Both, as they would be served, on the test rows of whichever was registered later.

    Raises NotFound where both are one bundle, or where a bundle or those rows are not on this machine, and what the
    reading and scoring raise.
    """
    if first.version.bundle == second.version.bundle:
        raise NotFound(f"{first.name} and {second.name} are one bundle, and answer the same")
    bundles = []
    for card in (first, second):
        if card.bundle is None:
            raise NotFound(f"the bundle of {card.name} is {card.place.short}")
        if card.bundle.external:
            raise NotFound(f"{card.name} is served by something else and cannot score here")
        bundles.append(card.bundle)
    later, earlier = (first, second) if first.version.number > second.version.number else (second, first)
    rows = _test_rows(project, later)
    for card, bundle in zip((first, second), bundles, strict=True):
        missing = [name for name in bundle.features.columns if name not in rows.columns]
        if missing:
            raise NotFound(f"{card.name} reads {', '.join(missing)}, which the test rows of {later.name} have not")
    task, objective = get_task(first.model.task), first.model.objective
    of_first, of_second = (_evaluation(bundle, rows, first) for bundle in bundles)
    gain = task.paired_interval(objective.metric, of_second, of_first, seed=0)
    return PairedGain(
        metric=objective.metric,
        point=gain.point,
        low=gain.low,
        high=gain.high,
        rows=rows.height,
        positives=of_second.positives,
        maximise=task.metrics[objective.metric].maximise,
        of=later.name,
        seen=_reaches(earlier, rows),
    )


def _test_rows(project: Project, card: VersionCard) -> pl.DataFrame:
    folder = project.paths.runs / card.version.run
    if not ((folder / _SPLIT).exists() and (folder / _ROWS).exists()):
        raise NotFound(f"the rows that {card.name} was judged on are no longer on this machine")
    output: Mapping[str, Any] = msgspec.json.decode((folder / _SPLIT).read_bytes())["output"]
    begin = datetime.fromisoformat(output["split"]["test_from"])
    return pl.scan_parquet(folder / _ROWS).filter(pl.col(EVENT_TIME) >= begin).collect()


def _evaluation(bundle: Bundle, rows: pl.DataFrame, card: VersionCard) -> Evaluated:
    said = bundle.score_frame(rows)
    return get_task(card.model.task).evaluate(
        rows[TARGET].to_numpy(),
        said.score,
        weight=rows[WEIGHT].to_numpy(),
        threshold=bundle.threshold,
        costs=card.model.objective.costs,
        quantiles=said.quantiles,
        levels=tuple(quantile_level(name) for name in bundle.quantiles),
    )


def _reaches(earlier: VersionCard, rows: pl.DataFrame) -> bool:
    """Whether the earlier version's data go beyond the first of these rows."""
    end = (earlier.version.data or {}).get("end")
    if not end:
        return False
    at = datetime.fromisoformat(str(end))
    first = rows[EVENT_TIME].min()
    return isinstance(first, datetime) and at >= first.astimezone(at.tzinfo)
