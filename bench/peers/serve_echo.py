"""The least that an answer can cost here: `python -m bench.peers.serve_echo --bytes N` prints its URL and answers.

The endpoint's own server, with its protocol and options, around an app that reads the body and answers N bytes of JSON.
"""

from __future__ import annotations

import argparse
import json
import socket
import sys
from typing import Any

import uvicorn

from everloop.serving.protocol import Protocol
from everloop.serving.server import collect_seldom, server_config


def echo(size: int) -> Any:
    """The app. size: bytes of its answer."""
    body = json.dumps({"results": ["x" * (size - len('{"results": [""]}'))]}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    start = {"type": "http.response.start", "status": 200, "headers": headers}
    rest = {"type": "http.response.body", "body": body}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while (await receive()).get("more_body"):
            pass
        await send(start)
        await send(rest)

    return app


class _Server(uvicorn.Server):
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        assert sockets is not None
        sys.stdout.write(f"http://127.0.0.1:{sockets[0].getsockname()[1]}\n")
        sys.stdout.flush()


def main() -> int:
    """Answer until told to end."""
    parser = argparse.ArgumentParser(prog="python -m bench.peers.serve_echo")
    parser.add_argument("--bytes", type=int, required=True)
    given = parser.parse_args()
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    collect_seldom()
    _Server(server_config(echo(given.bytes), Protocol)).run(sockets=[listener])
    return 0


if __name__ == "__main__":
    sys.exit(main())
