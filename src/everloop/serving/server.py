"""The endpoint's process: a socket, a scoring thread, a watcher, and uvicorn around them."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import socket
import ssl
import sys
import typing
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor

import psutil
import uvicorn

from everloop.bundle import BundleStore
from everloop.clock import Clock
from everloop.errors import AlreadyRunning, UsageError
from everloop.ledger import Ledger
from everloop.project import Endpoint, Project
from everloop.serving.access_log import AccessLog
from everloop.serving.app import App
from everloop.serving.batcher import Batcher
from everloop.serving.beat import beat
from everloop.serving.callers import Callers
from everloop.serving.connections import Acceptor, ConnectionCounts
from everloop.serving.counters import Counters, Moment, SlotRecord, read_slot, slot_path
from everloop.serving.entrance import keys_needed
from everloop.serving.exchange import Exchanges
from everloop.serving.key_watch import KeyWatch
from everloop.serving.ledger_state import ledger_state, looked_s
from everloop.serving.live import Live, warmed
from everloop.serving.open_model import Unserved
from everloop.serving.pipeline import Pipeline
from everloop.serving.protocol import Protocol
from everloop.serving.relay import Relay
from everloop.serving.requests import Requests
from everloop.serving.resting import Resting
from everloop.serving.slots import Slots, process_numbers
from everloop.serving.spool_count import SpoolCount
from everloop.serving.status import Status
from everloop.serving.tls import tls_context, tls_files
from everloop.serving.watcher import Watcher
from everloop.traffic import Spool, pending

__all__ = ["BACKLOG", "bind", "collect_seldom", "serve", "server_config"]

BACKLOG = Protocol.most
"""Connections that wait to be taken; the system holds what it allows of them."""
_GRACE_S = 30
_OTHER_FILES = 200
_INLINE_BYTES = 128_000
_LAST_PORT = 65_535
_ALLOCATIONS = 20_000  # of containers, more than are let go, between two looks of the collector


def bind(host: str, port: int) -> socket.socket:
    """A socket on `host:port`, not listening yet.

    Raises AlreadyRunning where the port is in use, UsageError where there can be no such address.
    """
    if not 0 <= port <= _LAST_PORT:
        raise UsageError(f"{port} is no port; take one of 1 to {_LAST_PORT}, or 0, which takes a free one")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        if isinstance(error, PermissionError | socket.gaierror):
            raise UsageError(f"cannot listen on {host}:{port}: {error}; take another with --host or --port") from error
        raise AlreadyRunning(
            f"port {port} of {host} is in use ({error.strerror}); stop what holds it, "
            "or take another with --port (0 takes a free one)"
        ) from error
    return listener


def _relay(project: Project, live: Callable[[], Live], clock: Clock) -> Relay:
    """What asks the servers that the models' files name."""
    servers = {name: model.upstreams for name, model in project.models.items()}
    return Relay(live=live, servers=servers, clock=clock, max_rows=project.settings.endpoint.max_rows)


class _Beside(typing.Protocol):
    """What goes on beside the answers, in a thread of its own."""

    def start(self) -> None: ...

    def stop(self) -> None: ...


def serve(
    project: Project,
    listener: socket.socket,
    *,
    announce: Callable[[], None],
    parent: int | None = None,
    processes: int = 1,
    counts: ConnectionCounts | None = None,
) -> None:
    """Answer on `listener` until SIGTERM or SIGINT; every accepted request is answered first.

    announce: called once, when requests are answered.
    parent: a process whose death ends this one too. processes: that answer on this socket, this one among them.
    counts: how many connections each of them has; None where this one takes all that come.
    """
    clock = project.clock()
    ledger = Ledger.open(project, clock=clock)
    settings = project.settings.endpoint
    folder = project.state / "serving"
    folder.mkdir(parents=True, exist_ok=True)
    with Spool.open(project.paths.spool, clock=clock, durability=settings.durability) as spool:
        before = read_slot(slot_path(folder, spool.slot))
        counters, requests = Counters(before), Requests(before)
        store = BundleStore.of(project)
        log = _access_log(project)
        slots = Slots(folder, lambda: status.record(), parent=parent)
        relay = _relay(project, lambda: watcher.live, clock)
        watcher = Watcher(
            ledger=ledger,
            load=lambda name: warmed(store.load(name)),
            models=project.models,
            unserved=Unserved(project.models),
            on_look=relay.look,
        )
        callers = _callers(project, listener, processes=processes, refused=counters.refused)
        keys = KeyWatch(ledger=ledger, callers=callers)
        count = SpoolCount(lambda: pending(project.paths.spool))
        pulse = beat([lambda: slots.look(watcher.live), watcher.patience.check, keys.patience.check])
        began_s = psutil.Process().create_time()
        status = Status(
            live=lambda: watcher.live,
            counters=counters,
            requests=requests,
            slot=spool.slot,
            clock=clock,
            keyed=callers.required,
            max_rows=settings.max_rows,
            pending=lambda: count.pending,
            ledger=lambda: ledger_state(watcher, keys),
            moment=lambda: _moment(watcher, keys, batcher, began_s=began_s),
            lost_lines=lambda: _lost_lines(before, log),
            slots=slots.all,
        )
        resting = Resting()
        exchanges = Exchanges(requests, models=lambda: watcher.live.names, log=log)
        pipeline = Pipeline(
            live=lambda: watcher.live, spool=spool, clock=clock, counters=counters, max_rows=settings.max_rows
        )
        tls = _tls(project)
        beside: list[_Beside] = [*([] if log is None else [log]), keys, watcher, pulse, count]
        try:
            with ThreadPoolExecutor(max_workers=1, thread_name_prefix="everloop-score") as executor:
                batcher = _batcher(pipeline, executor, settings, on_room=resting.wake)
                for one in beside:
                    one.start()
                app = App(
                    batcher=batcher,
                    pages=status,
                    callers=callers,
                    models=project.models,
                    exchanges=exchanges,
                    relay=relay,
                    max_body_bytes=settings.max_body.bytes,
                )
                slots.write()  # who is told that it answers finds its file
                collect_seldom()
                _Server(app, exchanges, announce, resting=resting, tls=tls, counts=counts).run(sockets=[listener])
        finally:
            for one in reversed(beside):
                one.stop()
            slots.write()


def collect_seldom() -> None:
    """Have the collector of cycles look at what requests leave, not at all that was imported, and less often.

    Requests make hardly a cycle, but thousands of objects while they wait; a look at everything is a pause of them all.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_ALLOCATIONS, 20, 50)


def _callers(project: Project, listener: socket.socket, *, processes: int, refused: Callable[[str], None]) -> Callers:
    """Who may ask at this address."""
    return Callers(
        required=keys_needed(project, listener.getsockname()[0]),
        rate=project.settings.endpoint.rate,
        processes=processes,
        refused=refused,
    )


def _tls(project: Project) -> ssl.SSLContext | None:
    """What https is answered with, where the project says so."""
    files = tls_files(project)
    return None if files is None else tls_context(*files)


def _batcher(pipeline: Pipeline, executor: Executor, settings: Endpoint, *, on_room: Callable[[int], None]) -> Batcher:
    """What takes requests together; to wait for the disk on the loop would keep everybody waiting, health included."""
    inline_bytes = _INLINE_BYTES if settings.durability == "process" else 0
    return Batcher(pipeline, executor, waiting=settings.queue, on_room=on_room, inline_bytes=inline_bytes)


def _lost_lines(before: SlotRecord | None, log: AccessLog | None) -> int:
    """Of the access log, those that the slot's last worker lost among them."""
    return (0 if before is None else before.lost_lines) + (0 if log is None else log.lost)


def _moment(watcher: Watcher, keys: KeyWatch, batcher: Batcher, *, began_s: float) -> Moment:
    """What holds of this process just now. began_s: when it began."""
    waiting, waiting_bytes = batcher.waiting
    return Moment(
        began_s=began_s,
        looked_s=looked_s(watcher, keys),
        waiting=waiting,
        waiting_bytes=waiting_bytes,
        process=process_numbers(),
    )


def _access_log(project: Project) -> AccessLog | None:
    """The log that everloop.yaml asks for. Raises UsageError where its file cannot be opened."""
    place = project.settings.endpoint.access_log
    if place == "off":
        return None
    try:
        return AccessLog.to(None if place == "stderr" else project.root / place)
    except OSError as error:
        raise UsageError(
            f"endpoint.access_log: {place} cannot be written ({error.strerror}); name a file that can be, stderr or off"
        ) from error


def _most_connections() -> int:
    """How many connections there may be: each is a file, and where files run out nothing else can be opened either."""
    if sys.platform == "win32":
        return Protocol.most
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = Protocol.most + _OTHER_FILES
    if soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return max(1, min(Protocol.most, soft - _OTHER_FILES))


def server_config(app: typing.Any, http: type[Protocol]) -> uvicorn.Config:
    """What uvicorn is told, whatever app it has."""
    return uvicorn.Config(
        app,
        loop="uvloop" if os.name == "posix" else "asyncio",
        http=http,
        proxy_headers=False,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=_GRACE_S,
        backlog=BACKLOG,
    )


class _Server(uvicorn.Server):
    """uvicorn, told when it answers and left without its own end by signal."""

    def __init__(
        self,
        app: App,
        exchanges: Exchanges,
        announce: Callable[[], None],
        *,
        resting: Resting,
        tls: ssl.SSLContext | None,
        counts: ConnectionCounts | None,
    ) -> None:
        http = Protocol.over(
            app, most=_most_connections(), exchanges=exchanges, resting=resting, on_change=self._on_change
        )
        config = server_config(app, http)
        config.load()
        config.ssl = tls  # ours, whose mistakes are told: uvicorn's own would ask a terminal for a passphrase
        super().__init__(config)
        self._announce = announce
        self._counts = counts
        self._acceptor: Acceptor | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, then say so."""
        await super().startup(sockets=[])
        assert sockets is not None
        (listener,) = sockets
        listener.listen(BACKLOG)
        state = self.server_state
        self._acceptor = Acceptor(
            listener,
            self._counts,
            lambda: self.config.http_protocol_class(  # type: ignore[call-arg]
                config=self.config, server_state=state, app_state=self.lifespan.state
            ),
            open_now=lambda: len(state.connections),
            tls=self.config.ssl,
        )
        self._acceptor.start()
        self._announce()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no more connections, then end those that are open."""
        if self._acceptor is not None:
            await self._acceptor.stop()
        await super().shutdown(sockets=sockets)

    def _on_change(self) -> None:
        if self._acceptor is not None:
            self._acceptor.tell()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """SIGTERM and SIGINT end the loop; they are not raised again, since the end was asked for and is clean."""
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
