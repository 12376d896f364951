"""Asks the servers of versions that something else serves, before a request is answered and recorded as any other.

Every live version is asked at once. Who is to answer a row is waited for within the version's `timeout`; who answers
nobody (a shadow, or a challenger that none of the rows fell to) only a little longer than those, and what it has not
said by then counts as its error.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import polars as pl
from msgspec.structs import replace

from everloop.clock import Clock
from everloop.errors import ProjectError
from everloop.project import UpstreamServer, environment_variable
from everloop.rollout import assign_many
from everloop.serving.batcher import Ask
from everloop.serving.good_rows import Answers, GoodRows, read_rows
from everloop.serving.live import Live, LiveModel
from everloop.serving.problem import Problem
from everloop.serving.relayed import Failure, Relayed, Said
from everloop.serving.rows import Request, read_request
from everloop.serving.upstream import Upstream, trace_headers

__all__ = ["Relay"]

Headers = Sequence[tuple[bytes, bytes]]
_ROUNDS: Final = 2
_TOKEN: Final = re.compile(r"[!-~]{1,8192}")
# A larger body is read in a thread, so that the others' requests go on.
_SMALL_BYTES: Final = 64_000


def _token(model: str, version: int, server: UpstreamServer) -> str | None:
    """What is sent to a server. Raises ProjectError, which never repeats it, where it is not there or is none."""
    if server.token is None:
        return None
    token = environment_variable(server.token).strip()
    if _TOKEN.fullmatch(token):
        return token
    wrong = "holds more than the letters of a token" if token else "is not set"
    raise ProjectError(
        f"upstream.v{version} of {model} is sent the token in {server.token}, which {wrong}; set it where the endpoint "
        "starts, or take 'token' out of model.yaml"
    )


class Relay:
    """Lives on the event loop, but for `look`.

    urls: where a request comes in that others are asked for, as of the last look.
    """

    def __init__(
        self,
        *,
        live: Callable[[], Live],
        servers: Mapping[str, Mapping[int, UpstreamServer]],
        clock: Clock,
        max_rows: int,
    ) -> None:
        """servers: by model and version, as model.yaml names them.

        Raises ProjectError where the token of one is not in the environment.
        """
        self.urls: frozenset[bytes] = frozenset()
        self._live = live
        self._clock = clock
        self._max_rows = max_rows
        self._upstreams = {
            (model, version): Upstream(model, version, server, token=_token(model, version, server))
            for model, versions in servers.items()
            for version, server in versions.items()
        }

    def look(self, live: Live) -> None:
        """Take note of what is served now; in whatever thread. A request meanwhile is told to ask first, and does."""
        self.urls = frozenset(f"/v1/models/{name}/predict".encode() for name, one in live.models.items() if one.relayed)

    def takes(self, model: str) -> bool:
        """Whether something else serves a live version of the model."""
        served = self._live().models.get(model)
        return served is not None and served.relayed

    async def asked(self, ask: Ask, headers: Headers) -> Ask:
        """The request with what the servers said of it; as it is where there is nothing to ask them.

        Where the routing changes meanwhile they are asked once more, so that a rollback holds for this request too.
        """
        relayed = None
        for _ in range(_ROUNDS):
            model = self._live().models.get(ask.model)
            if model is None or not model.relayed:
                return ask
            try:
                request, errors, good = await self._read(model, ask.body)
            except Problem:
                return ask  # whoever answers it reads it again, and says so
            relayed = await self._round(model, request, errors, good, trace_headers(headers))
            now = self._live().models.get(ask.model)
            if now is None or now.routing.revision == model.routing.revision:
                break
        return replace(ask, relayed=relayed)

    async def _read(self, model: LiveModel, body: bytes) -> tuple[Request, Answers, GoodRows]:
        def read() -> tuple[Request, Answers, GoodRows]:
            request = read_request(body, max_rows=self._max_rows)
            errors: Answers = [[] for _ in request.rows]
            return request, errors, read_rows(model, request.rows, errors, clock=self._clock)

        return read() if len(body) <= _SMALL_BYTES else await asyncio.to_thread(read)

    async def _round(
        self,
        model: LiveModel,
        request: Request,
        errors: Answers,
        good: GoodRows,
        headers: Headers,
    ) -> Relayed:
        turns = assign_many(model.routing, good.keys) if good.places else []
        theirs = [version for version in model.routing.live if model.bundles[version].external]
        said: dict[int, Said | Failure] = {}
        if good.places:
            needed = {model.routing.champion, *(turn.version for turn in turns)}
            frame = good.decoded.frame
            tasks = {one: asyncio.create_task(self._said(model, one, frame, headers)) for one in theirs}
            try:
                said = await self._waited(model.name, tasks, needed)
            finally:
                for task in tasks.values():
                    task.cancel()
        return Relayed(model=model, request=request, errors=errors, good=good, turns=turns, said=said)

    async def _waited(
        self, model: str, tasks: Mapping[int, asyncio.Task[Said | Failure]], needed: set[int | None]
    ) -> dict[int, Said | Failure]:
        """What came of each: of those that answer a row, and of the others what is there a little later."""
        awaited = [task for version, task in tasks.items() if version in needed]
        if awaited:
            await asyncio.wait(awaited)
        others = {version: task for version, task in tasks.items() if not task.done()}
        if others:
            await asyncio.wait(others.values(), timeout=max(self._patience_s(model, version) for version in others))
        return {version: task.result() if task.done() else _late(version) for version, task in tasks.items()}

    def _patience_s(self, model: str, version: int) -> float:
        upstream = self._upstreams.get((model, version))
        return 0.0 if upstream is None else upstream.server.patience.total_seconds()

    async def _said(self, model: LiveModel, version: int, frame: pl.DataFrame, headers: Headers) -> Said | Failure:
        upstream = self._upstreams.get((model.name, version))
        if upstream is None:
            detail = (
                f"v{version} of {model.name} is served by something else: ask it there and send what it says to "
                f"/v1/models/{model.name}/predictions, or name its server in model.yaml: upstream: {{v{version}: "
                "http://…}, and start the endpoint again"
            )
            return Failure(problem=Problem(501, "not-served-here", detail))
        contract = model.bundles[version].contract
        wanted = upstream.server.columns or [one.name for one in contract.columns if one.role in ("feature", "input")]
        missing = [name for name in wanted if name not in frame.columns]
        if missing:
            detail = f"upstream.v{version}.columns names {', '.join(missing)}, which no row of {model.name} has"
            return Failure(problem=Problem(502, "upstream-failed", detail))
        return await upstream.ask(frame.select(wanted), headers)


def _late(version: int) -> Failure:
    """What a version that answers nobody had not said in time. Only the others' callers wait for it, and not long."""
    return Failure(problem=Problem(504, "upstream-late", f"the server of v{version} took longer than its patience"))
