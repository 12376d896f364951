"""The endpoint's HTTP: a bare ASGI callable over the batcher. DESIGN's routes, and nothing else."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from functools import partial
from typing import Any, Final, NamedTuple, Protocol, get_args

from everloop.ledger import holds_key
from everloop.serving import arrow, inference
from everloop.serving.batcher import Ask, Batcher, Done, Kind, Reply
from everloop.serving.callers import PAGE_CHALLENGE, Callers, Headers, Need, need_of
from everloop.serving.direct import always
from everloop.serving.exchange import REFUSED, Exchange, Exchanges
from everloop.serving.explained import asked_reasons
from everloop.serving.pipeline import ASK_FIRST
from everloop.serving.problem import Problem
from everloop.serving.requests import Requests
from everloop.serving.resting import BUSY

__all__ = ["App", "Pages"]

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_LOG = logging.getLogger("everloop.serving")
_PREFIX = "/v1/models/"
_FAST_BYTES = 64_000
_KINDS: Final[Mapping[str, Kind]] = {kind: kind for kind in get_args(Kind)}
_ASKS_MORE = frozenset({b"content-encoding", b"expect", b"transfer-encoding"})


class Pages(Protocol):
    """What can be read of the endpoint, each as a finished reply."""

    def healthz(self) -> Reply:
        """Whether the process lives."""
        ...

    def readyz(self) -> Reply:
        """Whether it serves what the ledger says, and which routing revisions it serves."""
        ...

    def bare_readyz(self) -> Reply:
        """The same for those who may not know more than whether."""
        ...

    def metrics(self) -> Reply:
        """Prometheus's text."""
        ...

    def openapi(self) -> Reply:
        """OpenAPI 3.1 of the models served."""
        ...

    def docs(self) -> Reply:
        """The same as a page."""
        ...

    def models(self) -> Reply:
        """The models served."""
        ...

    def inference(self, target: inference.Target) -> Reply:
        """What the Open Inference Protocol tells of the server or a model. Raises Problem."""
        ...


class _Page(NamedTuple):
    """A page's route, what makes it, and whether that takes longer than others should wait for."""

    route: str
    reply: Callable[[], Reply]
    slow: bool = False


class Relay(Protocol):
    """What asks the servers of versions that others serve.

    urls: where a request comes in that they are asked for; the fast lane leaves those alone.
    """

    urls: frozenset[bytes]

    def takes(self, model: str) -> bool:
        """Whether something else serves a live version of the model."""
        ...

    async def asked(self, ask: Ask, headers: Headers) -> Ask:
        """The request with what they said of it."""
        ...


class App:
    """The ASGI application."""

    def __init__(
        self,
        *,
        batcher: Batcher,
        pages: Pages,
        callers: Callers,
        models: Iterable[str] = (),
        exchanges: Exchanges | None = None,
        relay: Relay | None = None,
        max_body_bytes: int = 64_000_000,
        held_bytes: int = 256_000_000,
    ) -> None:
        """models: whose small requests take the fast lane. relay: asks the servers of versions that others serve.

        max_body_bytes: of one request.

        held_bytes: of all those together that are not whole yet. A body that comes in one piece is never turned away
        for the others. exchanges: None counts for nobody.
        """
        self._batcher = batcher
        self._relay = relay
        self._callers = callers
        self._bare_readyz = pages.bare_readyz
        self._max_body_bytes = max_body_bytes
        self._held_limit = held_bytes
        self._held_bytes = 0
        self._served = pages
        self._fast: dict[bytes, tuple[Need | None, Callable[..., Ask]]] = {}
        for name in models:
            for kind in get_args(Kind):
                path = f"{_PREFIX}{name}/{kind}"
                self._fast[path.encode()] = (need_of("POST", path), partial(_ask, name, kind))
        self._asking: set[asyncio.Task[None]] = set()
        self._exchanges = Exchanges(Requests(), models=frozenset) if exchanges is None else exchanges
        self._pages: Mapping[str, _Page] = {
            "/docs": _Page("docs", pages.docs, slow=True),
            "/healthz": _Page("healthz", pages.healthz),
            "/metrics": _Page("metrics", pages.metrics, slow=True),
            "/openapi.json": _Page("openapi", pages.openapi, slow=True),
            "/readyz": _Page("readyz", pages.readyz),
            "/v1/models": _Page("models", pages.models),
        }

    def begin(self, method: bytes, url: bytes, headers: Headers) -> Callable[[bytes], Ask] | None:
        """What makes an ask of a small JSON body; None where the request is not plainly one."""
        route = self._fast.get(url)
        if route is None or method != b"POST":
            return None
        if self._relay is not None and url in self._relay.urls:
            return None  # other servers have to be asked first
        length = b""
        for name, value in headers:
            if name == b"content-length":
                length = value
            elif (
                name in _ASKS_MORE
                or (name == b"content-type" and b"json" not in value)
                or (name == b"accept" and b"arrow" in value.lower())
            ):
                return None
        if not length.isdigit() or len(length) > 5 or int(length) > _FAST_BYTES:
            return None
        need, ask = route
        # last, for it takes of the caller's rate; whoever is refused is told so by the other lane
        let_in, caller = self._callers.admitted(headers, need)
        if not let_in:
            return None
        return ask if caller is None else partial(ask, caller=caller)

    def submit(self, ask: Ask, done: Done) -> None:
        """Have an ask of the fast lane answered."""

        def answered(reply: Reply | BaseException) -> None:
            if reply is ASK_FIRST and self._relay is not None:  # the routing changed while the body came
                task = asyncio.get_running_loop().create_task(self._asked_late(ask, done))
                self._asking.add(task)
                task.add_done_callback(self._asking.discard)
                return
            done(self._told(reply, ask.model) if isinstance(reply, BaseException) else reply)

        try:
            self._batcher.submit(ask, answered)
        except Problem as problem:
            done(Reply.of(problem))

    async def _asked_late(self, ask: Ask, done: Done) -> None:
        try:
            done(await self._predicted_by_others(ask, ()))
        except Exception as error:  # whatever it is, there is an answer
            done(self._told(error, ask.model))

    async def _predicted_by_others(self, ask: Ask, headers: Headers) -> Reply:
        assert self._relay is not None
        return await self._batcher.answer(await self._relay.asked(ask, headers))

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        exchange = self._exchanges.begin(scope["method"], scope["headers"], client=scope.get("client"))
        try:
            reply = await self._reply(exchange, scope, receive)
        except Exception as error:  # whatever it is, there is an answer
            reply = self._told(error, scope["path"])
        if scope["path"].startswith(inference.PREFIX):
            reply = inference.error_reply(reply)
        headers = [(b"content-type", reply.content_type.encode()), (b"content-length", b"%d" % len(reply.body))]
        headers += (exchange.reply_header, *reply.headers, *always(reply.status))
        if reply.status == 405:
            headers.append((b"allow", _allowed(scope["path"]).encode()))
        if reply.status == 401 and scope["method"] == "GET" and b"text/html" in _header(scope, b"accept"):
            headers.append(PAGE_CHALLENGE)
        if reply.problem == "busy":
            scope[BUSY] = True
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        await send({"type": "http.response.body", "body": reply.body})
        if not scope.get(REFUSED):
            self._exchanges.end(exchange, reply)

    @staticmethod
    def _told(error: BaseException, where: str) -> Reply:
        if isinstance(error, Problem):
            return Reply.of(error)
        _LOG.error("a request to %.200s failed", where, exc_info=error)
        detail = f"an error of everloop's own: {type(error).__name__}; the endpoint's log has it"
        return Reply.of(Problem(500, "not-answered", detail))

    async def _reply(self, exchange: Exchange, scope: MutableMapping[str, Any], receive: Receive) -> Reply:
        path, method = scope["path"], scope["method"]
        if holds_key(path):  # so that no problem, no log and no counter repeats it
            detail = "a key stands in the address, where proxies keep it: revoke it, and send another in a header"
            raise Problem(404, "key-in-address", detail)
        caller = self._callers.admit(scope["headers"], need_of(method, path))
        exchange.caller = None if caller is None else caller.name
        page = self._pages.get(path)
        if path == "/readyz" and not self._callers.shows(scope["headers"], "operate"):
            page = _Page("readyz", self._bare_readyz)
        if page is not None:
            exchange.route = page.route
            _require(method, path)
            if page.slow:
                return await asyncio.get_running_loop().run_in_executor(None, page.reply)
            return page.reply()
        if path.startswith(inference.PREFIX):
            return await self._inference(exchange, scope, receive)
        model, kind = _action(path)
        exchange.model, exchange.route = model, kind
        _require(method, path)
        form, reasons = None, 0
        if kind == "predict":
            reasons = asked_reasons(scope.get("query_string", b""))
            form = arrow.form_of(_header(scope, b"content-type"), _header(scope, b"accept"))
        body = await self._body(scope, receive)
        exchange.request_bytes = len(body)
        ask = Ask(model=model, kind=kind, body=body, form=form, reasons=reasons)
        return await self._answered(ask, scope["headers"])

    async def _answered(self, ask: Ask, headers: Headers) -> Reply:
        """By the batch, or, of a model that something else serves, after that was asked."""
        if ask.kind != "predict" or self._relay is None:
            return await self._batcher.answer(ask)
        if not self._relay.takes(ask.model):
            reply = await self._batcher.answer(ask)
            if reply is not ASK_FIRST:
                return reply
        if ask.form is not None or ask.reasons:
            raise Problem(
                501,
                "not-served-here",
                f"something else serves a version of {ask.model}: it is asked for rows in JSON, at "
                f"{_PREFIX}{ask.model}/predict, without reasons",
            )
        return await self._predicted_by_others(ask, headers)

    async def _inference(self, exchange: Exchange, scope: MutableMapping[str, Any], receive: Receive) -> Reply:
        path = scope["path"]
        target = inference.target_of(path)
        exchange.model, exchange.route = target.model or None, target.what
        _require(scope["method"], path)
        if target.what != "infer":
            return self._served.inference(target)
        length = _header(scope, inference.HEADER_LENGTH)
        if length and not (length.isdigit() and len(length) <= 15):
            raise Problem(400, "bad-request", f"{inference.HEADER_LENGTH.decode()} is not a number of bytes")
        body = await self._body(scope, receive)
        exchange.request_bytes = len(body)
        form = inference.InferForm(version=target.version, header_bytes=int(length) if length else None)
        ask = Ask(model=target.model, kind="predict", body=body, form=form)
        return await self._answered(ask, scope["headers"])

    async def _body(self, scope: MutableMapping[str, Any], receive: Receive) -> bytes:
        encoding = _header(scope, b"content-encoding")
        if encoding.lower() not in (b"", b"identity"):
            raise Problem(
                415, "encoded", f"the body is {encoding[:40].decode(errors='replace')}-encoded; send it as it is"
            )
        length = _header(scope, b"content-length").lstrip(b"0")
        if length.isdigit() and (len(length) > 15 or int(length) > self._max_body_bytes):
            raise self._too_large()
        message = await self._part(receive)
        body: bytes = message.get("body", b"")
        if message.get("more_body", False):
            return await self._whole(body, receive)
        if len(body) > self._max_body_bytes:
            raise self._too_large()
        return body

    async def _whole(self, first: bytes, receive: Receive) -> bytes:
        """A body that comes in parts, `first` among them; what is read of it counts as held until it is whole."""
        parts, size, more = [first], len(first), True
        self._held_bytes += size
        try:
            while more:
                message = await self._part(receive)
                part = message.get("body", b"")
                parts.append(part)
                size += len(part)
                self._held_bytes += len(part)
                if size > self._max_body_bytes:
                    raise self._too_large()
                if self._held_bytes > self._held_limit:
                    raise Problem(503, "busy", "too many large requests are on their way; send this one again later")
                more = message.get("more_body", False)
        finally:
            self._held_bytes -= size
        return b"".join(parts)

    @staticmethod
    async def _part(receive: Receive) -> MutableMapping[str, Any]:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Problem(400, "cut-off", "the connection ended before the body did; send the request again")
        return message

    def _too_large(self) -> Problem:
        limit = f"{self._max_body_bytes:,} bytes"
        return Problem(413, "too-large", f"the body is larger than {limit}; send the rows in several requests")


def _ask(model: str, kind: Kind, body: bytes, caller: str | None = None) -> Ask:
    return Ask(model=model, kind=kind, body=body, caller=caller)


def _header(scope: MutableMapping[str, Any], name: bytes) -> bytes:
    return next((value for one, value in scope["headers"] if one == name), b"")


def _allowed(path: str) -> str:
    if path.startswith(inference.PREFIX):
        return "POST" if path.endswith("/infer") else "GET"
    return "POST" if path.startswith(_PREFIX) else "GET"


def _require(method: str, path: str) -> None:
    allowed = _allowed(path)
    if method != allowed and not (method == "HEAD" and allowed == "GET"):
        raise Problem(405, "method-not-allowed", f"{path:.100} is asked with {allowed}, not {method}")


def _action(path: str) -> tuple[str, Kind]:
    model, _, word = path.removeprefix(_PREFIX).partition("/")
    kind = _KINDS.get(word)
    if path.startswith(_PREFIX) and model and kind is not None:
        return model, kind
    raise Problem(
        404,
        "not-found",
        f"there is nothing at {path:.100}; there are {_PREFIX}NAME/predict, {_PREFIX}NAME/outcomes, "
        f"{_PREFIX}NAME/predictions, {_PREFIX}NAME/decide, /v1/models, /v2 (the Open Inference Protocol), /docs, "
        "/healthz, /readyz, /metrics and /openapi.json",
    )
