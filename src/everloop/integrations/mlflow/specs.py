"""MLflow's registry as the place where a model's configuration lives: `specs: models:/FraudDetection@champion`.

What holds is the version with the alias, in the stage or of the number that the address names. Its hyperparameters are
the params of the run that it came from; what everloop puts there itself carries the spec whole, in tags.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Final

from everloop.errors import NotFound, UsageError
from everloop.integrations.mlflow.change import hyperparameters, text
from everloop.integrations.mlflow.connection import Connection, connect, error_code, said
from everloop.integrations.mlflow.foreign import address_of, flavours_of
from everloop.integrations.mlflow.runs import FACT, experiment_of
from everloop.production import Configuration
from everloop.project import Model, Project, Spec

__all__ = ["MlflowSpecs"]

_CONTENT: Final = "everloop.content"
_SPEC: Final = "everloop.spec"
_BY: Final = "everloop.by"
_REASON: Final = "everloop.reason"
_USER: Final = "mlflow.user"
_LONGEST_PIECE: Final = 4000
_ABSENT: Final = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
_STAGES: Final = ("Production", "Staging", "Archived")


class MlflowSpecs:
    """A registered model's versions. A version here is MLflow's number; a label is an alias or a stage."""

    def __init__(self, project: Project, model: Model) -> None:
        """Reaches nothing before a method is called."""
        self._project = project
        self._model = model.name
        self._store = model.spec_store.store

    @property
    def address(self) -> str:
        """`models:/FraudDetection@champion`."""
        return str(self._store)

    @cached_property
    def _tracking(self) -> str:
        return address_of(self._project)

    @cached_property
    def _connection(self) -> Connection:
        return connect(self._tracking, root=self._project.root, state=self._project.state)

    def get(self, version: str | None = None) -> Configuration:
        """What the address names, or a version by its number, alias or stage."""
        with said(self._tracking):
            found = self._asked(self._store.at if version is None else version)
            if found is None:
                raise self._unknown(version)
            return self._configuration(found)

    def put(self, spec: Spec, *, actor: str, label: str | None = None) -> Configuration:
        """A run with the spec's params, a version of it, and last the alias or stage, which moves at once.

        A configuration that everloop put there before gets no second version. Raises UsageError where the address
        names a number, which cannot move.
        """
        at = self._store.at if label is None else label
        if at.isdigit():
            raise UsageError(
                f"{self.address} is one version for ever; name an alias, as in models:/{self._store.name}@champion, to "
                "put another in its place"
            )
        with said(self._tracking):
            version = self._same(spec)
            if version is None:
                version = self._register(spec, actor)
            self._point(at, str(version.version))
            return self._configuration(self._client.get_model_version(self._store.name, str(version.version)))

    def history(self) -> list[Configuration]:
        """Every version of the registered model, oldest first."""
        with said(self._tracking):
            aliases = self._aliases()
            return [self._configuration(version, aliases) for version in self._versions()]

    @property
    def _client(self) -> Any:
        return self._connection.client

    def _versions(self) -> list[Any]:
        found: list[Any] = []
        token = None
        while True:
            page = self._client.search_model_versions(f"name = '{self._store.name}'", page_token=token)
            found += page
            token = page.token
            if not token:
                return sorted(found, key=lambda one: int(one.version))

    def _asked(self, at: str) -> Any:
        """The version with that number, alias or stage; None where there is none."""
        client, name = self._client, self._store.name
        try:
            if at.isdigit():
                return client.get_model_version(name, at)
            if at in _STAGES and not self._store.alias:
                return next((one for one in reversed(self._versions()) if one.current_stage == at), None)
            return client.get_model_version_by_alias(name, at)
        except Exception as error:
            if error_code(error) not in _ABSENT:
                raise
            return None

    def _unknown(self, asked: str | None) -> NotFound:
        versions = self._versions()
        what = self.address if asked is None else f"models:/{self._store.name}, version or alias {asked},"
        if not versions:
            return NotFound(f"{what} is not there: MLflow has no registered model {self._store.name}")
        known = ", ".join(sorted(self._aliases())) or "no alias"
        return NotFound(f"{what} is not there: the newest version is {versions[-1].version}, and there is {known}")

    def _aliases(self) -> dict[str, str]:
        """alias → number."""
        try:
            found = self._client.get_registered_model(self._store.name).aliases
        except Exception as error:
            if error_code(error) not in _ABSENT:
                raise
            return {}
        return {alias: str(version) for alias, version in found.items()}

    def _configuration(self, version: Any, aliases: Mapping[str, str] | None = None) -> Configuration:
        aliases = self._aliases() if aliases is None else aliases
        tags = dict(version.tags)
        kept = _pieces(tags)
        run = None if not version.run_id else self._run(version.run_id)
        number = str(version.version)
        common: dict[str, Any] = {
            "store": self.address,
            "version": number,
            "at": datetime.fromtimestamp(version.creation_timestamp / 1000, tz=UTC),
            "labels": tuple(sorted({*(name for name, at in aliases.items() if at == number), *_stage(version)})),
        }
        if kept is not None:
            said_too = {name: value for name, value in kept.items() if name not in ("learner", "hyperparameters")}
            return Configuration(
                modifier=tags.get(_BY, ""),
                learner=kept["learner"],
                hyperparameters=kept["hyperparameters"],
                said=said_too | ({"reason": tags[_REASON]} if tags.get(_REASON) else {}),
                spec=tags.get(_SPEC),
                **common,
            )
        if run is None:
            return Configuration(modifier=version.user_id or "", foreign=True, tags=tags, **common)
        return Configuration(
            modifier=run.data.tags.get(_USER) or run.info.user_id or version.user_id or "",
            hyperparameters=dict(run.data.params),
            spec=tags.get(_SPEC) if FACT in tags else None,
            foreign=True,
            tags={**run.data.tags, **tags},
            flavours=flavours_of(self._connection, run),
            **common,
        )

    def _run(self, run_id: str) -> Any:
        """The run of a version; None where somebody deleted it for good."""
        try:
            return self._client.get_run(run_id)
        except Exception as error:
            if error_code(error) not in _ABSENT:
                raise
            return None

    def _same(self, spec: Spec) -> Any:
        """The newest version that everloop put with this content."""
        wanted = json.loads(json.dumps(spec.content))
        return next((one for one in reversed(self._versions()) if _pieces(dict(one.tags)) == wanted), None)

    def _register(self, spec: Spec, actor: str) -> Any:
        client, name = self._client, self._store.name
        experiment = experiment_of(self._connection, self._project.name, f"{self._model}/specs")
        about = {_SPEC: spec.name, "everloop.spec_hash": spec.hash, _BY: actor}
        run = client.create_run(experiment.experiment_id, run_name=spec.name, tags={_USER: actor, **about})
        self._log_params(run, {"learner": spec.learner, **hyperparameters(spec.hyperparameters)})
        client.set_terminated(run.info.run_id, status="FINISHED")
        self._make_model()
        return client.create_model_version(
            name,
            source=f"{run.info.artifact_uri}/spec",
            run_id=run.info.run_id,
            tags={**about, **dict(_in_pieces(spec)), **({_REASON: text(spec.reason)} if spec.reason else {})},
            description=text(spec.reason or f"{spec.name}, put by {actor}"),
            await_creation_for=0,
        )

    def _log_params(self, run: Any, params: Mapping[str, str]) -> None:
        from mlflow.entities import Param

        entities = [Param(name, value) for name, value in params.items()]
        for at in range(0, len(entities), 100):  # as many as MLflow takes at once
            self._client.log_batch(run.info.run_id, params=entities[at : at + 100])

    def _make_model(self) -> None:
        try:
            self._client.get_registered_model(self._store.name)
        except Exception as error:
            if error_code(error) != "RESOURCE_DOES_NOT_EXIST":
                raise
            self._client.create_registered_model(self._store.name)

    def _point(self, at: str, version: str) -> None:
        """Move the alias or the stage, where it is not there yet."""
        now = self._asked(at)
        if now is not None and str(now.version) == version:
            return
        if at in _STAGES and not self._store.alias:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)  # stages are old, and teams have them
                self._client.transition_model_version_stage(
                    self._store.name, version, stage=at, archive_existing_versions=True
                )
        else:
            self._client.set_registered_model_alias(self._store.name, at, version)


def _stage(version: Any) -> tuple[str, ...]:
    stage = version.current_stage
    return () if stage in (None, "None") else (stage,)


def _in_pieces(spec: Spec) -> Iterator[tuple[str, str]]:
    """The content as tags, each as long as every server takes."""
    whole = json.dumps(spec.content, ensure_ascii=False)
    for number, at in enumerate(range(0, len(whole), _LONGEST_PIECE), 1):
        yield f"{_CONTENT}.{number:02d}", whole[at : at + _LONGEST_PIECE]


def _pieces(tags: Mapping[str, str]) -> dict[str, Any] | None:
    """The content that everloop put; None for a version of somebody else's."""
    found = [tags[name] for name in sorted(tags) if name.startswith(f"{_CONTENT}.")]
    if not found:
        return None
    content: dict[str, Any] = json.loads("".join(found))
    return content
