"""Durable workflows: runs that a killed process leaves go on where they were, and write every fact once.

A thin port on DBOS, which is imported when an `Engine` is opened. `Engine.open(paths, ledger=…, clock=…,
workflows=[Workflow(name=…, steps=[Step(name=…, run=…)])])`, then `start`, `wait`, `recover`, `cancel`.
"""

from everloop.workflows.context import RunContext
from everloop.workflows.engine import Engine, ProjectPaths, RunHandle
from everloop.workflows.result import RunResult
from everloop.workflows.workflow import JSON, State, Step, Workflow

__all__ = ["JSON", "Engine", "ProjectPaths", "RunContext", "RunHandle", "RunResult", "State", "Step", "Workflow"]
