"""Scopes: what a key for the endpoint may ask of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal, TypeAlias, get_args

from everloop.project.metrics import did_you_mean

__all__ = ["SCOPES", "Scope", "parse_scopes"]

Scope: TypeAlias = Literal["predict", "outcomes", "operate"]
SCOPES: Final[tuple[Scope, ...]] = get_args(Scope)


def parse_scopes(texts: Iterable[str]) -> tuple[Scope, ...]:
    """The scopes that people wrote, repeated or with commas between them, each once and in the order of `SCOPES`.

    Raises ValueError with a sentence for one that there is not, and for a text that names none.
    """
    words = [word.strip() for text in texts for word in text.split(",")]
    for word in words:
        if word not in SCOPES:
            hint = did_you_mean(word, SCOPES) or ""
            # cut before the secret of a key that was pasted here would begin
            raise ValueError(f"there is no scope {word[:12]!r}{hint} (the scopes are {', '.join(SCOPES)})")
    return tuple(scope for scope in SCOPES if scope in words)
