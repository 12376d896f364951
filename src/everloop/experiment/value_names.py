"""What values are called where people read them: as short as keeps different values different."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

__all__ = ["value_names"]

_DIGITS: Final = (4, 6, 9, 17)  # the last tells every two floats apart
_WHOLE: Final = 1e15


def value_names(values: Sequence[object]) -> list[str]:
    """A name for each of the values, which are all different: whole numbers whole, the others and texts cut."""
    names: list[str] = []
    for digits in _DIGITS:
        names = [_name(value, digits) for value in values]
        if len(set(names)) == len(names):
            break
    return names


def _name(value: object, digits: int) -> str:
    """A value as people read it. digits: of a number with a fraction; of a text, fifteen times as many characters."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, float):
        text = str(value)
        return text if len(text) <= 15 * digits or digits == _DIGITS[-1] else f"{text[: 15 * digits - 1]}…"
    if value.is_integer() and abs(value) < _WHOLE:
        return f"{value + 0.0:.0f}"  # of zeros the one without a sign
    before = len(f"{abs(value):.0f}") if abs(value) < _WHOLE else 0
    return f"{value:.{max(digits, before)}g}"
