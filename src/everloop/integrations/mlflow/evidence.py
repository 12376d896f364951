"""What the gates said, as files of the run: MLflow shows the verdicts as a table and the report as it is."""

from __future__ import annotations

import json
from typing import Any, Final

from everloop.integrations.mlflow.connection import Connection
from everloop.ledger import Fact
from everloop.project import Project

__all__ = ["Evidence"]

_FOLDER: Final = "evidence"
_TABLE: Final = "verdicts.json"
_FILES: Final = ("gates.json", "report.md", "configuration.json")


class Evidence:
    """Writes evidence of runs that a gate judged; the same again is no second file."""

    def __init__(self, connection: Connection, project: Project) -> None:
        self._connection = connection
        self._project = project

    def write(self, fact: Fact, run: Any) -> None:
        """The verdicts of a `version.registered` or `run.refused`, and the files that the run left on this machine."""
        verdicts = fact.payload.get("verdicts")
        if not verdicts or not self._connection.takes_files(run):
            return
        client, run_id = self._connection.client, run.info.run_id
        columns = ["gate", "verdict", "sentence"]
        rows = [[one["name"], one["outcome"], one["sentence"]] for one in verdicts]
        client.log_dict(run_id, {"columns": columns, "data": rows}, _TABLE)
        # what makes MLflow show it as a table
        client.set_tag(run_id, "mlflow.loggedArtifacts", json.dumps([{"path": _TABLE, "type": "table"}]))
        place = fact.payload.get("evidence_path")
        folder = None if place is None else self._project.root / place
        for name in _FILES:
            if folder is not None and (folder / name).is_file():
                client.log_artifact(run_id, str(folder / name), _FOLDER)
