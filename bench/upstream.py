"""What asking another server costs the endpoint: CPU time a request through our client and through httpx, side by side.

`python -m bench.upstream [--json]`: a server that answers at once runs in a process of its own; both clients post the
same body to it over 16 connections on uvloop, turn by turn, and the client process's CPU time is taken.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable

import httpx
import uvloop

from everloop.serving.http_client import HttpClient

SERVER = """
import asyncio, httptools, uvloop
BODY = b'{"outputs":[{"name":"p","shape":[1],"datatype":"FP64","data":[0.5]}]}'
REPLY = b"HTTP/1.1 200 OK\\r\\ncontent-type: application/json\\r\\ncontent-length: %d\\r\\n\\r\\n" % len(BODY) + BODY

class Answer(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport, self.parser = transport, httptools.HttpRequestParser(self)
    def data_received(self, data):
        self.parser.feed_data(data)
    def on_message_complete(self):
        self.transport.write(REPLY)

async def main():
    server = await asyncio.get_running_loop().create_server(Answer, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()

uvloop.run(main())
"""
BODY = b'{"inputs":[{"name":"amount","shape":[1,1],"datatype":"FP64","data":[49.9]}]}'
CONNECTIONS = 16


async def cpu_us(post: Callable[[], Awaitable[object]], requests: int) -> float:
    """CPU time of this process a request, in microseconds."""

    async def some(n: int) -> None:
        for _ in range(n):
            await post()

    await some(20)
    began_s = time.process_time()
    await asyncio.gather(*(some(requests // CONNECTIONS) for _ in range(CONNECTIONS)))
    return (time.process_time() - began_s) / requests * 1e6


async def measured(url: str, *, rounds: int, requests: int) -> dict[str, float]:
    """The medians of so many rounds, and their ratio."""
    ours = HttpClient(url, connections=CONNECTIONS)
    limits = httpx.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS)
    async with httpx.AsyncClient(limits=limits) as theirs:
        pairs = [
            (
                await cpu_us(lambda: ours.post("/x", BODY, (), timeout_s=5.0), requests),
                await cpu_us(lambda: theirs.post(f"{url}/x", content=BODY), requests),
            )
            for _ in range(rounds)
        ]
    own, other = (statistics.median(one) for one in zip(*pairs, strict=True))
    return {"ours_us": round(own, 1), "httpx_us": round(other, 1), "ratio": round(other / own, 1)}


def main() -> None:
    """Measure and tell."""
    parser = argparse.ArgumentParser(description="What asking another server costs the endpoint.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=1_600)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        url = f"http://127.0.0.1:{int(server.stdout.readline())}"
        try:
            found = uvloop.run(measured(url, rounds=given.rounds, requests=given.requests))
        finally:
            server.terminate()
    if given.json:
        print(json.dumps(found))
    else:
        print(f"{found['ours_us']} us a request, httpx {found['httpx_us']} us: {found['ratio']} times as much")


if __name__ == "__main__":
    main()
