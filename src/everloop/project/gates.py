"""The conditions that rows and a model must meet, one sentence each: what a gate is. `gate_sentences` reads them.

Some are asked of the rows before anything is fitted, the others of the model that came out; `before_training` says
which. A gate ends in `, undecided passes` where an answer that the evidence does not give is not to refuse.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Literal, TypeAlias

from everloop.project.condition import Condition, Operator, format_bound
from everloop.project.durations import format_duration
from everloop.project.shares import format_share

__all__ = [
    "CALIBRATION_ERROR",
    "COVERAGE",
    "MEASURES",
    "BeatsGate",
    "DriftGate",
    "FreshGate",
    "Gate",
    "Measure",
    "MeasureGate",
    "MetricGate",
    "NotWorseGate",
    "OwnGate",
    "PredictedGate",
    "SegmentGate",
    "StableGate",
    "TargetGate",
    "UsualGate",
    "format_micros",
]

CALIBRATION_ERROR: Final = "calibration_error"
COVERAGE: Final = "coverage"

Measure = Literal["rows", "duplicates", "contract violations", "agreement", "latency", "bundle"]
MEASURES: Final[tuple[Measure, ...]] = ("rows", "duplicates", "contract violations", "agreement", "latency", "bundle")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sentence(ABC):
    """A gate. undecided_passes: whether what cannot be told lets the run go on."""

    undecided_passes: bool = False

    @property
    def before_training(self) -> bool:
        """Whether it is asked of the rows, before anything is fitted."""
        return False

    @property
    @abstractmethod
    def words(self) -> str:
        """The sentence without what is done about an undecided answer."""

    def __str__(self) -> str:
        return f"{self.words}, undecided passes" if self.undecided_passes else self.words


@dataclass(frozen=True, slots=True, kw_only=True)
class _RowsSentence(_Sentence):
    """A gate that is asked of the rows, whatever its sentence says."""

    @property
    def before_training(self) -> bool:
        """True."""
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentGate(_Sentence):
    """A gate that may be asked of every value of a segment.

    at_level: the interval's level, where the sentence says one. least_rows: values with fewer are named, not judged.
    """

    at_level: float | None = None
    segment: str | None = None
    least_rows: int | None = None

    @property
    @abstractmethod
    def asked(self) -> str:
        """What is asked of the rows, or of each segment's."""

    @property
    def words(self) -> str:
        """The sentence, with its level and its segment."""
        level = "" if self.at_level is None else f" at {format_share(self.at_level)}"
        each = "" if self.segment is None else f" for each {self.segment}"
        least = "" if self.least_rows is None else f" with {self.least_rows:,} rows"
        return f"{self.asked}{level}{each}{least}"


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricGate(SegmentGate):
    """A metric against a bound.

    metric: one of the task's, `calibration_error` or `coverage`. at_level: None asks the point estimate, 0.95 the
    nearer end of the 95 % interval.
    """

    metric: str
    op: Operator
    bound: float

    @property
    def condition(self) -> Condition:
        """The bare condition."""
        return Condition(metric=self.metric, op=self.op, bound=self.bound)

    @property
    def asked(self) -> str:
        """`recall >= 0.75`."""
        return f"{self.metric.replace('_', ' ') if self.metric == CALIBRATION_ERROR else self.metric} {self.op} " + (
            format_bound(self.bound)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictedGate(SegmentGate):
    """What is predicted in the large: the mean score within a share of the mean outcome.

    what: `rate` of positives, of a regression `mean`. at_level: None asks the point, 0.95 the whole 95 % interval.
    """

    what: Literal["rate", "mean"]
    within: float

    @property
    def asked(self) -> str:
        """`predicted rate within 20% of actual`."""
        return f"predicted {self.what} within {format_share(self.within)} of actual"


@dataclass(frozen=True, slots=True, kw_only=True)
class BeatsGate(SegmentGate):
    """Better at the objective than the yardsticks, or surely better than the champion on the same rows."""

    reference: Literal["yardstick", "champion"]

    @property
    def asked(self) -> str:
        """`beats champion`."""
        return f"beats {self.reference}"


@dataclass(frozen=True, slots=True, kw_only=True)
class NotWorseGate(SegmentGate):
    """At most `margin` worse than the champion on the same rows, by the paired interval.

    metric: None is the objective's.
    """

    margin: float
    metric: str | None = None

    @property
    def asked(self) -> str:
        """`not worse than champion by 0.01`."""
        metric = "" if self.metric is None else f"{self.metric} "
        return f"{metric}not worse than champion by {format_bound(self.margin)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasureGate(_Sentence):
    """A plain number of the run against a bound.

    bound: of `rows` a count; of `duplicates` and `contract violations` a share; of `agreement` a difference of scores;
    of `latency` µs for one row; of `bundle` bytes.
    """

    measure: Measure
    op: Operator
    bound: float

    @property
    def before_training(self) -> bool:
        """Whether the number is one of the rows."""
        return self.measure in ("rows", "duplicates", "contract violations")

    def holds(self, value: float) -> bool:
        """Whether `value` is on the right side."""
        return Condition(metric=self.measure, op=self.op, bound=self.bound).holds(value)

    def side(self, met: bool) -> str:
        """On which side of the bound a number is, as `within` or `above`, and of rows `at least`."""
        if self.op.startswith(">"):
            return "at least" if met else "fewer than"
        if self.op == "<":
            return "below" if met else "not below"
        return "within" if met else "above"

    def told(self, value: float) -> str:
        """The number as people write it, with its unit."""
        match self.measure:
            case "rows":
                return f"{value:,.0f}"
            case "duplicates" | "contract violations":
                return format_share(value)
            case "latency":
                return f"{format_micros(value)} per row"
            case "bundle":
                return f"{value / 1e6:g}MB"
            case _:
                return f"{value:.3g}".replace("e-0", "e-")

    @property
    def words(self) -> str:
        """`latency <= 50us per row`."""
        return f"{self.measure} {self.op} {self.told(self.bound)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class UsualGate(_RowsSentence):
    """Within a share of what former trainings of the model had: rows, the target's rate, or its mean."""

    what: Literal["rows", "target rate", "target mean"]
    within: float

    @property
    def words(self) -> str:
        """`rows within 50% of usual`."""
        return f"{self.what} within {format_share(self.within)} of usual"


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetGate(_RowsSentence):
    """The share of positive rows, or of a regression the mean outcome, between two numbers, both allowed."""

    what: Literal["target rate", "target mean"]
    low: float
    high: float

    @property
    def words(self) -> str:
        """`target rate between 0.1% and 2%`."""
        low, high = (format_share(end) if self.what == "target rate" else f"{end:g}" for end in (self.low, self.high))
        return f"{self.what} between {low} and {high}"


@dataclass(frozen=True, slots=True, kw_only=True)
class FreshGate(_RowsSentence):
    """The newest row at most `within` older than the newest that could have matured."""

    within: timedelta

    @property
    def words(self) -> str:
        """`newest row within 3d`."""
        return f"newest row within {format_duration(self.within)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftGate(_RowsSentence):
    """How far columns are from those of the last training's rows.

    columns: those asked; empty asks every feature. by: `psi` in nats, or `ks`, a distance from 0 to 1.
    """

    op: Operator
    bound: float
    columns: tuple[str, ...] = ()
    by: Literal["psi", "ks"] = "psi"

    def holds(self, distance: float) -> bool:
        """Whether a column that far away is near enough."""
        return Condition(metric="drift", op=self.op, bound=self.bound).holds(distance)

    @property
    def words(self) -> str:
        """`drift of amount by ks < 0.1`."""
        of = f" of {', '.join(self.columns)}" if self.columns else ""
        return f"drift{of}{' by ks' if self.by == 'ks' else ''} {self.op} {self.bound:g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class StableGate(_Sentence):
    """Fitted again with other seeds, the best and the worst of `seeds` fits differ by at most `within`.

    metric: None is the objective.
    """

    within: float
    seeds: int
    metric: str | None = None

    @property
    def words(self) -> str:
        """`stable within 0.02 over 3 seeds`."""
        metric = "" if self.metric is None else f"{self.metric} "
        return f"{metric}stable within {format_bound(self.within)} over {self.seeds} seeds"


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnGate(_Sentence):
    """A function of the project: `function` in `file`.py beside model.yaml.

    before: whether it is asked of the rows, before training.
    """

    file: str
    function: str
    before: bool = False

    @property
    def before_training(self) -> bool:
        """As the sentence says."""
        return self.before

    @property
    def words(self) -> str:
        """`gates.check_countries`."""
        return f"{self.file}.{self.function}{' before training' if self.before else ''}"


def format_micros(micros: float) -> str:
    """`50us`, `1.5ms`, `2s`: microseconds in the unit that people read."""
    for unit, size in (("s", 1e6), ("ms", 1e3)):
        if micros >= size:
            return f"{micros / size:.4g}{unit}"
    return f"{micros:.4g}us"


Gate: TypeAlias = (
    MetricGate
    | PredictedGate
    | BeatsGate
    | NotWorseGate
    | MeasureGate
    | UsualGate
    | TargetGate
    | FreshGate
    | DriftGate
    | StableGate
    | OwnGate
)
