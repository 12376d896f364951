"""Answers with their reasons beside them, for those who ask; what is recorded has none."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import msgspec
import numpy as np

from everloop.data import Decoded
from everloop.serving.live import LiveModel
from everloop.serving.problem import Problem, RowError
from everloop.serving.reasons import reasons_of
from everloop.serving.rows import Request

__all__ = ["asked_reasons", "explained", "refuse_too_many"]

_LOG = logging.getLogger("everloop.serving")
_DIGITS: Final = 6
_FEW_ROWS: Final = 256


class _Version(msgspec.Struct, frozen=True):
    version: int


_decode_version = msgspec.json.Decoder(_Version).decode
_encode = msgspec.json.Encoder().encode


def asked_reasons(query: bytes) -> int:
    """How many reasons a query asks for, as `explain=5`; 0 where it asks for none. Raises Problem."""
    if b"explain" not in query:
        return 0
    for part in query.split(b"&"):
        name, _, value = part.partition(b"=")
        if name == b"explain":
            if value.isdigit() and len(value) <= _DIGITS and int(value) > 0:
                return int(value)
            said = value[:20].decode(errors="replace")
            raise Problem(400, "bad-explain", f"explain is how many reasons, 1 or more, and not {said!r}")
    return 0


def refuse_too_many(model: LiveModel, reasons: int) -> None:
    """Raises Problem where more reasons are asked for than the model has features."""
    features = len(model.champion.features.names)
    if reasons > features:
        detail = f"explain={reasons} asks for more reasons than the {features} features of {model.name}"
        raise Problem(400, "bad-explain", f"{detail}; ask for 1 to {features}")


def explained(
    model: LiveModel, request: Request, answers: Sequence[bytes | list[RowError]], *, now: datetime
) -> list[bytes | list[RowError]]:
    """The answers with `reasons` in each, of the version that gave it; null where that is not loaded any more."""
    try:
        return _explained(model, request, answers, now)
    except Exception:  # the answers are recorded, and are given in any case
        _LOG.exception("%d answers of %s cannot be explained", len(answers), model.name)
        return [answer if isinstance(answer, list) else _with(answer, None) for answer in answers]


def _explained(
    model: LiveModel, request: Request, answers: Sequence[bytes | list[RowError]], now: datetime
) -> list[bytes | list[RowError]]:
    decoded = _decoded(model, request, now)
    by_version: dict[int, list[int]] = {}
    for n, row in enumerate(decoded.kept):
        answer = answers[row]
        if isinstance(answer, bytes):
            by_version.setdefault(_decode_version(answer).version, []).append(n)
    found = list(answers)
    for version, rows in by_version.items():
        bundle, typical = model.bundles.get(version), model.typical.get(version)
        if bundle is None or typical is None:
            told: Sequence[Any] = [None] * len(rows)
        else:
            own = decoded if len(rows) == len(decoded.kept) else decoded.take(rows)
            told = list(reasons_of(bundle, typical, _features(model, version, own), own, request.reasons))
        for n, reasons in zip(rows, told, strict=True):
            answer = answers[decoded.kept[n]]
            assert isinstance(answer, bytes)
            found[decoded.kept[n]] = _with(answer, reasons)
    return found


def _decoded(model: LiveModel, request: Request, now: datetime) -> Decoded:
    if request.table is not None:
        return model.decoder.decode_table(request.table, now=now)
    if request.body is None:
        return model.decoder.decode(request.rows, now=now)
    decoded = model.typed.decode(request.rows, now=now)
    assert decoded is not None
    return decoded


def _features(model: LiveModel, version: int, decoded: Decoded) -> np.ndarray[Any, np.dtype[np.float32]]:
    compiled = model.compiled.get(version)
    # of many rows a frame makes them sooner; and the champion before scores nothing any more, so it has no fast twin
    if compiled is None or len(decoded.kept) > _FEW_ROWS:
        return model.bundles[version].features.matrix(decoded.frame)
    return compiled.matrix(decoded.columns, len(decoded.kept))


def _with(answer: bytes, reasons: Any) -> bytes:
    return b'%b,"reasons":%b}' % (answer[:-1], _encode(reasons))
