"""W3C Trace Context: where a request stands in its caller's trace, and what is passed on to whoever is called for it.

Source: W3C Trace Context (Recommendation, and Level 2 for the random flag and the keys of `tracestate`).
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Self

__all__ = ["TraceContext"]

_PARENT: Final = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.DOTALL)
_NO_TRACE, _NO_SPAN = b"0" * 32, b"0" * 16
_SAMPLED, _RANDOM = 0x01, 0x02
_MEMBER: Final = re.compile(
    rb"[a-z0-9][a-z0-9_\-*/@]{0,255}=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
)
_MOST_MEMBERS: Final = 32
_STATE_BYTES: Final = 8_192  # of all members; a longer list is no tracestate of anybody's
_PASSED_BYTES: Final = 512
_LONG_MEMBER_BYTES: Final = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceContext:
    """One request's place in a trace.

    trace_id: 32 lower-case hex digits. span_id: 16; this request's own, new. parent_id: the caller's span; None where
    no trace came. flags: 1 sampled, 2 random, as they came. tracestate: the members that are passed on; may be empty.
    """

    trace_id: str
    span_id: str
    parent_id: str | None
    flags: int
    tracestate: str

    @classmethod
    def of(cls, headers: Iterable[tuple[bytes, bytes]], *, draw: random.Random | None = None) -> Self:
        """The context of a request with these headers (names in lower case); a new trace where no valid one came.

        A `tracestate` that is malformed is left out, and costs the trace nothing. draw: where ids come from.
        """
        parents, states = [], []
        for name, value in headers:
            if name == b"traceparent":
                parents.append(value)
            elif name == b"tracestate":
                states.append(value)
        draw = _DRAW if draw is None else draw
        span_id = _hex_id(draw, 64)
        found = _parent(parents[0]) if len(parents) == 1 else None
        if found is None:
            return cls(trace_id=_hex_id(draw, 128), span_id=span_id, parent_id=None, flags=_RANDOM, tracestate="")
        trace_id, parent_id, flags = found
        return cls(
            trace_id=trace_id,
            span_id=span_id,
            parent_id=parent_id,
            flags=flags,
            tracestate=_state(states) if states else "",
        )

    @property
    def sampled(self) -> bool:
        """Whether the caller may have recorded this trace."""
        return bool(self.flags & _SAMPLED)

    def headers(self) -> list[tuple[bytes, bytes]]:
        """The headers of a call that is made for this request: its parent is our span."""
        passed = [(b"traceparent", f"00-{self.trace_id}-{self.span_id}-{self.flags:02x}".encode())]
        if self.tracestate:
            passed.append((b"tracestate", self.tracestate.encode()))
        return passed


_DRAW: Final = random.Random()  # seeded by the system; ids are no secrets


def _hex_id(draw: random.Random, bits: int) -> str:
    """Hex digits that are not all zero."""
    return f"{draw.getrandbits(bits) or 1:0{bits // 4}x}"


def _parent(value: bytes) -> tuple[str, str, int] | None:
    """Trace, span and the flags that we know; None where the header is not a valid one.

    Version 00 ends after the flags; a later one may go on after a hyphen and is read as far as it is known.
    """
    found = _PARENT.fullmatch(value.strip(b" \t"))
    if found is None:
        return None
    version, trace, span, flags, more = found.groups()
    if version == b"ff" or (version == b"00" and more is not None) or trace == _NO_TRACE or span == _NO_SPAN:
        return None
    return trace.decode(), span.decode(), int(flags, 16) & (_SAMPLED | _RANDOM)


def _state(values: Sequence[bytes]) -> str:
    """The list of all `tracestate` headers together, empty where any member is malformed, twice, or one too many."""
    whole = b",".join(values)
    if len(whole) > _STATE_BYTES:
        return ""
    members = [member for part in whole.split(b",") if (member := part.strip(b" \t"))]
    keys = {member.partition(b"=")[0] for member in members}
    if len(members) > _MOST_MEMBERS or len(keys) < len(members):
        return ""
    if not all(_MEMBER.fullmatch(member) for member in members):
        return ""
    return b",".join(_short_enough(members)).decode()


def _short_enough(members: list[bytes]) -> list[bytes]:
    """Members for a header of 512 bytes: long ones go first, then the oldest, which stand last; never a part of one."""

    def size(of: list[bytes]) -> int:
        return sum(len(member) + 1 for member in of) - 1

    kept = list(members)
    for member in reversed(members):
        if size(kept) > _PASSED_BYTES and len(member) > _LONG_MEMBER_BYTES:
            kept.remove(member)
    while size(kept) > _PASSED_BYTES:
        kept.pop()
    return kept
