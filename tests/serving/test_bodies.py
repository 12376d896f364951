"""Bodies that come slowly or all at once: each has its time, and together they have their room."""

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from everloop.serving.app import App
from everloop.serving.batcher import Batcher, Reply


class Told:
    """Pages that nobody asks for here."""

    def page(self) -> Reply:
        return Reply(status=200, body=b"")

    healthz = readyz = metrics = openapi = models = page


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
        yield App(batcher=batcher, pages=Told(), max_body_bytes=80, held_bytes=100, body_s=0.05)


@pytest.mark.parametrize("parts", [[], [b"[", b"1"]])
def test_a_body_that_never_ends_is_given_up(app, parts):
    status, problem = asyncio.run(answered(app, parts))
    assert (status, problem["type"]) == (408, "urn:everloop:problem:too-slow")


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
