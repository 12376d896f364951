"""What a step read and gave, whole, in the run's folder: for people to look at, and for a retry to go on from."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from everloop.errors import NotFound
from everloop.ledger import StepFailure

__all__ = ["StepRecord", "keep_step", "kept_steps", "step_records"]

_FOLDER: Final = "steps"


class StepRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A step that ended well. inputs: what it read of the state; output: what it added. Times are UTC."""

    step: str
    position: int
    attempt: int
    began: datetime
    ended: datetime
    seconds: float
    inputs: dict[str, Any]
    output: dict[str, Any]
    failures: list[StepFailure] = msgspec.field(default_factory=list)


def keep_step(workdir: Path, record: StepRecord) -> None:
    """Write it, whole or not at all; a repetition replaces it."""
    folder = workdir / _FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    draft = folder / f".{record.step}.{secrets.token_hex(4)}"
    draft.write_bytes(msgspec.json.format(msgspec.json.encode(record), indent=1))
    draft.replace(_path(workdir, record.step))


def _path(workdir: Path, step: str) -> Path:
    return workdir / _FOLDER / f"{step}.json"


def step_records(workdir: Path) -> list[StepRecord]:
    """The steps that ended, in their order; empty where the folder is not on this machine."""
    found = [msgspec.json.decode(path.read_bytes(), type=StepRecord) for path in (workdir / _FOLDER).glob("*.json")]
    return sorted(found, key=lambda record: record.position)


def kept_steps(source: Path, workdir: Path, steps: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Copy what a run left into the folder of its retry; step → output, for these steps.

    Raises NotFound where one of them never ended, or its files are gone.
    """
    lacking = [step for step in steps if not _path(source, step).exists()]
    if lacking:
        raise NotFound(
            f"{source.name} holds no output of {', '.join(lacking)}, so it cannot be gone on from there; "
            "retry from an earlier step, or start the run anew"
        )
    draft = workdir.with_name(f".{workdir.name}.{secrets.token_hex(4)}")
    shutil.copytree(source, draft, ignore=shutil.ignore_patterns(".*"))  # drafts that a crash left
    for path in (draft / _FOLDER).glob("*.json"):
        if path.stem not in steps:
            path.unlink()
    shutil.rmtree(workdir, ignore_errors=True)
    os.rename(draft, workdir)
    return {step: msgspec.json.decode(_path(workdir, step).read_bytes(), type=StepRecord).output for step in steps}
