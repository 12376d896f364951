"""Durable workflows: runs that a killed process leaves go on where they were, and write every fact once.

A thin port on DBOS, which is imported when an `Engine` is opened. `Engine.open(paths, ledger=…, clock=…,
workflows=[Workflow(name=…, steps=[Step(name=…, run=…)])])`, then `start`, `wait`, `take`, `recover`, `cancel`, `retry`.
"""

from everloop.workflows.at_hand import AtHand
from everloop.workflows.context import RunContext
from everloop.workflows.engine import LEASE_S, Engine, ProjectPaths, RunHandle, cancel_run
from everloop.workflows.records import StepRecord, step_records
from everloop.workflows.result import RunResult
from everloop.workflows.story import Handover, RunStory, StepStory, run_story, step_of
from everloop.workflows.story_page import configured_from, gantt_chart, story_page, write_story
from everloop.workflows.workflow import JSON, State, Step, Workflow

__all__ = [
    "JSON",
    "LEASE_S",
    "AtHand",
    "Engine",
    "Handover",
    "ProjectPaths",
    "RunContext",
    "RunHandle",
    "RunResult",
    "RunStory",
    "State",
    "Step",
    "StepRecord",
    "StepStory",
    "Workflow",
    "cancel_run",
    "configured_from",
    "gantt_chart",
    "run_story",
    "step_of",
    "step_records",
    "story_page",
    "write_story",
]
