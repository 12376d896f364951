"""Who acts, and what shows that it is them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from everloop.ledger import holds_key

__all__ = ["Actor", "Proof", "check_name"]

Proof: TypeAlias = Literal["none", "key", "commit", "policy"]

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}")
_OURS: Final = frozenset({"control", "demo", "improvement", "monitor", "unknown", "worker"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """Someone or something that acts. proof: what shows it; `none` is a name that anybody could have given.

    evidence: which key or commit, as facts keep it; never a secret.
    """

    name: str
    proof: Proof = "none"
    evidence: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def named(cls, name: str) -> Actor:
        """Whoever says so: a login name, or a word on the command line."""
        return cls(name=name)

    @classmethod
    def policy(cls, name: str) -> Actor:
        """A policy of model.yaml, such as `policy:on_alert`."""
        return cls(name=name, proof="policy", evidence={"proof": "policy"})

    @property
    def proven(self) -> bool:
        """Whether a key or a signed commit shows who it is."""
        return self.proof in ("key", "commit")


def check_name(name: str) -> str:
    """The name of a person or a machine that may hold a key. Raises ValueError with a sentence."""
    if holds_key(name):
        raise ValueError(
            "that is a key and no name; it stood on a command line, so revoke it where others could see it"
        )
    if _NAME.fullmatch(name) is None:
        raise ValueError(f"{name!r} is not a name (up to 64 of letters, digits and . _ @ + -, such as alice or ci)")
    if name.lower() in _OURS:
        raise ValueError(f"{name!r} is what everloop calls a part of itself; give the person or machine another name")
    return name
