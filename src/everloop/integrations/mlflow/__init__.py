"""The MLflow mirror: runs, versions and roles of the ledger, in an MLflow server or database.

`Mirror(project, ledger, clock)`, off until everloop.yaml has `mlflow: ADDRESS`. MLflow itself is imported when there
is something to mirror.
"""

from everloop.integrations.mlflow.mirror import Mirror

__all__ = ["Mirror"]
