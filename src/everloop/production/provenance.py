"""What a version will know of where it came from, taken at its run's start: data files, code, environment, approval.

It is evidence beside the bundle: two runs on other machines from another commit may well end in the same bundle.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from everloop.data import local_files
from everloop.ledger import ApprovedBy, CodeState, DataFile, Environment, Fact, Origin
from everloop.pages import write_whole
from everloop.production.source_files import as_json, source_files, sources_of, table_version
from everloop.project import Model, Spec

__all__ = ["EVIDENCE", "Reading", "code_state", "environment", "installed", "origin_of", "registered_origin"]

EVIDENCE: Final = "provenance.json"
"""The whole of it, in the run's folder and beside the bundle: every file, every installed package."""
_OWN_FILES: Final = ("model.yaml", "contract.yaml", "features.py", "learners.py")
_LOCKS: Final = ("uv.lock", "poetry.lock", "pdm.lock", "pylock.toml", "requirements.lock", "requirements.txt")
_GIT_LIMIT_S: Final = 20.0
_MOST_CHANGED: Final = 20
_CONFIGURATION: Final = (
    "learner",
    "hyperparameters",
    "features",
    "objective",
    "calibration",
    "quantiles",
    "seed",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """The source before a run reads it, so that afterwards it can be said whether it stood still.

    traffic: the live tables as they were then; rows that come later are none of the run's.
    """

    source: str
    root: Path
    stamps: Mapping[str, tuple[int, int]]
    traffic: tuple[DataFile, ...]

    @classmethod
    def begin(cls, model: Model, *, root: Path, traffic: Path) -> Reading:
        """To be called before the rows are read. traffic: the folder of the live tables."""
        tables = [table for table in sorted((traffic / model.name).glob("*")) if (table / "_delta_log").is_dir()]
        found = tuple(table_version(table, root=root) for table in tables)
        return cls(source=model.data.source, root=root, stamps=_stamps(model.data.source, root), traffic=found)

    def end(self) -> list[DataFile]:
        """To be called once the rows are read: every file with its fingerprint."""
        return [*source_files(self.source, root=self.root), *self.traffic]

    @property
    def changed(self) -> bool:
        """Whether a file of the source was touched since."""
        return _stamps(self.source, self.root) != self.stamps


def _stamps(source: str, root: Path) -> dict[str, tuple[int, int]]:
    found = {}
    for file in local_files(source, root=root):
        told = file.stat()
        found[str(file)] = (told.st_size, told.st_mtime_ns)
    return found


def origin_of(
    model: Model, spec: Spec, *, root: Path, reading: Reading, approval: Fact | None, workdir: Path
) -> dict[str, Any]:
    """What is known at the run's start, as plain JSON; the whole of it is written to the run's folder."""
    files = reading.end()
    sources, packages = sources_of(files, changed=reading.changed), installed()
    window = model.train.window
    whole = Origin(
        parent=spec.parent,
        reason=spec.reason,
        diff=dict(spec.diff),
        configuration=_configuration(spec),
        about=_about(model),
        window_s=None if window is None else window.total_seconds(),
        approved=None if approval is None else _approved(approval),
        sources=sources,
        code=code_state(root, model),
        environment=environment(root, packages),
    )
    said: dict[str, Any] = msgspec.to_builtins(whole)
    evidence = said | {"files": as_json(files), "packages": list(packages)}
    write_whole(workdir / EVIDENCE, msgspec.json.format(msgspec.json.encode(evidence), indent=1))
    return said


def registered_origin(state: Mapping[str, Any]) -> Origin | None:
    """What the run's state has of it, for the version's fact; None of a run that an older everloop began."""
    said = state.get("origin")
    if said is None:
        return None
    origin = msgspec.convert(said, Origin)
    used = origin.configuration | {"features": list(state["features"])}  # the spec names none where it takes all
    return msgspec.structs.replace(origin, configuration=used, champion=state.get("champion"))


def _configuration(spec: Spec) -> dict[str, Any]:
    values = spec.model_dump(mode="json", by_alias=True)
    return {name: values[name] for name in _CONFIGURATION if name in values}


def _about(model: Model) -> dict[str, Any]:
    said = model.about.model_dump(mode="json")
    return {name: value for name, value in said.items() if value}


def _approved(fact: Fact) -> ApprovedBy:
    said = fact.payload
    return ApprovedBy(by=said["by"], at=fact.at, note=said.get("note") or "", seq=fact.seq)


def code_state(root: Path, model: Model) -> CodeState:
    """The project's git commit, whether its folder differs from it, and the sums of the model's own files.

    Without git, or outside of a repository, the sums alone.
    """
    own = {name: model.folder / name for name in _OWN_FILES}
    sums = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in own.items() if path.is_file()}
    commit = _git(root, "rev-parse", "HEAD")
    # what lies elsewhere in the repository is none of the project's
    told = None if commit is None else _git(root, "status", "--porcelain", "--untracked-files=all", "--", ".")
    changed = [] if told is None else [line[3:] for line in told.splitlines()]
    return CodeState(
        everloop=_everloop(),
        commit=None if commit is None else commit.strip(),
        branch=(_git(root, "rev-parse", "--abbrev-ref", "HEAD") or "").strip() or None,
        dirty=None if told is None else bool(changed),
        changed=changed[:_MOST_CHANGED],
        files=sums,
    )


def _git(root: Path, *words: str) -> str | None:
    """What git says, or None where it is not installed, or this is no repository of this user's."""
    command = ["git", "--no-optional-locks", "-C", str(root), *words]
    try:
        done = subprocess.run(command, capture_output=True, check=False, timeout=_GIT_LIMIT_S)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode("utf-8", errors="replace") if done.returncode == 0 else None


def _everloop() -> str:
    try:
        return importlib.metadata.version("everloop")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def installed() -> tuple[str, ...]:
    """`name==version` of every distribution that this Python can import, sorted; names as indexes write them."""
    found: dict[str, str] = {}
    for one in importlib.metadata.distributions():
        name, version = _named(one)
        if name:  # a folder that a broken installation left has none
            found.setdefault(re.sub(r"[-_.]+", "-", name).lower(), version)
    return tuple(f"{name}=={version}" for name, version in sorted(found.items()))


def _named(one: importlib.metadata.Distribution) -> tuple[str, str]:
    """Its name and version: the two lines of its metadata, of which whole files are slow to read."""
    text = one.read_text("METADATA") or one.read_text("PKG-INFO") or ""
    head = text.partition("\n\n")[0]
    told = dict(re.findall(r"(?m)^(Name|Version): *(.*?) *$", head))
    return told.get("Name", ""), told.get("Version", "")


def environment(root: Path, packages: tuple[str, ...]) -> Environment:
    """Python, platform, the hash of what is installed, and the project's own lock where it has one."""
    lock = next((path for path in (root / name for name in _LOCKS) if path.is_file()), None)
    return Environment(
        python=platform.python_version(),
        platform=f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        lock=hashlib.sha256("".join(f"{line}\n" for line in packages).encode()).hexdigest(),
        packages=len(packages),
        lock_file=None if lock is None else lock.name,
        lock_file_hash=None if lock is None else hashlib.sha256(lock.read_bytes()).hexdigest(),
    )
