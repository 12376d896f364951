"""Who was forgotten, told by keyed hashes: nobody reads out of a fact whose it was, and an import knows them again."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

import polars as pl

from everloop.errors import TrafficError
from everloop.traffic.place import TrafficRoot

__all__ = ["ForgottenKeys", "subject_of"]

_KEPT: Final = "forgotten.key"
_BYTES: Final = 32


def subject_of(root: TrafficRoot, model: str, entity: str) -> str:
    """The hexadecimal HMAC-SHA256 of a model's entity, under the secret that lies with the tables; it is made once.

    An entity's key is short, and a plain hash of it would be found by trying all. Without the secret nobody can try;
    with it gone, nobody can tell any more who was meant.
    """
    return _subject(_secret(root), model, entity)


def _subject(secret: bytes, model: str, entity: str) -> str:
    return hmac.new(secret, f"{model}\x00{entity}".encode(), hashlib.sha256).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgottenKeys:
    """Who was forgotten until when: HMAC → the last time. secret: None where nobody was."""

    model: str
    secret: bytes | None
    until: dict[str, datetime]

    @classmethod
    def of(cls, root: TrafficRoot, model: str, facts: Sequence[tuple[str, datetime]]) -> ForgottenKeys:
        """Those of the facts: subject and time."""
        return cls(model=model, secret=_secret(root) if facts else None, until=dict(sorted(facts, key=lambda f: f[1])))

    def among(self, entities: pl.Series, times: pl.Series) -> pl.Series:
        """Which rows are of someone who was forgotten after they happened, shape (n,), bool."""
        none = pl.Series([False]).new_from_index(0, len(entities))
        if self.secret is None:
            return none
        found = none
        for entity in entities.unique().drop_nulls():
            until = self.until.get(_subject(self.secret, self.model, entity))
            if until is not None:
                found = found | ((entities == entity).fill_null(False) & (times <= until))
        return found


def _secret(root: TrafficRoot) -> bytes:
    secret = _in_folder(root / _KEPT) if isinstance(root, Path) else _in_storage(root)
    if len(secret) != _BYTES:
        raise TrafficError(f"{_KEPT} beside the traffic tables is damaged; bring it back from a copy")
    return secret


def _in_folder(path: Path) -> bytes:
    """The secret, made where there is none: whole, readable by its owner alone, the same for whoever makes it first."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            os.write(handle, secrets.token_bytes(_BYTES))
            os.fsync(handle)
        finally:
            os.close(handle)
        try:
            os.link(draft, path)
        except FileExistsError:
            pass  # another made it meanwhile
        finally:
            draft.unlink()
    return path.read_bytes()


def _in_storage(root: TrafficRoot) -> bytes:
    assert not isinstance(root, Path)
    key = f"traffic/{_KEPT}"
    found = root.open(key)
    if found is None:
        root.create(key, secrets.token_bytes(_BYTES))
        found = root.open(key)
        assert found is not None
    with found as stream:
        return stream.read()
