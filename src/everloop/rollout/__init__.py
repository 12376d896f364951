"""Who answers which request, and the pure state machine of exposure.

`assign` is what the endpoint asks for every row; `step` is what control feeds with evidence; `judge` turns counts of
both sides on the same rows into guardrail verdicts; `store` keeps all of it as facts in the ledger.
"""

from everloop.rollout.counts import LATENCY_EDGES_MS, SCORE_BINS, PairedCounts, latency_bin
from everloop.rollout.guardrails import judge
from everloop.rollout.machine import (
    DEFAULT_PATIENCE,
    DEFAULT_STAGE_DURATION,
    AbortRequested,
    Action,
    Comparison,
    ComparisonJudged,
    Event,
    Evidence,
    GuardrailsJudged,
    PauseRequested,
    Promote,
    PromoteRequested,
    ResumeRequested,
    Rollout,
    SetExposure,
    Stage,
    Started,
    Stop,
    Tick,
    stages,
    step,
)
from everloop.rollout.routing import Assignment, Exposure, Routing, assign, assign_many
from everloop.rollout.served import ServedPeriod, ServedShare, served_periods
from everloop.rollout.store import advance, deploy, load_rollout, load_routing, prepare, rollback, start

__all__ = [
    "DEFAULT_PATIENCE",
    "DEFAULT_STAGE_DURATION",
    "LATENCY_EDGES_MS",
    "SCORE_BINS",
    "AbortRequested",
    "Action",
    "Assignment",
    "Comparison",
    "ComparisonJudged",
    "Event",
    "Evidence",
    "Exposure",
    "GuardrailsJudged",
    "PairedCounts",
    "PauseRequested",
    "Promote",
    "PromoteRequested",
    "ResumeRequested",
    "Rollout",
    "Routing",
    "ServedPeriod",
    "ServedShare",
    "SetExposure",
    "Stage",
    "Started",
    "Stop",
    "Tick",
    "advance",
    "assign",
    "assign_many",
    "deploy",
    "judge",
    "latency_bin",
    "load_rollout",
    "load_routing",
    "prepare",
    "rollback",
    "served_periods",
    "stages",
    "start",
    "step",
]
