"""Which extra brings which library, for the sentence where one is missing."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from everloop.errors import EverloopError

__all__ = ["EXTRAS", "missing_library", "require_extra"]

EXTRAS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "train": ("sklearn", "lightgbm", "xgboost", "optuna", "onnx", "skl2onnx", "onnxmltools", "joblib"),
        "serve": ("uvicorn", "httptools", "prometheus_client"),
        "notebook": ("nbclient", "nbformat", "ipykernel"),
        "mlflow": ("mlflow", "alembic"),
        "dask": ("distributed",),
        "aws": ("boto3",),
    }
)
"""Extra → the modules that everloop imports of it."""


def missing_library(error: ModuleNotFoundError) -> str | None:
    """What to install, in one sentence; None where no extra brings the module, which then is a mistake of ours."""
    module = (error.name or "").partition(".")[0]
    return next((_sentence(module, extra) for extra, modules in EXTRAS.items() if module in modules), None)


def require_extra(extra: str) -> None:
    """Raises EverloopError that says what to install where a library of `extra` is missing; nothing is imported."""
    for module in EXTRAS[extra]:
        if importlib.util.find_spec(module) is None:
            raise EverloopError(_sentence(module, extra))


def _sentence(module: str, extra: str) -> str:
    return f"this needs {module}, which is not installed; pip install 'everloop[{extra}]' brings it"
