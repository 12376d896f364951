"""Bodies that come slowly or all at once: each has its time, and together they have their room."""

import asyncio
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import pytest
import uvicorn
from uvicorn.server import ServerState

from everloop.serving.app import App
from everloop.serving.batcher import Batcher, Reply
from everloop.serving.callers import Callers
from everloop.serving.protocol import Protocol


class Told:
    """Pages that nobody asks for here."""

    def page(self) -> Reply:
        return Reply(status=200, body=b"")

    healthz = readyz = bare_readyz = metrics = docs = openapi = models = page


SCOPE = {"type": "http", "path": "/v1/models/fraud/predict", "method": "POST", "headers": []}


async def answered(app: App, parts, *, last=None):
    """The status and body for a request whose parts are there at once; then `last` is waited for, for ever if None."""
    sent, waiting = [], [*parts]

    async def receive():
        if waiting:
            return {"type": "http.request", "body": waiting.pop(0), "more_body": True}
        if last is None:
            await asyncio.Event().wait()
        await last.wait()
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        sent.append(message)

    await app(dict(SCOPE), receive, send)
    return sent[0]["status"], json.loads(sent[1]["body"])


@pytest.fixture
def app():
    with ThreadPoolExecutor(max_workers=1) as executor:
        batcher = Batcher(lambda asks: [Reply(status=200, body=b"%d" % len(ask.body)) for ask in asks], executor)
        yield App(batcher=batcher, pages=Told(), callers=Callers(required=False), max_body_bytes=80, held_bytes=100)


def test_unfinished_bodies_share_a_room_and_leave_it(app):
    async def crowd():
        done = asyncio.Event()
        first = asyncio.create_task(answered(app, [b"x" * 30, b"x" * 30], last=done))
        await asyncio.sleep(0)
        second = await answered(app, [b"x" * 30, b"x" * 30], last=done)
        done.set()
        return await first, second, await answered(app, [b"x" * 40, b"x" * 40], last=done)

    first, second, third = asyncio.run(crowd())
    assert first == (200, 60)
    assert (second[0], second[1]["type"]) == (503, "urn:everloop:problem:busy")
    assert third == (200, 80)


def test_a_body_in_parts_has_the_largest_size_too(app):
    status, problem = asyncio.run(answered(app, [b"x" * 40, b"x" * 41]))
    assert (status, problem["type"]) == (413, "urn:everloop:problem:too-large")


class Hasty(Protocol):
    """A connection whose bodies have no time at all beyond the bytes that come together."""

    body_s = 0.0


class Patient(Protocol):
    """A connection that is hasty when the endpoint stops."""

    late_body_s = 0.0


@asynccontextmanager
async def listening(app, protocol, *, keep_alive_s=75):
    """The port of a real server for `app`, and its state."""
    state = ServerState()
    config = uvicorn.Config(app, lifespan="off", log_config=None, timeout_keep_alive=keep_alive_s)

    def connection():
        return protocol(config=config, server_state=state, app_state={})

    server = await asyncio.get_running_loop().create_server(connection, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], state


def written(body, *, length=None):
    head = "POST /v1/models/fraud/predict HTTP/1.1\r\nHost: x\r\nContent-Length: "
    return f"{head}{len(body) if length is None else length}\r\n\r\n".encode() + body


async def status_and_type(reader):
    """Of the next answer; the type of a problem, else None."""
    head = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
    fields = dict(line.lower().split(b": ", 1) for line in head[1:] if line)
    body = json.loads(await reader.readexactly(int(fields[b"content-length"])))
    return int(head[0].split()[1]), body["type"].rpartition(":")[2] if isinstance(body, dict) else None


@pytest.mark.parametrize("sent", [b"", b"[1"])
def test_a_body_that_never_ends_is_given_up(app, sent):
    async def slow():
        async with listening(app, Hasty) as (port, state):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(written(sent, length=10))
            found = await status_and_type(reader), await reader.read()
            writer.close()
            while state.tasks or state.connections:
                await asyncio.sleep(0)
            return found

    assert asyncio.run(slow()) == ((408, "too-slow"), b"")


def test_a_whole_request_has_no_limit_and_is_answered_before_a_late_one_behind_it():
    held = threading.Event()

    def scored(asks):
        held.wait()
        return [Reply(status=200, body=b"%d" % len(ask.body)) for ask in asks]

    async def one_behind_the_other():
        with ThreadPoolExecutor(max_workers=1) as executor:
            batcher = Batcher(scored, executor, inline_bytes=0)
            app = App(batcher=batcher, pages=Told(), callers=Callers(required=False))
            async with listening(app, Hasty) as (port, state):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(written(b"[1]") + written(b"[2", length=10))
                while not any(connection.pipeline for connection in state.connections):
                    await asyncio.sleep(0)
                for _ in range(3):  # in which the second's time runs out
                    await asyncio.sleep(0)
                held.set()
                found = [await status_and_type(reader), await status_and_type(reader), await reader.read()]
                writer.close()
                return found

    assert asyncio.run(one_behind_the_other()) == [(200, None), (408, "too-slow"), b""]


def test_an_end_leaves_a_body_on_its_way_little_time_and_is_orderly_whenever_it_comes(app):
    async def ended(protocol):
        async with listening(app, protocol) as (port, state):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(written(b"[1", length=10))
            while not state.tasks:
                await asyncio.sleep(0)
            for connection in [*state.connections]:
                connection.shutdown()
                connection.shutdown()
            found = await status_and_type(reader), await reader.read()
            writer.close()
            while state.tasks or state.connections:
                await asyncio.sleep(0)
            return found

    assert asyncio.run(ended(Patient)) == ((503, "stopping"), b"")
    assert asyncio.run(ended(Hasty))[1] == b""


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"", b"\r\n"),  # skipped before a request line, and so no request begins
        (b"POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n1", b"1"),  # answered before it is whole
    ],
)
def test_bytes_that_begin_no_request_leave_no_connection_open_for_ever(app, before, after):
    async def idle():
        async with listening(app, Protocol, keep_alive_s=1) as (port, _):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            if before:
                writer.write(before)
                assert await status_and_type(reader) == (404, "not-found")
            writer.write(after)
            ended = await asyncio.wait_for(reader.read(), 10)
            writer.close()
            return ended

    assert asyncio.run(idle()) == b""


def test_a_connection_too_many_is_told_to_come_again(app):
    class Few(Protocol):
        most = 1

    async def two():
        async with listening(app, Few) as (port, state):
            first = await asyncio.open_connection("127.0.0.1", port)
            while not state.connections:
                await asyncio.sleep(0)
            second = await asyncio.open_connection("127.0.0.1", port)
            refused = await status_and_type(second[0]), await second[0].read()
            first[1].write(written(b"[1]"))
            answered = await status_and_type(first[0])
            for _, writer in (first, second):
                writer.close()
            return refused, answered

    assert asyncio.run(two()) == (((503, "busy"), b""), (200, None))
