"""The quantiles that a regression answers beside its score: p10 is the value that one outcome in ten lies below."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Final

from pydantic import BeforeValidator

__all__ = ["QUANTILES", "Quantiles", "parse_quantiles", "quantile_level"]

QUANTILES: Final = ("p10", "p50", "p90")
"""What a regression answers where its model.yaml says nothing."""

_NAME: Final = re.compile(r"p(\d{1,2}(?:\.\d{1,2})?)")
_MOST: Final = 9


def quantile_level(name: str) -> float:
    """`p10` → 0.1. Raises ValueError with a sentence."""
    match = _NAME.fullmatch(name) if isinstance(name, str) else None
    if match is None or float(match[1]) <= 0:
        raise ValueError(f"{name!r} is not a quantile, such as p10, p50 or p97.5")
    return round(float(match[1]) / 100, 6)


def parse_quantiles(value: object) -> tuple[str, ...]:
    """A rising list of names; an empty one asks for none. Raises ValueError with a sentence."""
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, Sequence):
        raise ValueError(f"{value!r} is not a list of quantiles, such as [p10, p50, p90]")
    levels = [quantile_level(name) for name in names]
    if len(levels) > _MOST:
        raise ValueError(f"{len(levels)} quantiles are more than the {_MOST} that a model may answer")
    for (before, lower), (name, level) in pairwise(zip(names, levels, strict=True)):
        if level <= lower:
            raise ValueError(f"{name} does not come after {before}: quantiles rise")
    return tuple(names)


Quantiles = Annotated[tuple[str, ...], BeforeValidator(parse_quantiles)]
"""As a file holds them."""
