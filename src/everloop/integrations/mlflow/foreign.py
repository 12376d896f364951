"""A run that someone logged with plain `mlflow`, read so that it can be made into a spec."""

from __future__ import annotations

import json
from typing import Any

import yaml

from everloop.errors import NotFound, UsageError
from everloop.experiment import ForeignRun
from everloop.integrations.mlflow.connection import Connection, connect, error_code, said, shown
from everloop.project import Project

__all__ = ["address_of", "flavours_of", "foreign_run"]

_HISTORY = "mlflow.log-model.history"


def address_of(project: Project) -> str:
    """Where MLflow is. Raises UsageError where everloop.yaml does not say it."""
    address = project.settings.mlflow
    if address is None:
        raise UsageError(
            "everloop.yaml does not say where MLflow is; write mlflow: http://HOST:PORT, or sqlite:///FILE"
        )
    return address


def foreign_run(project: Project, run: str) -> ForeignRun:
    """The run with that id. Raises UsageError without an address, NotFound, IntegrationError."""
    address = address_of(project)
    connection = connect(address, root=project.root, state=project.state)
    with said(address):
        try:
            found = connection.client.get_run(run)
        except Exception as error:
            if error_code(error) not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                raise
            raise NotFound(f"MLflow at {shown(address)} has no run {run}; its page shows a run's id") from error
        return ForeignRun(
            tracker="MLflow",
            run=found.info.run_id,
            name=found.info.run_name or "unnamed",
            params=dict(found.data.params),
            tags=dict(found.data.tags),
            flavours=flavours_of(connection, found),
        )


def flavours_of(connection: Connection, run: Any) -> tuple[str, ...]:
    """What the run's models were saved as, such as `xgboost`."""
    return tuple(dict.fromkeys([*_of_history(run), *_of_models(connection, run)]))


def _of_history(run: Any) -> list[str]:
    """Flavours as MLflow before 3 kept them: in a tag."""
    try:
        history = json.loads(run.data.tags.get(_HISTORY, "[]"))
        return [name for model in history for name in model.get("flavors", {})]
    except (ValueError, AttributeError):
        return []


def _of_models(connection: Connection, run: Any) -> list[str]:
    """Flavours of the models that the run logged, as MLflow 3 keeps them: in a file beside each."""
    from pathlib import Path

    from mlflow.artifacts import download_artifacts

    found: list[str] = []
    outputs = getattr(run, "outputs", None)
    for output in [] if outputs is None else outputs.model_outputs:
        try:
            place = connection.client.get_logged_model(output.model_id).artifact_location
            text = Path(download_artifacts(artifact_uri=f"{place}/MLmodel")).read_text(encoding="utf-8")
            found += list(yaml.safe_load(text).get("flavors", {}))
        except Exception as error:  # its files may be anywhere, and without them a param can still say the learner
            if error_code(error) is None and not isinstance(error, OSError | ValueError | yaml.YAMLError):
                raise
    return found
