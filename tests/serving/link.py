"""A wire between an endpoint and a database server that can go dead without a word, and come back."""

from __future__ import annotations

import shutil
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.database_server import DatabaseServer

__all__ = ["Link", "link"]

_SOCKET = ".s.PGSQL.5432"


class Link:
    """Connections to its address reach the server, until `go_dead`: then they are taken, and hear nothing."""

    def __init__(self, folder: Path, server: Path) -> None:
        self.address = f"postgresql://postgres@/postgres?host={folder}"
        self._server = str(server / _SOCKET)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(folder / _SOCKET))
        self._listener.listen()
        self._alive = threading.Event()
        self._alive.set()
        self._generation = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def go_dead(self) -> None:
        """From now on nothing gets through."""
        self._alive.clear()

    def come_back(self, *, forgetting: bool = False) -> None:
        """Everything gets through again. forgetting: but not what comes on a connection of before, ever."""
        self._generation += forgetting
        self._alive.set()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._join, args=(near,), daemon=True).start()

    def _join(self, near: socket.socket) -> None:
        self._alive.wait()
        generation, far = self._generation, socket.socket(socket.AF_UNIX)
        far.connect(self._server)
        for source, sink in ((near, far), (far, near)):
            threading.Thread(target=self._pump, args=(source, sink, generation), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, generation: int) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                self._alive.wait()
                if generation == self._generation:
                    sink.sendall(data)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_RDWR)


@contextmanager
def link(server: DatabaseServer) -> Iterator[Link]:
    """A link to a running server."""
    folder = Path(tempfile.mkdtemp(prefix="everloop-link-"))  # a socket's path must be short
    made = Link(folder, server.folder)
    try:
        yield made
    finally:
        made.close()
        shutil.rmtree(folder)
