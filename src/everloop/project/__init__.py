"""A project's files as types: everloop.yaml, model.yaml, specs, and the sentences in them.

This room is the only reader of the environment. All mistakes are told at once, each with file, line and key.
"""

from everloop.project.approval import ApprovalSection
from everloop.project.budget import Budget
from everloop.project.condition import Condition, Operator, format_bound
from everloop.project.document import Document, dump_yaml, parse_document, read_document
from everloop.project.durations import format_duration, parse_duration
from everloop.project.explain import explain, explain_records
from everloop.project.exposure import Step, StopRule, parse_step, parse_stop_rule
from everloop.project.folds import FoldsPlan, SearchChoice, SearchMethod
from everloop.project.gate_sentences import GATE_EXAMPLES, parse_gate
from everloop.project.gates import (
    CALIBRATION_ERROR,
    COVERAGE,
    BeatsGate,
    DriftGate,
    FreshGate,
    Gate,
    MeasureGate,
    MetricGate,
    NotWorseGate,
    OwnGate,
    PredictedGate,
    SegmentGate,
    StableGate,
    TargetGate,
    UsualGate,
    format_micros,
)
from everloop.project.lock import ProjectLock, exclusively
from everloop.project.metrics import LEARNERS, METRICS, TASK_LEARNERS, MetricName, did_you_mean, metric_name
from everloop.project.model import (
    Model,
    MonitorSection,
    RolloutPlan,
    ScoreSection,
    SearchSection,
    TrainSection,
    parse_model,
    read_model,
)
from everloop.project.moments import parse_moment
from everloop.project.notebook import Cell, executed, notebook_text
from everloop.project.notify import NOTICES, Channel
from everloop.project.objective import Objective
from everloop.project.outcome import Acts, DataSection, DecisionNames, OutcomeSection, TimeColumn, Weight
from everloop.project.own_gate import own_gate_path
from everloop.project.paths import Paths
from everloop.project.project import PROJECT_FILE, Project
from everloop.project.quantiles import QUANTILES, parse_quantiles, quantile_level
from everloop.project.rate import Rate
from everloop.project.roles import EVERYONE, ROLES, RoleName, named_in, roles_of
from everloop.project.schedule import EXTERNAL, check_schedule, due_times, last_due, next_due
from everloop.project.scopes import SCOPES, Scope, parse_scopes
from everloop.project.settings import (
    KEY_VARIABLE,
    Address,
    Endpoint,
    Retention,
    Runs,
    Settings,
    environment_variable,
    key_place,
)
from everloop.project.shares import format_share, parse_share
from everloop.project.spec import Approval, Source, Spec, parse_spec, read_spec, spec_text, write_spec
from everloop.project.spec_diff import flat_spec, spec_diff
from everloop.project.spec_store import FILES, SpecsSection, StoreAddress, parse_store
from everloop.project.timezones import check_timezone, localise
from everloop.project.upstream import UpstreamServer

__all__ = [
    "CALIBRATION_ERROR",
    "COVERAGE",
    "EVERYONE",
    "EXTERNAL",
    "FILES",
    "GATE_EXAMPLES",
    "KEY_VARIABLE",
    "LEARNERS",
    "METRICS",
    "NOTICES",
    "PROJECT_FILE",
    "QUANTILES",
    "ROLES",
    "SCOPES",
    "TASK_LEARNERS",
    "Acts",
    "Address",
    "Approval",
    "ApprovalSection",
    "BeatsGate",
    "Budget",
    "Cell",
    "Channel",
    "Condition",
    "DataSection",
    "DecisionNames",
    "Document",
    "DriftGate",
    "Endpoint",
    "FoldsPlan",
    "FreshGate",
    "Gate",
    "MeasureGate",
    "MetricGate",
    "MetricName",
    "Model",
    "MonitorSection",
    "NotWorseGate",
    "Objective",
    "Operator",
    "OutcomeSection",
    "OwnGate",
    "Paths",
    "PredictedGate",
    "Project",
    "ProjectLock",
    "Rate",
    "Retention",
    "RoleName",
    "RolloutPlan",
    "Runs",
    "Scope",
    "ScoreSection",
    "SearchChoice",
    "SearchMethod",
    "SearchSection",
    "SegmentGate",
    "Settings",
    "Source",
    "Spec",
    "SpecsSection",
    "StableGate",
    "Step",
    "StopRule",
    "StoreAddress",
    "TargetGate",
    "TimeColumn",
    "TrainSection",
    "UpstreamServer",
    "UsualGate",
    "Weight",
    "check_schedule",
    "check_timezone",
    "did_you_mean",
    "due_times",
    "dump_yaml",
    "environment_variable",
    "exclusively",
    "executed",
    "explain",
    "explain_records",
    "flat_spec",
    "format_bound",
    "format_duration",
    "format_micros",
    "format_share",
    "key_place",
    "last_due",
    "localise",
    "metric_name",
    "named_in",
    "next_due",
    "notebook_text",
    "own_gate_path",
    "parse_document",
    "parse_duration",
    "parse_gate",
    "parse_model",
    "parse_moment",
    "parse_quantiles",
    "parse_scopes",
    "parse_share",
    "parse_spec",
    "parse_step",
    "parse_stop_rule",
    "parse_store",
    "quantile_level",
    "read_document",
    "read_model",
    "read_spec",
    "roles_of",
    "spec_diff",
    "spec_text",
    "write_spec",
]
