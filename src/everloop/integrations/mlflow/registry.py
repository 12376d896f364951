"""The ledger's versions as versions of the registered model `PROJECT.MODEL`, and their roles as aliases."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from everloop.integrations.mlflow.change import change_of, evidence_text, text
from everloop.integrations.mlflow.connection import Connection, error_code
from everloop.integrations.mlflow.runs import FACT
from everloop.ledger import Fact, Ledger
from everloop.project import Project

__all__ = ["ALIASES", "Registry", "aliases_of"]

ALIASES: Final = ("champion", "previous", "challenger")


def aliases_of(routing: Mapping[str, Any]) -> dict[str, int]:
    """alias → our version number, of a `routing.changed` payload; of several challengers the most exposed."""
    found = {name: routing[name] for name in ("champion", "previous") if routing[name] is not None}
    if routing["challengers"]:
        found["challenger"] = max(routing["challengers"], key=lambda exposure: exposure["share"])["version"]
    return found


class Registry:
    """Writes versions and roles; a fact that was written before changes nothing."""

    def __init__(self, connection: Connection, project: Project, ledger: Ledger) -> None:
        self._connection = connection
        self._client = connection.client
        self._project = project
        self._ledger = ledger

    def register(self, fact: Fact, run: Any) -> None:
        """A registered bundle becomes a version whose source is the bundle; `run` is the MLflow run it came from."""
        name = self._model(fact.payload["model"])
        if self._version(name, fact.hash) is not None:
            return
        tags = {**change_of(fact).tags, "everloop.run": fact.payload["run"]}
        self._client.create_model_version(
            name,
            source=self._source(fact.payload["bundle"], run),
            run_id=run.info.run_id,
            tags={FACT: fact.hash, "everloop.bundle_path": str(self._folder(fact.payload["bundle"])), **tags},
            description=evidence_text(fact.payload),
            await_creation_for=0,
        )

    def route(self, fact: Fact) -> None:
        """The roles of a routing become aliases; a role that nobody has loses its alias."""
        name = self._model(fact.payload["model"])
        registered = {one.number: one.seq for one in self._ledger.versions(fact.payload["model"])}
        wanted: dict[str, str] = {}
        for alias, number in aliases_of(fact.payload).items():
            seq = registered.get(number)
            version = None if seq is None else self._version(name, self._ledger.fact(seq).hash)
            if version is not None:  # else someone deleted it in MLflow
                wanted[alias] = str(version.version)
        now = {alias: str(version) for alias, version in self._client.get_registered_model(name).aliases.items()}
        for alias in ALIASES:
            if alias in wanted and now.get(alias) != wanted[alias]:
                self._client.set_registered_model_alias(name, alias, wanted[alias])
            elif alias in now and alias not in wanted:
                self._client.delete_registered_model_alias(name, alias)
        for key in ("revision", "reason"):
            self._client.set_registered_model_tag(name, f"everloop.routing_{key}", text(fact.payload[key]))

    def _model(self, model: str) -> str:
        """The registered model's name; the model is made where it is missing.

        MLflow refuses a name that is a prompt's already: it would take versions for it all the same.
        """
        name = re.sub(r"[^\w .-]", "-", f"{self._project.name}.{model}")
        try:
            self._client.get_registered_model(name)
        except Exception as error:
            if error_code(error) != "RESOURCE_DOES_NOT_EXIST":
                raise
            tags = {"everloop.project": self._project.name, "everloop.model": model}
            self._client.create_registered_model(name, tags=tags)
        return name

    def _version(self, name: str, fact_hash: str) -> Any:
        found = self._client.search_model_versions(f"name = '{name}' and tags.`{FACT}` = '{fact_hash}'", max_results=1)
        return found[0] if found else None

    def _folder(self, bundle: str) -> Path:
        return self._project.paths.bundles / "sha256" / bundle

    def _source(self, bundle: str, run: Any) -> str:
        """Where the bundle is. A server takes no path of this machine: it gets the files, beside the run's own."""
        folder = self._folder(bundle)
        if not self._connection.server:
            return folder.as_uri()
        place: str = run.info.artifact_uri
        if place.startswith("mlflow-artifacts:") and folder.is_dir():
            self._client.log_artifacts(run.info.run_id, str(folder), "bundle")
        return f"{place}/bundle"
