"""What scikit-learn's converter is taught before it meets someone's estimator: the boosters that are installed.

Its registry is one for the process; teaching it twice changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

__all__ = ["teach_converters"]

Convert = Callable[[Any, Any, Any], None]


@cache
def teach_converters() -> None:
    """XGBoost and LightGBM, alone and inside a pipeline, and scikit-learn's own histogram boosting."""
    from skl2onnx.common.shape_calculator import (
        calculate_linear_classifier_output_shapes,
        calculate_linear_regressor_output_shapes,
    )

    probabilities = {"nocl": [True, False], "zipmap": [True, False, "columns"]}
    classes: dict[str, Any] = {"shape_fct": calculate_linear_classifier_output_shapes, "options": probabilities}
    numbers: dict[str, Any] = {"shape_fct": calculate_linear_regressor_output_shapes}
    _teach_histograms(classes, numbers)
    _teach_xgboost(classes, numbers)
    _teach_lightgbm(classes, numbers)


def _teach_histograms(classes: dict[str, Any], numbers: dict[str, Any]) -> None:
    from skl2onnx import update_registered_converter
    from skl2onnx.common._registration import get_converter
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    for kind, told in ((HistGradientBoostingClassifier, classes), (HistGradientBoostingRegressor, numbers)):
        name = f"Sklearn{kind.__name__}"
        convert = _with_whole_numbers(get_converter(name))
        if "options" in told:
            told = told | {"options": told["options"] | {"raw_scores": [True, False]}}
        update_registered_converter(kind, name, convert_fct=convert, overwrite=True, **told)


def _teach_xgboost(classes: dict[str, Any], numbers: dict[str, Any]) -> None:
    try:
        from onnxmltools.convert.xgboost.operator_converters.XGBoost import convert_xgboost
        from xgboost import XGBClassifier, XGBRegressor
    except ImportError:
        return
    from skl2onnx import update_registered_converter

    for kind, told in ((XGBClassifier, classes), (XGBRegressor, numbers)):
        update_registered_converter(
            kind, f"XGBoost{kind.__name__}", convert_fct=convert_xgboost, overwrite=True, **told
        )


def _teach_lightgbm(classes: dict[str, Any], numbers: dict[str, Any]) -> None:
    try:
        from lightgbm import LGBMClassifier, LGBMRegressor
        from onnxmltools.convert.lightgbm.operator_converters.LightGbm import convert_lightgbm
    except ImportError:
        return
    from skl2onnx import update_registered_converter

    for kind, told in ((LGBMClassifier, classes), (LGBMRegressor, numbers)):
        update_registered_converter(
            kind, f"LightGbm{kind.__name__}", convert_fct=convert_lightgbm, overwrite=True, **told
        )


def _with_whole_numbers(convert: Convert) -> Convert:
    """The converter, with booleans among a node's attributes as 0 and 1: newer protobuf takes no others for ints."""

    def converted(scope: Any, operator: Any, container: Any) -> None:
        convert(scope, operator, _WholeNumbers(container))

    return converted


class _WholeNumbers:
    """A converter's container that writes booleans as 0 and 1."""

    def __init__(self, container: Any) -> None:
        self._container = container

    def __getattr__(self, name: str) -> Any:
        return getattr(self._container, name)

    def add_node(self, *said: Any, **attributes: Any) -> Any:
        """Add the node."""
        plain = {
            name: [int(item) for item in value] if _holds_booleans(value) else value
            for name, value in attributes.items()
        }
        return self._container.add_node(*said, **plain)


def _holds_booleans(value: object) -> bool:
    return isinstance(value, list) and any(isinstance(item, bool | np.bool_) for item in value)
