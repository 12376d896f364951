"""The ledger's runs as MLflow runs, in the experiment `everloop/PROJECT/MODEL`."""

from __future__ import annotations

from typing import Any, Final

from everloop.clock import to_us
from everloop.errors import EverloopError, IntegrationError
from everloop.integrations.mlflow.change import Change, change_of, hyperparameters
from everloop.integrations.mlflow.connection import Connection
from everloop.ledger import Fact, Ledger
from everloop.project import Project

__all__ = ["FACT", "Runs", "experiment_of", "log_change"]

# The tag that everything mirrored carries: the hash of the fact it began with, so that no ledger's runs are another's.
FACT: Final = "everloop.fact"


def experiment_of(connection: Connection, project: str, model: str | None) -> Any:
    """The experiment of a model, made where it is missing; without a model the project's own.

    Raises IntegrationError where someone has deleted it in MLflow.
    """
    client = connection.client
    name = "/".join(["everloop", project, *([] if model is None else [model])])
    found = client.get_experiment_by_name(name)
    if found is None:
        place = None if connection.artifacts is None else f"{connection.artifacts}/{model or project}"
        return client.get_experiment(client.create_experiment(name, artifact_location=place))
    if found.lifecycle_stage == "deleted":
        raise IntegrationError(
            f"the experiment {name} was deleted in MLflow, so nothing can be mirrored into it; "
            f"'mlflow experiments restore -x {found.experiment_id}' brings it back"
        )
    return found


def log_change(client: Any, run: Any, change: Change, *, at_ms: int) -> None:
    """Write the change's params, tags and metrics as far as the run has them not; its status is left alone."""
    from mlflow.entities import Metric, Param, RunTag

    data = run.data
    # MLflow takes no second value for a param, and keeps a metric's every repetition
    params = [Param(name, value) for name, value in change.params.items() if name not in data.params]
    tags = [RunTag(name, value) for name, value in change.tags.items() if data.tags.get(name) != value]
    measured = {name: value for name, value in change.metrics.items() if data.metrics.get(name) != value}
    metrics = [Metric(name, value, at_ms, 0) for name, value in measured.items()]
    if params or tags or metrics:
        client.log_batch(run.info.run_id, metrics=metrics, params=params, tags=tags)


class Runs:
    """Writes facts about runs; a fact that was written before changes nothing."""

    def __init__(self, connection: Connection, project: Project, ledger: Ledger) -> None:
        self._connection = connection
        self._project = project
        self._ledger = ledger

    def write(self, fact: Fact) -> Any:
        """Mirror a fact about a run; gives the MLflow run."""
        run = self._run_of(fact)
        if fact.kind != "run.started":  # else what it says is written, or the run has gone on since
            self._apply(run, change_of(fact), at=fact)
        return run

    def _run_of(self, fact: Fact) -> Any:
        """The MLflow run of the fact's run, made where there is none: also where someone deleted it."""
        client, name = self._connection.client, fact.payload["run"]
        found = self._ledger.last("run.started", name)
        begun = fact if found is None else found
        experiment = experiment_of(self._connection, self._project.name, begun.payload.get("model"))
        same = f"tags.`{FACT}` = '{begun.hash}'"
        runs = client.search_runs([experiment.experiment_id], same, max_results=1)
        run = runs[0] if runs else None
        if run is None:
            tags = {FACT: begun.hash, "everloop.run": name}
            run = client.create_run(experiment.experiment_id, start_time=_ms(begun), tags=tags, run_name=name)
        if run.data.tags.get("everloop.status") is None:
            self._apply(run, self._beginning(begun), at=begun)
        return run

    def _beginning(self, begun: Fact) -> Change:
        change = change_of(begun)
        return Change(tags=change.tags, metrics=change.metrics, params={**self._configuration(begun), **change.params})

    def _configuration(self, begun: Fact) -> dict[str, str]:
        """Learner and hyperparameters of the spec, where its file still is the one that the run was started with."""
        model, name = begun.payload.get("model"), begun.payload.get("spec")
        if model is None or name is None:
            return {}
        wanted = begun.payload.get("spec_hash")
        try:
            spec = self._project.model(model).spec(name)
        except (EverloopError, OSError):  # the file is gone or broken: the ledger still knows the learner
            spec = None
        if spec is not None and wanted in (None, spec.hash):
            said = {"learner": spec.learner, "objective": spec.objective, "seed": str(spec.seed)}
            if spec.calibration != "none":
                said["calibration"] = spec.calibration
            return said | hyperparameters(spec.hyperparameters)
        written = self._ledger.last("spec.written", name)
        if written is None or not written.payload["learner"] or wanted not in (None, written.payload["spec_hash"]):
            return {}
        return {"learner": written.payload["learner"]}

    def _apply(self, run: Any, change: Change, *, at: Fact) -> None:
        client = self._connection.client
        log_change(client, run, change, at_ms=_ms(at))
        if change.status is not None:
            client.set_terminated(run.info.run_id, status=change.status, end_time=_ms(at))


def _ms(fact: Fact) -> int:
    return to_us(fact.at) // 1000
