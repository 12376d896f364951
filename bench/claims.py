"""What a bench measured, held against what is claimed of it."""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

__all__ = ["arguments", "refuse_without", "told", "unkept"]

_NONE: Final[Mapping[str, float]] = MappingProxyType({})


def arguments(bench: str, about: str | None) -> argparse.ArgumentParser:
    """A bench's command line, with `--json`. about: its module's docstring."""
    first = (about or "").splitlines()[0]
    parser = argparse.ArgumentParser(prog=f"python -m bench.{bench}", description=first)
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout, and nothing else")
    return parser


def refuse_without(parser: argparse.ArgumentParser, programs: Mapping[str, str]) -> None:
    """End where a program is not installed. programs: to the Debian package that has it."""
    missing = [name for name in programs if shutil.which(name) is None]
    if missing:
        parser.error(f"{' and '.join(missing)} must be installed (Debian: {', '.join(programs.values())})")


def unkept(
    document: Mapping[str, Any], *, at_least: Mapping[str, float] = _NONE, at_most: Mapping[str, float] = _NONE
) -> list[str]:
    """What of the claims the numbers do not keep; of what was not measured, nothing."""
    low = {name: least for name, least in at_least.items() if document.get(name, least) < least}
    high = {name: most for name, most in at_most.items() if document.get(name, most) > most}
    said = [f"{name} is {document[name]} and not ≥ {least}" for name, least in low.items()]
    return said + [f"{name} is {document[name]} and not ≤ {most}" for name, most in high.items()]


def told(document: Mapping[str, Any], broken: Sequence[str], *, line: bool, name: str = "broken") -> int:
    """Print the document with the claims that were not kept, on one line or spread; the process's exit code."""
    whole = {**document, name: list(broken)}
    print(json.dumps(whole) if line else json.dumps(whole, indent=2))
    return 1 if broken else 0
