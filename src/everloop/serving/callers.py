"""Who may call: a request's key is looked for, held against the keys that are known, and its rate is kept.

All of it is from memory and in the event loop's thread; `KeyWatch` brings what the ledger says.
"""

from __future__ import annotations

import hmac
import math
import secrets
import time
from base64 import b64decode
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from everloop.actors import KeyState, text_hash
from everloop.project import Rate, Scope
from everloop.serving.problem import Problem

__all__ = ["PAGE_CHALLENGE", "Caller", "Callers", "Headers", "Need", "need_of"]

Headers: TypeAlias = Sequence[tuple[bytes, bytes]]
Need: TypeAlias = Literal["predict", "outcomes", "operate", "read"]
"""What a request asks for: one of the scopes, or `read`, what those who predict and those who operate may read."""

_BY_BROWSER: Final = frozenset({"read", "operate"})
"""What a browser may ask with a key that it keeps: a page of somebody else's could have it post, and never read."""
_MOST_KEY_BYTES: Final = 256  # twice the longest key that is ever made
_ID: Final = slice(-61, -53)  # of evl_NAME_ID_SECRET, whose last 52 letters are the secret
_OPEN: Final = frozenset({"/healthz", "/readyz"})
_READ: Final = ("/v1/models", "/v2", "/openapi.json", "/docs")
_CHALLENGE: Final = ((b"www-authenticate", b"Bearer"),)
PAGE_CHALLENGE: Final = (b"www-authenticate", b'Basic realm="a key of everloop, as the password"')
"""Has a browser ask for a key, where a page is opened in it."""
_SENT: Final = "send it as 'Authorization: Bearer evl_…' or 'X-API-Key: evl_…'"


class Bucket:
    """The requests that a key has left: filled at `per_s` requests a second, up to a second's worth, at least one."""

    __slots__ = ("_at_s", "_left", "_most", "_per_s")

    def __init__(self, per_s: float, *, now_s: float) -> None:
        self._per_s = per_s
        self._most = max(1.0, per_s)
        self._left = self._most
        self._at_s = now_s

    def wait_s(self, now_s: float) -> float:
        """Take a request: 0 where there was one, else the seconds until there is."""
        left = min(self._most, self._left + (now_s - self._at_s) * self._per_s)
        self._at_s = now_s
        if left < 1.0:
            self._left = left
            return (1.0 - left) / self._per_s
        self._left = left - 1.0
        return 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Whose key it is. key: its id, which is no secret. needs: what it may ask for."""

    key: str
    name: str
    scopes: tuple[Scope, ...]
    needs: frozenset[Need]
    digest: bytes = field(repr=False)
    bucket: Bucket | None = field(default=None, repr=False, compare=False)


# Stands where no key has an id, so that one that is not there takes as long as one with another secret.
_NOBODY: Final = Caller(key="", name="", scopes=(), needs=frozenset(), digest=secrets.token_bytes(32))


class Callers:
    """The live keys, and who may ask with them.

    Nothing that a request brings is kept. A cache from a header's bytes to its caller would save half of the one
    microsecond that this takes, a SHA-256 of a hundred bytes, and would have to be bounded against whoever spells one
    key in many ways, emptied when a key is revoked, and looked at for what its hits tell. Without it a wrong key costs
    what a right one does. What is compared is hashes, in constant time; the id that finds the candidate stands in
    `key list` and is no secret. A guess that differs in a letter differs in all of its hash, so that not even how far
    two hashes agree would tell anything of the key.
    """

    def __init__(
        self,
        *,
        required: bool,
        rate: Rate | None = None,
        processes: int = 1,
        refused: Callable[[str], None] = lambda kind: None,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """required: False admits everyone, and looks at no header.

        rate: of a key that says none. processes: that answer together; each keeps its share of a key's rate.
        refused: told the kind of each problem that is raised here.
        """
        self.required = required
        self._rate = rate
        self._processes = processes
        self._refused = refused
        self._now_s = now_s
        self._known: dict[bytes, Caller] = {}

    def know(self, keys: Iterable[KeyState]) -> None:
        """From now on these keys count, of which those that are revoked or have no scope let nobody in.

        From any thread: the keys are swapped as one. Who had used up their rate has not more of it by that.
        """
        before = self._known
        known = {}
        for state in keys:
            if state.live and state.scopes:
                key = state.key.encode()
                earlier = before.get(key)
                bucket = self._bucket(state) if earlier is None else earlier.bucket
                known[key] = _caller(state, bucket)
        self._known = known

    def _bucket(self, state: KeyState) -> Bucket | None:
        rate = self._rate if state.rate is None else state.rate
        return None if rate is None else Bucket(rate.per_s / self._processes, now_s=self._now_s())

    def admit(self, headers: Headers, need: Need | None) -> Caller | None:
        """Whose key the request shows, who may ask for this now; None where nobody is asked.

        headers: names in lower case. need: None is for everyone. Raises Problem: 401 without a key that is known, 403
        for one whose scope is another, 429 where its rate is used up.
        """
        if not self.required or need is None:
            return None
        try:
            return self._let_in(headers, need)
        except Problem as problem:
            self._refused(problem.kind)
            raise

    def admitted(self, headers: Headers, need: Need | None) -> tuple[bool, str | None]:
        """Whether `admit` lets the request in, which then counts as let in, and the name of the key that it shows.

        For a lane that leaves it to another one to ask again and to tell the problem: of a request that is not let in
        nothing is counted.
        """
        if not self.required or need is None:
            return True, None
        try:
            return True, self._let_in(headers, need).name
        except Problem:
            return False, None

    def _let_in(self, headers: Headers, need: Need) -> Caller:
        caller = self._caller_of(headers, need)
        if need not in caller.needs:
            raise _another_scope(caller, need)
        if caller.bucket is not None:
            wait_s = caller.bucket.wait_s(self._now_s())
            if wait_s > 0.0:
                raise _too_many(wait_s)
        return caller

    def shows(self, headers: Headers, need: Need) -> bool:
        """Whether the request may see what is for this need; nothing is counted or used up."""
        if not self.required:
            return True
        try:
            return need in self._caller_of(headers, need).needs
        except Problem:
            return False

    def _caller_of(self, headers: Headers, need: Need) -> Caller:
        text = _text_of(headers, basic=need in _BY_BROWSER)
        caller = self._known.get(text[_ID], _NOBODY)
        if not hmac.compare_digest(text_hash(text), caller.digest):
            raise Problem(
                401,
                "key-unknown",
                "the key that was sent is not one of this endpoint, or no longer; an operator sees in 'everloop key "
                "list' which are",
                headers=_CHALLENGE,
            )
        return caller


def need_of(method: str, path: str) -> Need | None:
    """What a request asks for; None is for everyone. path: decoded, as routes are found by."""
    if path in _OPEN or path.startswith("/v2/health/"):
        return None
    if method in ("GET", "HEAD"):
        return "read" if path.startswith(_READ) else "operate"
    return "outcomes" if path.endswith("/outcomes") else "predict"


def _caller(state: KeyState, bucket: Bucket | None) -> Caller:
    needs: set[Need] = set(state.scopes)
    if needs & {"predict", "operate"}:
        needs.add("read")
    return Caller(
        key=state.key,
        name=state.name,
        scopes=state.scopes,
        needs=frozenset(needs),
        digest=bytes.fromhex(state.sha256),
        bucket=bucket,
    )


def _text_of(headers: Headers, *, basic: bool) -> bytes:
    """The key's text as it was sent. Raises Problem where there is none, or two of which either could be meant.

    `X-API-Key` goes before `Authorization`, in which a gateway may have put something of its own. basic: whether it may
    be the password that a browser was told.
    """
    authorization = api_key = None
    for name, value in headers:
        if name == b"authorization":
            if authorization is not None:
                raise _malformed("the request has two Authorization headers")
            authorization = value
        elif name == b"x-api-key":
            if api_key is not None:
                raise _malformed("the request has two X-API-Key headers")
            api_key = value
    if api_key is not None:
        text = api_key.strip(b" ")
    elif authorization is not None:
        scheme, _, text = authorization.partition(b" ")
        text = text.strip(b" ")
        if basic and scheme.lower() == b"basic":
            text = _password(text)
        elif scheme.lower() != b"bearer":
            raise _malformed("the Authorization header is of another scheme than Bearer")
    else:
        raise Problem(
            401,
            "key-needed",
            f"this endpoint asks for a key; {_SENT}. An operator makes one with 'everloop key create NAME --scope …'",
            headers=_CHALLENGE,
        )
    # what is too long for a key is not hashed: it costs nothing, and tells only its own length
    return text if len(text) <= _MOST_KEY_BYTES else b""


def _password(text: bytes) -> bytes:
    """Of a name and a password in base64, the password; nothing where it is none."""
    if len(text) > 2 * _MOST_KEY_BYTES:
        return b""
    try:
        return b64decode(text, validate=True).partition(b":")[2]
    except ValueError:
        return b""


def _malformed(what: str) -> Problem:
    return Problem(401, "key-malformed", f"{what}; give one key: {_SENT}", headers=_CHALLENGE)


def _another_scope(caller: Caller, need: Need) -> Problem:
    asked = "predict or operate" if need == "read" else need
    return Problem(
        403,
        "scope",
        f"the key {caller.key} is for {' and '.join(caller.scopes)}, and this asks for {asked}; "
        "'everloop key create NAME --scope …' makes one for it",
    )


def _too_many(wait_s: float) -> Problem:
    again_s = max(1, math.ceil(wait_s))
    return Problem(
        429,
        "too-many-requests",
        f"this key has used up its rate; send the request again in {again_s} s, or several rows in one request",
        headers=((b"retry-after", b"%d" % again_s),),
    )
