"""A project: its two kinds of file, read, and the places it writes to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from everloop.clock import Clock, open_clock
from everloop.errors import ConfigurationError, NotFound, ProjectNotFound
from everloop.project.metrics import did_you_mean
from everloop.project.model import Model, read_model
from everloop.project.paths import Paths
from everloop.project.settings import Settings, read_settings

__all__ = ["PROJECT_FILE", "Project"]

PROJECT_FILE = "everloop.yaml"


@dataclass(frozen=True, kw_only=True)
class Project:
    """A folder with everloop.yaml, and its models by name."""

    root: Path
    settings: Settings
    models: Mapping[str, Model]

    @classmethod
    def find(
        cls,
        start: Path | None = None,
        *,
        environment: Mapping[str, str] | None = None,
        flags: Mapping[str, Any] | None = None,
    ) -> Project:
        """The project of `start` (the current folder) or of the nearest folder above. Raises ProjectNotFound."""
        here = (Path.cwd() if start is None else start).resolve()
        for folder in (here, *here.parents):
            if (folder / PROJECT_FILE).is_file():
                return cls.open(folder, environment=environment, flags=flags)
        raise ProjectNotFound(f"no {PROJECT_FILE} in {here} or above; 'everloop init NAME' makes a project")

    @classmethod
    def open(
        cls,
        root: Path,
        *,
        environment: Mapping[str, str] | None = None,
        flags: Mapping[str, Any] | None = None,
    ) -> Project:
        """The project in `root`. Raises ConfigurationError with the mistakes of all files at once.

        environment: what to read EVERLOOP_A__B from; None is the process's own.
        flags: dotted settings that win over it, such as `{"endpoint.port": 0}`.
        """
        root = root.resolve()
        if not (root / PROJECT_FILE).is_file():
            raise ProjectNotFound(f"no {PROJECT_FILE} in {root}; 'everloop init NAME' makes a project")
        result = read_settings(root / PROJECT_FILE, name=PROJECT_FILE, environment=environment, flags=flags)
        mistakes = list(result.mistakes)
        models: dict[str, Model] = {}
        for file in sorted(root.glob("*/model.yaml")):
            model, wrong = read_model(file.parent)
            mistakes += wrong
            if model is not None:
                models[model.name] = model
        if mistakes:
            raise ConfigurationError(mistakes)
        assert result.settings is not None
        return cls(root=root, settings=result.settings, models=models)

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.root.name

    @property
    def paths(self) -> Paths:
        """Where everloop writes; asking makes nothing."""
        artifacts = None if self.remote_artifacts is not None else self.settings.artifacts
        return Paths(state=self.root / ".everloop", artifacts=None if artifacts is None else self.root / artifacts)

    @property
    def remote_artifacts(self) -> str | None:
        """The address where artefacts lie in object storage, such as `s3://bucket/prefix`; None where in a folder."""
        artifacts = self.settings.artifacts
        return artifacts if artifacts is not None and "://" in artifacts else None

    @property
    def state(self) -> Path:
        """The folder `.everloop`, made when it is asked for."""
        state = self.paths.state
        if not state.is_dir():
            state.mkdir(parents=True, exist_ok=True)
            (state / ".gitignore").write_text("*\n", encoding="utf-8")
        return state

    @property
    def ledger_url(self) -> str:
        """SQLAlchemy's address of the ledger: as set, else SQLite's file under `.everloop`."""
        return f"sqlite:///{self.paths.ledger_db}" if self.settings.ledger is None else self.settings.ledger

    def model(self, name: str | None = None) -> Model:
        """The model called `name`, which may be left out where there is one. Raises NotFound naming the others."""
        names = sorted(self.models)
        if not names:
            raise NotFound(f"the project {self.name} has no model: no folder in {self.root} holds a model.yaml")
        if name is None and len(names) == 1:
            return self.models[names[0]]
        if name is None:
            raise NotFound(f"the project {self.name} has several models; say which: {', '.join(names)}")
        if name not in self.models:
            hint = did_you_mean(name, names) or f"; it has {', '.join(names)}"
            raise NotFound(f"there is no model {name!r} in {self.name}{hint}")
        return self.models[name]

    def clock(self) -> Clock:
        """The machine's clock, or the one that a replay drives."""
        return open_clock(self.settings.clock)
