"""MLflow: a mirror of the ledger's runs, searches, versions and roles, and a place where configurations live.

`Mirror(project, ledger, clock)`, off until everloop.yaml has `mlflow: ADDRESS`. `MlflowSpecs(project, model)` and
`Watch(project, ledger, clock)`, for a model whose `specs:` is in MLflow's registry. MLflow itself is imported when
there is something to do.
"""

from everloop.integrations.mlflow.mirror import Mirror
from everloop.integrations.mlflow.specs import MlflowSpecs
from everloop.integrations.mlflow.watch import Watch

__all__ = ["Mirror", "MlflowSpecs", "Watch"]
