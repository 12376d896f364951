"""The endpoint's HTTP: a bare ASGI callable over the batcher. DESIGN's routes, and nothing else."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, Literal, Protocol

from everloop.serving.batcher import Ask, Batcher, Reply
from everloop.serving.problem import Problem

__all__ = ["App", "Pages"]

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_PREFIX = "/v1/models/"


class Pages(Protocol):
    """What can be read of the endpoint, each as a finished reply."""

    def healthz(self) -> Reply:
        """Whether the process lives."""
        ...

    def readyz(self) -> Reply:
        """Whether it serves what the ledger says, and which routing revisions it serves."""
        ...

    def metrics(self) -> Reply:
        """Prometheus's text."""
        ...

    def openapi(self) -> Reply:
        """OpenAPI 3.1 of the models served."""
        ...

    def models(self) -> Reply:
        """The models served."""
        ...


class App:
    """The ASGI application."""

    def __init__(self, *, batcher: Batcher, pages: Pages, max_body_bytes: int = 64_000_000) -> None:
        self._batcher = batcher
        self._max_body_bytes = max_body_bytes
        self._pages: Mapping[str, Callable[[], Reply]] = {
            "/healthz": pages.healthz,
            "/metrics": pages.metrics,
            "/openapi.json": pages.openapi,
            "/readyz": pages.readyz,
            "/v1/models": pages.models,
        }

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        try:
            reply = await self._reply(scope, receive)
        except Problem as problem:
            reply = Reply.of(problem)
        headers = [(b"content-type", reply.content_type.encode()), (b"content-length", b"%d" % len(reply.body))]
        if reply.status == 503:
            headers.append((b"retry-after", b"1"))
        if reply.status == 405:
            headers.append((b"allow", _allowed(scope["path"]).encode()))
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        await send({"type": "http.response.body", "body": reply.body})

    async def _reply(self, scope: MutableMapping[str, Any], receive: Receive) -> Reply:
        path, method = scope["path"], scope["method"]
        page = self._pages.get(path)
        if page is not None:
            _require(method, path)
            return page()
        model, kind = _action(path)
        _require(method, path)
        body = await self._body(scope, receive)
        return await self._batcher.answer(Ask(model=model, kind=kind, body=body))

    async def _body(self, scope: MutableMapping[str, Any], receive: Receive) -> bytes:
        length = dict(scope["headers"]).get(b"content-length", b"0")
        if length.isdigit() and int(length) > self._max_body_bytes:
            raise self._too_large()
        parts: list[bytes] = []
        size, more = 0, True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise Problem(400, "cut-off", "the connection ended before the body did; send the request again")
            part = message.get("body", b"")
            size += len(part)
            if size > self._max_body_bytes:
                raise self._too_large()
            parts.append(part)
            more = message.get("more_body", False)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _too_large(self) -> Problem:
        limit = f"{self._max_body_bytes:,} bytes"
        return Problem(413, "too-large", f"the body is larger than {limit}; send the rows in several requests")


def _allowed(path: str) -> str:
    return "POST" if path.startswith(_PREFIX) else "GET"


def _require(method: str, path: str) -> None:
    allowed = _allowed(path)
    if method != allowed and not (method == "HEAD" and allowed == "GET"):
        raise Problem(405, "method-not-allowed", f"{path} is asked with {allowed}, not {method}")


def _action(path: str) -> tuple[str, Literal["predict", "outcomes"]]:
    model, _, kind = path.removeprefix(_PREFIX).partition("/")
    if path.startswith(_PREFIX) and model and kind == "predict":
        return model, "predict"
    if path.startswith(_PREFIX) and model and kind == "outcomes":
        return model, "outcomes"
    raise Problem(
        404,
        "not-found",
        f"there is nothing at {path}; there are {_PREFIX}NAME/predict, {_PREFIX}NAME/outcomes, /v1/models, "
        "/healthz, /readyz, /metrics and /openapi.json",
    )
