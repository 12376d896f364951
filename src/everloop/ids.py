"""Identifiers: run names, prediction ids, content ids, and the number a routing key is judged by."""

from __future__ import annotations

import hashlib
import os
import re
from typing import Final

from everloop.clock import Clock, to_us

__all__ = ["PREDICTION_ID", "content_id", "is_prediction_id", "new_run_id", "routing_unit", "uuid7", "uuids7"]

PREDICTION_ID: Final = r"[A-Za-z0-9._:-]{1,64}"
"""What a caller's prediction id is: a regular expression of the whole of it."""
_PREDICTION_ID: Final = re.compile(PREDICTION_ID)
_VARIANT: Final = {digit: "89ab"[int(digit, 16) % 4] for digit in "0123456789abcdef"}
_ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"


def is_prediction_id(text: str) -> bool:
    """Whether `text` may be a caller's prediction id: 1 to 64 of `[A-Za-z0-9._:-]`."""
    return _PREDICTION_ID.fullmatch(text) is not None


def uuid7(clock: Clock) -> str:
    """A new UUIDv7 (RFC 9562): sorts by time of birth."""
    return uuids7(clock, 1)[0]


def uuids7(clock: Clock, count: int) -> list[str]:
    """So many new UUIDv7 of this moment."""
    milliseconds = f"{to_us(clock.now()) // 1000:012x}"
    head = f"{milliseconds[:8]}-{milliseconds[8:]}-7"
    drawn = os.urandom(10 * count).hex()
    return [
        f"{head}{drawn[at : at + 3]}-{_VARIANT[drawn[at + 3]]}{drawn[at + 4 : at + 7]}-{drawn[at + 7 : at + 19]}"
        for at in range(0, 20 * count, 20)
    ]


def new_run_id(seed: str | None = None) -> str:
    """A run's name, `r-` and six letters: random, or from `seed` so that a replay names its runs alike."""
    raw = os.urandom(8) if seed is None else hashlib.sha256(seed.encode()).digest()[:8]
    number = int.from_bytes(raw, "big")
    letters = []
    for _ in range(6):
        number, rest = divmod(number, len(_ALPHABET))
        letters.append(_ALPHABET[rest])
    return "r-" + "".join(letters)


def content_id(data: bytes) -> str:
    """The lower-case hexadecimal sha256 of `data`."""
    return hashlib.sha256(data).hexdigest()


def routing_unit(salt: str, key: str) -> int:
    """The key's place in a rollout, uniform in [0, 2**64): sticky, and a growing step only adds keys."""
    return int.from_bytes(hashlib.sha256(f"{salt}\x00{key}".encode()).digest()[:8], "big")
