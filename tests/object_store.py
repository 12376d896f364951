"""An object store on this machine: S3's own requests over HTTP, answered by a real server."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from random import Random
from typing import TYPE_CHECKING, Any

import boto3
import httpx
import pytest
from moto.server import ThreadedMotoServer

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication

__all__ = ["KEYS", "ObjectStore", "answering", "aws", "failing", "object_store", "without_waits"]

_VERBS = ("GET", "PUT", "POST", "HEAD", "DELETE")
KEYS = {"aws_access_key_id": "a", "aws_secret_access_key": "b"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectStore:
    """A store with one bucket. url: its address; options: what a reader needs, with the keys."""

    client: Any
    bucket: str
    url: str

    @property
    def options(self) -> dict[str, str]:
        return KEYS | {"aws_region": "us-east-1", "aws_endpoint_url": self.url, "aws_allow_http": "true"}

    @property
    def variables(self) -> dict[str, str]:
        """The same as AWS's usual variables."""
        return {name.upper(): value for name, value in self.options.items()}

    def put(self, key: str, data: bytes) -> None:
        self.client.put_object(Bucket=self.bucket, Key=key, Body=data)


@contextmanager
def aws(*, port: int = 0, kept: bool = False) -> Iterator[str]:
    """AWS's requests answered at this address, until the block ends; kept: with what an earlier one held."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    server.start()
    server._server.app = _one_condition_at_a_time(server._server.app)  # type: ignore[attr-defined]
    try:
        url = "http://{}:{}".format(*server.get_host_and_port())
        if not kept:  # else what an earlier server held is kept by the process
            httpx.post(f"{url}/moto-api/reset").raise_for_status()
        yield url
    finally:
        server.stop()


def _one_condition_at_a_time(app: WSGIApplication) -> WSGIApplication:
    """S3 decides a conditional put at once; the server looks, and then writes, so that two may both find nothing."""
    lock = threading.Lock()

    def answered(environ: dict[str, Any], start: StartResponse) -> Iterable[bytes]:
        if not environ.keys() & {"HTTP_IF_NONE_MATCH", "HTTP_IF_MATCH"}:
            return app(environ, start)
        with lock:
            return list(app(environ, start))

    return answered


@contextmanager
def object_store(bucket: str) -> Iterator[ObjectStore]:
    """An empty store, until the block ends."""
    with aws() as url:
        client = boto3.client("s3", endpoint_url=url, region_name="us-east-1", **KEYS)
        client.create_bucket(Bucket=bucket)
        yield ObjectStore(client=client, bucket=bucket, url=url)


@contextmanager
def failing(
    store: ObjectStore, *, share: float, seed: int = 0, verbs: Sequence[str] = _VERBS, lost: float = 0.5
) -> Iterator[ObjectStore]:
    """The same store behind a door that answers 500 to that share of requests of these verbs.

    lost: the share of those that it passes on, so that only their answer is lost.
    """
    random = Random(seed)

    def verdict(verb: str) -> _Verdict | None:
        fails, passes_on = random.random() < share, random.random() < lost
        return _Verdict(status=500, passes_on=passes_on) if fails and verb in verbs else None

    with _door(store, verdict) as door:
        yield door


@contextmanager
def answering(store: ObjectStore, *answers: tuple[int, str]) -> Iterator[tuple[ObjectStore, list[int]]]:
    """The same store behind a door that answers the first requests so itself: status and S3's word for it.

    Besides the statuses of all answers that were not passed on, one a request, oldest first.
    """
    left, given = list(answers), list[int]()

    def verdict(_verb: str) -> _Verdict | None:
        if not left:
            return None
        status, code = left.pop(0)
        given.append(status)
        said = f"<Error><Code>{code}</Code><Message>said by the door</Message></Error>"
        return _Verdict(status=status, body=said.encode())

    with _door(store, verdict) as door:
        yield door, given


@dataclass(frozen=True, slots=True, kw_only=True)
class _Verdict:
    """The door's own answer to a request; whether the store hears of it all the same."""

    status: int
    body: bytes = b""
    passes_on: bool = False


@contextmanager
def _door(store: ObjectStore, verdict: Callable[[str], _Verdict | None]) -> Iterator[ObjectStore]:
    """The same store behind a door; verdict: of each request, by its verb, None where it is the store's to answer."""
    lock = threading.Lock()
    behind = httpx.Client(base_url=store.url, timeout=30)

    class Door(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            with lock:
                own = verdict(self.command)
            answer = None
            if own is None or own.passes_on:
                headers = {name: value for name, value in self.headers.items() if name.lower() not in _OF_THE_DOOR}
                answer = behind.request(self.command, self.path, headers=headers, content=body)
            if own is not None:
                self._answer(own.status, own.body, {}, str(len(own.body)))
            elif answer is not None:
                length = answer.headers.get("Content-Length", "0")
                length = length if self.command == "HEAD" else str(len(answer.content))
                self._answer(answer.status_code, answer.content, dict(answer.headers), length)

        def _answer(self, status: int, data: bytes, headers: dict[str, str], length: str) -> None:
            self.send_response(status)
            for name, value in headers.items():
                if name.lower() not in (*_OF_THE_DOOR, "content-encoding", "date", "server"):
                    self.send_header(name, value)
            self.send_header("Content-Length", length)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        def log_message(self, *_args: object) -> None:
            """Nobody reads it."""

    for verb in _VERBS:
        setattr(Door, f"do_{verb}", Door.handle_any)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Door)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield replace(store, url=f"http://127.0.0.1:{server.server_port}")
    finally:
        server.shutdown()
        server.server_close()
        behind.close()


_OF_THE_DOOR = ("connection", "content-length", "transfer-encoding")


def without_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what fails be asked again as often as ever, and at once."""
    from botocore.retries import standard

    from everloop.integrations import s3

    monkeypatch.setattr(standard.ExponentialBackoff, "delay_amount", lambda *_: 0.0)
    monkeypatch.setattr(s3, "_FIRST_PAUSE_S", 0.0)
