"""What must never stand in a fact: the text of a key, which people paste where they should not."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["holds_key"]

_KEY: Final = re.compile(rb"evl_.+_[a-z2-7]{8}_[a-z2-7]{52}")


def holds_key(text: str | bytes) -> bool:
    """Whether the text of a key, `evl_NAME_ID_SECRET`, is somewhere in it."""
    found = text.encode() if isinstance(text, str) else text
    return b"evl_" in found and _KEY.search(found) is not None
