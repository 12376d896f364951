"""everloop keeps a model good in production."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from everloop.data import features as features

__all__ = ["features"]


def __getattr__(name: str) -> object:
    """`features` on first use, so that `import everloop` loads no library."""
    if name == "features":
        from everloop.data import features

        return features
    raise AttributeError(f"module 'everloop' has no attribute {name!r}")
