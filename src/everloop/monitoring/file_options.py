"""How the options of a file check are called: flags on a command line, arguments in Python. Sentences name them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

__all__ = ["Called", "as_argument", "as_flag"]

Called: TypeAlias = Callable[[str, str], str]
"""An option's name, such as `time_unit`, and a value or nothing → how someone gives it."""


def as_flag(name: str, value: str = "") -> str:
    """`--time-unit s`, or `--every` without a value."""
    return f"--{name.replace('_', '-')} {value}".rstrip()


def as_argument(name: str, value: str = "") -> str:
    """`time_unit='s'`, or `every=` without a value."""
    if not value:
        return f"{name}="
    try:
        float(value)
    except ValueError:
        return f"{name}={value!r}"
    return f"{name}={value}"
