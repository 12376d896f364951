"""A project's files as types: everloop.yaml, model.yaml, specs, and the sentences in them.

This room is the only reader of the environment. All mistakes are told at once, each with file, line and key.
"""

from everloop.project.budget import Budget
from everloop.project.condition import Condition, Operator, format_bound
from everloop.project.document import Document, dump_yaml, parse_document, read_document
from everloop.project.durations import format_duration, parse_duration
from everloop.project.explain import explain, explain_records
from everloop.project.exposure import Step, StopRule, parse_step, parse_stop_rule
from everloop.project.folds import FoldsPlan, SearchChoice, SearchMethod
from everloop.project.gates import BeatsGate, Gate, MetricGate, NotWorseGate, parse_gate
from everloop.project.lock import ProjectLock
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
from everloop.project.notebook import Cell, executed, notebook_text
from everloop.project.notify import NOTICES, Channel
from everloop.project.objective import Objective
from everloop.project.outcome import Acts, DataSection, DecisionNames, OutcomeSection, TimeColumn, Weight
from everloop.project.paths import Paths
from everloop.project.project import PROJECT_FILE, Project
from everloop.project.quantiles import QUANTILES, parse_quantiles, quantile_level
from everloop.project.schedule import EXTERNAL, check_schedule, due_times, last_due, next_due
from everloop.project.settings import Address, Endpoint, Runs, Settings
from everloop.project.shares import format_share, parse_share
from everloop.project.spec import Approval, Spec, parse_spec, read_spec, spec_text, write_spec
from everloop.project.timezones import check_timezone, localise

__all__ = [
    "EXTERNAL",
    "LEARNERS",
    "METRICS",
    "NOTICES",
    "PROJECT_FILE",
    "QUANTILES",
    "TASK_LEARNERS",
    "Acts",
    "Address",
    "Approval",
    "BeatsGate",
    "Budget",
    "Cell",
    "Channel",
    "Condition",
    "DataSection",
    "DecisionNames",
    "Document",
    "Endpoint",
    "FoldsPlan",
    "Gate",
    "MetricGate",
    "MetricName",
    "Model",
    "MonitorSection",
    "NotWorseGate",
    "Objective",
    "Operator",
    "OutcomeSection",
    "Paths",
    "Project",
    "ProjectLock",
    "RolloutPlan",
    "Runs",
    "ScoreSection",
    "SearchChoice",
    "SearchMethod",
    "SearchSection",
    "Settings",
    "Spec",
    "Step",
    "StopRule",
    "TimeColumn",
    "TrainSection",
    "Weight",
    "check_schedule",
    "check_timezone",
    "did_you_mean",
    "due_times",
    "dump_yaml",
    "executed",
    "explain",
    "explain_records",
    "format_bound",
    "format_duration",
    "format_share",
    "last_due",
    "localise",
    "metric_name",
    "next_due",
    "notebook_text",
    "parse_document",
    "parse_duration",
    "parse_gate",
    "parse_model",
    "parse_quantiles",
    "parse_share",
    "parse_spec",
    "parse_step",
    "parse_stop_rule",
    "quantile_level",
    "read_document",
    "read_model",
    "read_spec",
    "spec_text",
    "write_spec",
]
