"""The MLflow mirror: the ledger's runs, searches, versions and roles, in an MLflow server or database.

`Mirror(project, ledger, clock)`, off until everloop.yaml has `mlflow: ADDRESS`. MLflow itself is imported when there
is something to mirror.
"""

from everloop.integrations.mlflow.mirror import Mirror

__all__ = ["Mirror"]
