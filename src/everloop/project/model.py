"""model.yaml: what a model is."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, StrictInt, ValidationError, ValidationInfo, model_validator

from everloop.errors import NotFound
from everloop.project.about import AboutSection
from everloop.project.approval import ApprovalSection
from everloop.project.budget import Budget
from everloop.project.condition import parse_bound
from everloop.project.document import Document, KeyPath, parse_document, read_document
from everloop.project.durations import parse_duration
from everloop.project.exposure import Step, StopRule, parse_step, parse_stop_rule
from everloop.project.folds import FoldsPlan, SearchChoice, SearchMethod
from everloop.project.gate_sentences import parse_gate
from everloop.project.gates import Gate, MeasureGate, OwnGate, SegmentGate
from everloop.project.metrics import LEARNERS, METRICS, TASK_LEARNERS, Calibrate, did_you_mean
from everloop.project.objective import Objective
from everloop.project.outcome import DataSection, OutcomeSection
from everloop.project.own_gate import own_gate_mistake
from everloop.project.quantiles import Quantiles
from everloop.project.schedule import check_schedule
from everloop.project.section import Section, sentences
from everloop.project.shares import parse_share
from everloop.project.spec import Spec, read_spec
from everloop.project.spec_store import SpecsSection, specs_section, store_mistakes
from everloop.project.task_rules import task_mistakes, with_task_defaults
from everloop.project.timezones import check_timezone, localise
from everloop.project.upstream import Upstreams, UpstreamServer, upstream_mistakes, version_of

__all__ = [
    "Model",
    "ModelFile",
    "MonitorSection",
    "RolloutPlan",
    "SearchSection",
    "TrainSection",
    "parse_model",
    "read_model",
]

_OWN_LEARNERS = "learners.py"
CHECKS = ("schema", "drift", "score")
"""The checks that are not metrics."""


def _list(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _learner(value: object, info: ValidationInfo) -> object:
    own = bool(info.context) and isinstance(value, str) and value.isidentifier()
    known = tuple(dict.fromkeys(name for names in TASK_LEARNERS.values() for name in names))
    if value not in known and not own:  # what learners.py defines is known once it is run, by those who fit
        raise ValueError(f"{value!r} is not a learner{did_you_mean(str(value), known) or ' ' + str(LEARNERS)}")
    return value


def _check(value: object) -> object:
    if value not in CHECKS and value not in METRICS:
        hint = did_you_mean(str(value), [*CHECKS, *METRICS])
        raise ValueError(f"{value!r} is not a check ({', '.join(CHECKS)} or a metric){hint}")
    return value


def _holdout(value: object) -> float:
    share = parse_share(value)
    if share > 0.5:
        raise ValueError(f"{value} held out leaves less than half to fit on (0 < holdout ≤ 50 %)")
    return share


def _gain(value: object) -> float:
    try:
        gain = parse_bound(str(value))
    except ValueError:
        raise ValueError(f"{value!r} is not a gain, such as 0.02 or 2%") from None
    if not 0 <= gain < 1:
        raise ValueError(f"{value} is not a gain (0 ≤ gain < 1); 0 asks for any that is sure")
    return gain


def _positive_span(value: object) -> timedelta:
    span = parse_duration(value)
    if span <= timedelta(0):
        raise ValueError(f"{value} is not a span above 0, such as 1d")
    return span


Span = Annotated[timedelta, BeforeValidator(_positive_span)]


class SearchSection(Section):
    """What an experiment tries."""

    learners: Annotated[
        tuple[Annotated[str, BeforeValidator(_learner)], ...], BeforeValidator(_list), Field(min_length=1)
    ] = Field(
        LEARNERS[1:],
        description="those of learners.py too; the constant is tried in any case, as a yardstick",
    )
    calibration: Calibrate = Field(
        "auto", description="auto: the map, if any, that validation rows surely ask for; or none, logistic, isotonic"
    )
    method: SearchMethod = Field("bayesian", description="grid, random or bayesian")
    trials: Annotated[StrictInt, Field(ge=1)] | None = Field(
        None, description="configurations over all learners; left out: 40, or the whole grid"
    )
    minutes: Annotated[float, Field(gt=0)] | None = Field(None, description="begin no trial after this long")
    folds: Annotated[FoldsPlan, BeforeValidator(FoldsPlan.parse)] = Field(
        FoldsPlan(), description="auto, 5, 5 by time, 5 stratified: how often a trial is fitted, each time judged anew"
    )
    jobs: Annotated[StrictInt, Field(ge=1)] | None = Field(
        None, description="processes, one thread each; left out: one per core"
    )
    space: Mapping[str, Mapping[str, Any]] = Field(
        default_factory=dict,
        description="{xgboost: {max_depth: [3, 5], eta: {low: 0.01, high: 0.3, log: true}}}; left out: the learner's",
    )
    trial_timeout: Span = Field(timedelta(hours=1), description="a trial that takes longer has failed")
    choose: SearchChoice = Field(
        "cheapest",
        description="of the trials that the data cannot tell from the best: the best of the small; best: the best; "
        "blend: one more trial, the mean of the best five",
    )
    seed: StrictInt = Field(0, description="the same seed, data and lock give the same trials")


class TrainSection(Section):
    """What a training run fits on, and when one is due."""

    window: Span | None = Field(None, description="the newest span to fit on, e.g. 90d; left out: all")
    holdout: Annotated[float, BeforeValidator(_holdout)] = Field(
        0.1, description="newest share, to validate and test on"
    )
    rows: Annotated[StrictInt, Field(ge=1000)] | None = Field(
        None, description="fit on at most so many: rare positives whole, the others a weighted sample; left out: all"
    )
    schedule: Annotated[str | None, BeforeValidator(lambda value: None if value is None else check_schedule(value))] = (
        Field(
            None, description='"0 2 * * SUN", daily, every 6h, cron(0 2 ? * SUN *), or external; left out: only by hand'
        )
    )
    missed: Literal["once", "skip"] = Field(
        "once", description="what came due while nothing ran, or in a pause: once, late; or skip it"
    )


class ScoreSection(Section):
    """What is scored in batch, besides what the endpoint is asked."""

    source: str | None = Field(
        None,
        description="rows to score: a folder or glob, also s3://…, or a Delta table; only what is new; left out: off",
    )
    target: str | None = Field(
        None, description="Delta table that takes what was said, also s3://…; left out: .everloop/scored/MODEL"
    )
    schedule: Annotated[str | None, BeforeValidator(lambda value: None if value is None else check_schedule(value))] = (
        Field(None, description="as of train.schedule; left out: only by 'everloop score --new'")
    )

    @model_validator(mode="after")
    def _has_a_source(self) -> ScoreSection:
        if self.source is None and (self.schedule is not None or self.target is not None):
            raise ValueError("there is no source to score; write score: {source: FOLDER, …}")
        return self


_STEPS = tuple(parse_step(text) for text in ("shadow 1d", "1%", "10%", "50%", "100%"))


class RolloutPlan(Section):
    """How a challenger is exposed."""

    steps: tuple[Annotated[Step, BeforeValidator(parse_step)], ...] = Field(
        _STEPS, min_length=1, description="rising; a duration is the least time on a step"
    )
    stop_if: tuple[Annotated[StopRule, BeforeValidator(parse_stop_rule)], ...] = Field(
        (parse_stop_rule("errors"),),
        alias="stop if",
        description="errors, latency p99 > 20ms, decision share moves > 10%, score shifts > 0.1",
    )
    least_gain: Annotated[float, BeforeValidator(_gain)] = Field(
        0.0,
        alias="least gain",
        description="what a better challenger must surely gain in the objective; in a loss or accuracy a share of the "
        "champion's loss",
    )


class MonitorSection(Section):
    """How traffic is watched."""

    every: Span = Field(timedelta(days=1), description="length of a window")
    false_alarms: Annotated[Budget, BeforeValidator(Budget.parse)] = Field(
        Budget(count=1, per=timedelta(days=30)), description="over all columns, checks and windows together"
    )
    checks: Annotated[tuple[Annotated[str, BeforeValidator(_check)], ...], BeforeValidator(_list)] = Field(
        CHECKS, description="schema, drift, score, and metrics"
    )


class ModelFile(Section):
    """Everything of a model.yaml."""

    task: Literal["classification", "regression"] = Field(
        "classification", description="classification | regression: the kind of problem"
    )
    about: AboutSection = Field(
        default_factory=lambda: AboutSection(), description="what it is for, as its card tells who has to answer for it"
    )
    timezone: Annotated[str, BeforeValidator(check_timezone)] = Field(
        "UTC", description="in which naive times and schedules are read"
    )
    data: DataSection = Field(description="where the rows are")
    outcome: OutcomeSection = Field(default_factory=lambda: OutcomeSection(), description="when the truth arrives")
    objective: Annotated[Objective, BeforeValidator(Objective.parse)] = Field(
        description="recall at precision >= 0.80, cost(fn=100, fp=1), average_precision, …; regression: mae, mape, …"
    )
    quantiles: Quantiles = Field((), description="of a regression, beside its score; left out there: [p10, p50, p90]")
    search: SearchSection = Field(default_factory=lambda: SearchSection(), description="what an experiment tries")
    spec_store: Annotated[SpecsSection, BeforeValidator(specs_section)] = Field(
        default_factory=lambda: SpecsSection(), alias="specs", description="where the configuration lives: one place"
    )
    train: TrainSection = Field(default_factory=lambda: TrainSection(), description="what a training run fits on")
    gates: tuple[Annotated[Gate, BeforeValidator(parse_gate)], ...] = Field(
        (parse_gate("beats yardstick"),),
        description="of the rows, before training: rows within 50% of usual, newest row within 3d, target rate between "
        "0.1% and 2%, duplicates < 1%, drift < 0.2, contract violations < 0.1%; of the model: recall >= 0.75 [at 95%] "
        "[for each SEGMENT [with 200 rows]], beats champion, not worse than champion by 0.01, calibration error <= "
        "0.02, predicted rate within 20% of actual, agreement <= 1e-5, latency <= 500us per row, bundle <= 5MB, stable "
        "within 0.02 over 3 seeds, FILE.FUNCTION; each refuses where it is undecided, unless it ends in ', undecided "
        "passes'",
    )
    score: ScoreSection = Field(default_factory=lambda: ScoreSection(), description="what is scored in batch")
    rollout: RolloutPlan = Field(default_factory=lambda: RolloutPlan(), description="how a challenger is exposed")
    upstream: Upstreams = Field(
        default_factory=dict,
        description="versions that something else serves: {v1: http://HOST:PORT, v2: {url: …, protocol: mlflow}}",
    )
    monitor: MonitorSection = Field(default_factory=lambda: MonitorSection(), description="how traffic is watched")
    approval: ApprovalSection = Field(
        default_factory=lambda: ApprovalSection(), description="who may approve a spec, and whose word is enough"
    )
    on_alert: Literal["notify", "propose", "rollout"] = Field(
        "propose",
        description="notify: tell people; propose: write a spec for approval; rollout: go all the way by policy",
    )
    promote: Literal["better", "not_worse"] | None = Field(
        None, description="better | not_worse; left out: not_worse for one that answers an alert, else better"
    )


class Model(ModelFile):
    """A model of a project: its file, its name and its folder."""

    name: str
    folder: Path

    @property
    def contract_path(self) -> Path:
        """Where the contract lies."""
        return self.folder / "contract.yaml"

    @property
    def features_path(self) -> Path:
        """Where the features are defined."""
        return self.folder / "features.py"

    @property
    def own_learners(self) -> Path | None:
        """The learners.py that defines learners of this project's own; None where there is none."""
        return self.folder / _OWN_LEARNERS if _own(self.folder) else None

    @property
    def tolerates_violations(self) -> bool:
        """Whether rows that break the contract are left out and counted, because a gate says how many may be."""
        return any(isinstance(gate, MeasureGate) and gate.measure == "contract violations" for gate in self.gates)

    @property
    def calibration(self) -> str:
        """What is asked of scores that are to be probabilities, as a search says it; none of numbers."""
        return self.search.calibration if self.task == "classification" else "none"

    @property
    def upstreams(self) -> dict[int, UpstreamServer]:
        """The servers of versions that something else serves, by version."""
        found = ((version_of(key), server) for key, server in self.upstream.items())
        return {version: server for version, server in found if version is not None}

    @property
    def specs_folder(self) -> Path:
        """Where the specs lie."""
        return self.folder / "specs"

    @property
    def notebooks(self) -> Path:
        """Where people's and investigations' notebooks lie."""
        return self.folder / "notebooks"

    @property
    def positive_label(self) -> str:
        """What a positive decision is called in an answer."""
        return self.name if self.data.decision.positive is None else self.data.decision.positive

    @property
    def negative_label(self) -> str:
        """What a negative decision is called in an answer."""
        negative = self.data.decision.negative
        return f"not_{self.positive_label}" if negative is None else negative

    def promotes_if(self, *, answers_alert: bool) -> Literal["better", "not_worse"]:
        """What a challenger must be to be promoted."""
        if self.promote is not None:
            return self.promote
        return "not_worse" if answers_alert else "better"

    def spec_path(self, number: int) -> Path:
        """The file of spec `number`."""
        return self.specs_folder / f"{self.name}-s{number}.yaml"

    def specs(self) -> list[Spec]:
        """Every spec in the folder, by number. Raises ConfigurationError for one that cannot be read."""
        found = [read_spec(path) for path in self.specs_folder.glob(f"{self.name}-s*.yaml")]
        return sorted(found, key=lambda spec: spec.number)

    def spec(self, name: str | int) -> Spec:
        """The spec called `fraud-s1`, `s1` or 1. Raises NotFound that names the newest."""
        number = str(name).removeprefix(f"{self.name}-").removeprefix("s")
        path = self.spec_path(int(number)) if number.isdigit() else None
        if path is not None and path.exists():
            return read_spec(path)
        names = [spec.name for spec in self.specs()]
        last = f"the newest is {names[-1]}" if names else "'everloop search' writes the first"
        raise NotFound(f"{self.name} has no spec {name}; {last}")

    def next_spec_number(self) -> int:
        """The number that the next spec gets, from 1."""
        return max((spec.number for spec in self.specs()), default=0) + 1


def read_model(folder: Path, *, shown: str | None = None) -> tuple[Model | None, tuple[str, ...]]:
    """The model of a folder, or what is wrong with its model.yaml, all of it."""
    name = f"{folder.name}/model.yaml" if shown is None else shown
    return _model(read_document(folder / "model.yaml", name=name), folder=folder)


def parse_model(text: str, *, name: str = "model", folder: Path | None = None) -> tuple[Model | None, tuple[str, ...]]:
    """The model of a YAML text, as if it lay in `folder`."""
    return _model(parse_document(text, name=f"{name}/model.yaml"), folder=Path(name) if folder is None else folder)


def _model(document: Document, *, folder: Path) -> tuple[Model | None, tuple[str, ...]]:
    if not isinstance(document.value, dict):
        return None, (*document.mistakes, document.mistake((), "the file is a mapping of keys to values"))
    if document.mistakes and not document.value:
        return None, document.mistakes
    try:
        read = ModelFile.model_validate(document.value, context={"own": True} if _own(folder) else None)
    except ValidationError as error:
        found = sorted({document.mistake(*item) for item in sentences(error, ModelFile)}, key=_line)
        return None, (*document.mistakes, *found)
    placed, crossed = _place_origin(with_task_defaults(read))
    crossed += [*_cross_mistakes(placed), *_own_gate_mistakes(placed, folder)]
    mistakes = (*document.mistakes, *(document.mistake(*item) for item in crossed))
    values = {name: getattr(placed, name) for name in ModelFile.model_fields}
    return None if mistakes else Model.model_construct(**values, name=folder.name, folder=folder), mistakes


def _own(folder: Path) -> bool:
    return (folder / _OWN_LEARNERS).is_file()


def _line(mistake: str) -> tuple[int, str]:
    return int(mistake.split(":")[1]), mistake


def _place_origin(read: ModelFile) -> tuple[ModelFile, list[tuple[KeyPath, str]]]:
    """The file with the origin of a numeric time column in UTC."""
    time = read.data.time
    if time.origin is None:
        return read, []
    if time.unit is None:
        return read, [(("data", "time", "origin"), "an origin needs the unit of the column, such as unit: s")]
    try:
        origin = localise(time.origin, read.timezone)
    except ValueError as error:
        return read, [(("data", "time", "origin"), str(error))]
    data = read.data.model_copy(update={"time": time.model_copy(update={"origin": origin})})
    return read.model_copy(update={"data": data}), []


def _cross_mistakes(read: ModelFile) -> list[tuple[KeyPath, str]]:
    """What no key says alone: roles that collide, metrics of another task, steps that fall."""
    roles_and_task = [*_role_mistakes(read), *task_mistakes(read)]
    return [
        *roles_and_task,
        *_segment_mistakes(read),
        *_step_mistakes(read),
        *store_mistakes(read.spec_store),
        *upstream_mistakes(read.upstream),
    ]


def _role_mistakes(read: ModelFile) -> list[tuple[KeyPath, str]]:
    found: list[tuple[KeyPath, str]] = []
    taken: dict[str, str] = {}
    for role, column in read.data.role_columns().items():
        if column in taken:
            found.append((("data", role), f"the column {column!r} already is the {taken[column]}"))
        taken.setdefault(column, role)
    for index, column in enumerate(read.data.segments):
        if taken.get(column) in ("target", "weight", "time"):
            found.append((("data", "segments", index), f"the column {column!r} is the {taken[column]}, no segment"))
    acts = read.outcome.acts
    if acts is not None and acts.column in taken:
        found.append((("outcome", "acts", "column"), f"the column {acts.column!r} already is the {taken[acts.column]}"))
    weight = read.data.weight
    if weight is not None and (weight.column is None) == (weight.negative is None):
        found.append((("data", "weight"), "is either a column or {negative: NUMBER}"))
    return found


def _segment_mistakes(read: ModelFile) -> list[tuple[KeyPath, str]]:
    segments = read.data.segments
    return [
        (("gates", index), f"{gate.segment!r} is not one of data.segments{did_you_mean(gate.segment, segments)}")
        for index, gate in enumerate(read.gates)
        if isinstance(gate, SegmentGate) and gate.segment is not None and gate.segment not in segments
    ]


def _own_gate_mistakes(read: ModelFile, folder: Path) -> list[tuple[KeyPath, str]]:
    """Gates of the project's own whose file or function is not there; the file is read and not run."""
    return [
        (("gates", index), mistake)
        for index, gate in enumerate(read.gates)
        if isinstance(gate, OwnGate) and (mistake := own_gate_mistake(gate, folder)) is not None
    ]


def _step_mistakes(read: ModelFile) -> list[tuple[KeyPath, str]]:
    steps = read.rollout.steps
    return [
        (("rollout", "steps", index), f"{step} does not come after {before}: steps rise")
        for index, (before, step) in enumerate(pairwise(steps), start=1)
        if step.share <= before.share
    ]
