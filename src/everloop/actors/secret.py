"""The secret of a key: how it is made, read and held against what the ledger keeps.

A secret is 256 random bits, so nobody finds it by trying, and a single SHA-256 of it may stand in a fact that every
reader sees. A slow hash (scrypt) is for passwords, which people choose among few; here it would only cost time.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass, field
from typing import Final

__all__ = ["Secret", "key_hash", "new_secret", "read_secret", "same", "text_hash"]

_PREFIX: Final = "evl_"
_DOMAIN: Final = b"everloop key 1\n"
_TEXT: Final = re.compile(r"evl_(?P<name>.+)_(?P<key>[a-z2-7]{8})_(?P<random>[a-z2-7]{52})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Secret:
    """A key's text taken apart; printing it shows no secret."""

    text: str = field(repr=False)
    name: str
    key: str


def new_secret(name: str) -> Secret:
    """A new one: `evl_NAME_ID_` and 256 random bits."""
    key, random = _letters(5), _letters(32)
    return Secret(text=f"{_PREFIX}{name}_{key}_{random}", name=name, key=key)


def read_secret(text: str) -> Secret | None:
    """The key in a text, or None where it is none."""
    match = _TEXT.fullmatch(text)
    return None if match is None else Secret(text=text, name=match["name"], key=match["key"])


def key_hash(secret: Secret) -> str:
    """What the ledger keeps of it."""
    return text_hash(secret.text.encode()).hex()


def text_hash(text: bytes) -> bytes:
    """The 32 bytes that `key_hash` writes in letters, of a key's text as it came over a wire, whatever it is."""
    return hashlib.sha256(_DOMAIN + text).digest()


def same(secret: Secret, kept: str) -> bool:
    """Whether the kept hash is this secret's, in a time that tells nothing."""
    return hmac.compare_digest(key_hash(secret).encode(), kept.encode())


def _letters(count: int) -> str:
    """Random bytes as letters and digits that no shell and no eye takes for something else."""
    return base64.b32encode(secrets.token_bytes(count)).decode().rstrip("=").lower()
