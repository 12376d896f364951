"""A search as an MLflow run, with a run for each of its trials nested in it, in the model's experiment.

What is written comes from the fact and from the report that the search left in its folder; on a machine that has no
such folder the parent is all there is.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from everloop.clock import to_us
from everloop.integrations.mlflow.change import Change, hyperparameters, key, text
from everloop.integrations.mlflow.connection import Connection
from everloop.integrations.mlflow.runs import FACT, experiment_of, log_change
from everloop.ledger import Fact, Ledger
from everloop.project import Project

__all__ = ["Searches", "search_change", "trial_change"]

_SEARCH: Final = "everloop.search"
_TRIAL: Final = "everloop.trial"
_STATUS: Final = "everloop.status"
_KIND: Final = "everloop.kind"
_PARENT: Final = "mlflow.parentRunId"
_TABLE: Final = "trials.json"
_ENDED: Final = {"done": "FINISHED", "failed": "FAILED", "pruned": "KILLED"}
_COLUMNS: Final = ("learner", "status", "value", "tied", "threshold", "fit_s", "us_per_row", "graph_bytes", "sentence")


class Searches:
    """Writes searches; one that was written before is brought up to what there is now, and nothing is there twice."""

    def __init__(self, connection: Connection, project: Project, ledger: Ledger) -> None:
        self._connection = connection
        self._client = connection.client
        self._project = project
        self._ledger = ledger

    def write(self, fact: Fact) -> None:
        """Mirror the end of a search: first its trials, then what makes the parent whole."""
        experiment = experiment_of(self._connection, self._project.name, fact.payload["model"]).experiment_id
        report = self._report(fact)
        board = _read(report / "leaderboard.json")
        parent = self._parent(fact, experiment)
        there = self._nested(experiment, fact.payload["search"])
        for trial in _trials(board):
            self._trial(trial, parent, experiment, there, fact, report)
        change = search_change(fact, board)
        tags = {name: value for name, value in change.tags.items() if name != _STATUS}  # last: then the run is whole
        log_change(self._client, parent, replace(change, tags=tags), at_ms=_ms(fact))
        if self._connection.takes_files(parent):
            self._upload(parent, report, board)
        self._client.set_tag(parent.info.run_id, _STATUS, change.tags[_STATUS])
        self._client.set_terminated(parent.info.run_id, status="FINISHED", end_time=_ms(fact))

    def _report(self, fact: Fact) -> Path:
        path = fact.payload.get("path") or f".everloop/searches/{fact.payload['search']}"
        return self._project.root / path / "report"

    def _parent(self, fact: Fact, experiment: str) -> Any:
        """The search's run, of the first fact about it: the same search goes on under the same run."""
        search = fact.payload["search"]
        first = self._ledger.facts(kind="search.ended", subject=search, limit=1)
        begun = first[0] if first else fact
        same = f"tags.`{FACT}` = '{begun.hash}' and tags.`{_KIND}` = 'search'"
        found = self._client.search_runs([experiment], same, max_results=1)
        if found:
            return found[0]
        started_ms = _ms(fact) - int(timedelta(seconds=fact.payload["seconds"]) / timedelta(milliseconds=1))
        tags = {FACT: begun.hash, _SEARCH: search, _KIND: "search"}
        return self._client.create_run(experiment, start_time=started_ms, tags=tags, run_name=f"search {search}")

    def _nested(self, experiment: str, search: str) -> dict[str, Any]:
        """The search's trials that MLflow has, by name."""
        found: dict[str, Any] = {}
        token = None
        while True:
            page = self._client.search_runs([experiment], f"tags.`{_SEARCH}` = '{search}'", page_token=token)
            found |= {run.data.tags[_TRIAL]: run for run in page if _TRIAL in run.data.tags}
            token = page.token
            if not token:
                return found

    def _trial(
        self,
        trial: Mapping[str, Any],
        parent: Any,
        experiment: str,
        there: Mapping[str, Any],
        fact: Fact,
        report: Path,
    ) -> None:
        """One trial's run; a run that has its status is whole."""
        name = _name(trial)
        run = there.get(name)
        if run is not None and _STATUS in run.data.tags:
            return
        if run is None:
            tags = {_PARENT: parent.info.run_id, _SEARCH: fact.payload["search"], _TRIAL: name, FACT: fact.hash}
            start_ms = _ms(fact) - int(1000 * trial["fit_s"])
            run = self._client.create_run(experiment, start_time=start_ms, tags=tags, run_name=f"trial {name}")
        change = trial_change(trial)
        log_change(self._client, run, change, at_ms=_ms(fact))
        self._log_folds(run, trial, at_ms=_ms(fact))
        plots = report / "trials" / name
        if plots.is_dir() and self._connection.takes_files(run):
            self._client.log_artifacts(run.info.run_id, str(plots), "plots")
        self._client.set_tag(run.info.run_id, _STATUS, trial["status"])
        self._client.set_terminated(run.info.run_id, status=change.status, end_time=_ms(fact))

    def _log_folds(self, run: Any, trial: Mapping[str, Any], *, at_ms: int) -> None:
        """`fold/recall` with a step for each fold: MLflow draws it. The same point again is no second one."""
        from mlflow.entities import Metric

        points = [
            Metric(f"fold/{key(name)}", float(value), at_ms, step)
            for step, fold in enumerate(trial["folds"], 1)
            for name, value in ({"objective": fold["value"]} | fold["metrics"]).items()
        ]
        if points:
            self._client.log_batch(run.info.run_id, metrics=points)

    def _upload(self, parent: Any, report: Path, board: Mapping[str, Any]) -> None:
        run = parent.info.run_id
        for name in ("leaderboard.json", "leaderboard.html"):
            if (report / name).is_file():
                self._client.log_artifact(run, str(report / name))
        if (report / "plots").is_dir():
            self._client.log_artifacts(run, str(report / "plots"), "plots")
        if board:
            self._client.log_dict(run, _table(board), _TABLE)
            # what makes MLflow show it as a table
            self._client.set_tag(run, "mlflow.loggedArtifacts", json.dumps([{"path": _TABLE, "type": "table"}]))


def search_change(fact: Fact, board: Mapping[str, Any]) -> Change:
    """What a search's end says, in MLflow's words."""
    payload = fact.payload
    verdict = payload.get("verdict") or {}
    expected = payload.get("expected") or {}
    counts = {f"trials.{name}": float(payload[name]) for name in ("failed", "pruned")}
    numbers = {"objective": "point", "objective.low": "low", "objective.high": "high"}
    metrics = {"trials": float(payload["trials"]), "seconds": float(payload["seconds"]), **counts}
    metrics |= {name: float(expected[of]) for name, of in numbers.items() if expected.get(of) is not None}
    winner = board.get("winner") or {}
    metrics |= {key(name): float(value["point"]) for name, value in winner.get("metrics", {}).items()}
    data = payload.get("data") or {}
    params = {name: text(payload[name], longest=500) for name in ("objective", "method", "seed")}
    params |= {f"data.{name}": text(data[name], longest=500) for name in ("rows", "source", "hash") if data.get(name)}
    tags = {
        "everloop.model": payload["model"],
        "everloop.winner": text(payload.get("winner") or "none"),
        "everloop.winner.learner": text(payload.get("learner") or "none"),
        "everloop.verdict": text(verdict.get("outcome", "")),
        "everloop.sentence": text(verdict.get("sentence", "")),
        "mlflow.note.content": text(verdict.get("sentence", "")),
        _STATUS: "stopped" if payload["stopped"] else "ended",
    }
    return Change(tags=tags, params=params, metrics=metrics, status="FINISHED")


def trial_change(trial: Mapping[str, Any]) -> Change:
    """What a trial is, in MLflow's words."""
    interval = trial.get("interval") or {}
    metrics = {key(name): float(value) for name, value in trial["metrics"].items()}
    named = {"objective": trial.get("value")}
    named |= {f"objective.{end}": interval.get(end) for end in ("low", "high")}
    named |= {name: trial.get(name) for name in ("threshold", "fit_s", "us_per_row", "graph_bytes", "rows", "rounds")}
    metrics |= {name: float(value) for name, value in named.items() if value is not None}
    params = {"learner": trial["learner"], **hyperparameters(trial["hyperparameters"])}
    if trial.get("calibration") not in (None, "none"):
        params["calibration"] = trial["calibration"]
    tags = {_KIND: trial["kind"], "everloop.tied": str(bool(trial.get("tied"))).lower()}
    if trial.get("sentence"):
        tags["everloop.sentence"] = text(trial["sentence"])
    return Change(tags=tags, params=params, metrics=metrics, status=_ENDED[trial["status"]])


def _trials(board: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yardsticks, trials, and what was brought beside them."""
    yield from board.get("trials", ())
    for mine in board.get("beside", ()):
        yield mine["trial"]


def _name(trial: Mapping[str, Any]) -> str:
    return {"yardstick": "y", "own": "m"}.get(trial["kind"], "") + str(trial["number"])


def _table(board: Mapping[str, Any]) -> dict[str, Any]:
    """The trials as MLflow keeps tables: columns, and a list for each row."""
    rows = list(_trials(board))
    settings = list(dict.fromkeys(name for trial in rows for name in trial["hyperparameters"]))
    measured = list(dict.fromkeys(name for trial in rows for name in trial["metrics"]))
    data = [
        [
            _name(trial),
            *(trial.get(name) for name in _COLUMNS),
            *(trial["metrics"].get(name) for name in measured),
            *(trial["hyperparameters"].get(name) for name in settings),
        ]
        for trial in rows
    ]
    return {"columns": ["trial", *_COLUMNS, *measured, *(f"param_{name}" for name in settings)], "data": data}


def _read(path: Path) -> Mapping[str, Any]:
    """The leaderboard that the search left; nothing where the folder is not on this machine, or was cleared."""
    try:
        found: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found


def _ms(fact: Fact) -> int:
    return to_us(fact.at) // 1000
