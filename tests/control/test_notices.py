"""People are told of an alert on their own channel, once, and the ledger keeps whether they could be."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

from everloop.clock import SimulatedClock
from everloop.control.notices import send_notice
from everloop.ledger import AlertOpened, Ledger, Window

NOW = datetime(2026, 3, 9, tzinfo=UTC)


@contextmanager
def inbox() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A channel that takes JSON over HTTP: its address, and what came in."""
    came: list[dict[str, Any]] = []

    class Take(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            came.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *said: object) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Take)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"json://127.0.0.1:{server.server_port}/", came
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def opened(ledger: Ledger) -> None:
    ledger.append(
        "alert.opened",
        "a-1",
        AlertOpened(
            alert="a-1",
            model="fraud",
            check="recall",
            window=Window(start=NOW, end=NOW),
            sentence="recall fell: 0.41 [0.33, 0.50], expected 0.79",
            evidence_kind="labels",
        ),
        actor="monitor",
    )


def test_a_channel_hears_the_sentence_once(tmp_path: Path) -> None:
    with Ledger.open(tmp_path / "ledger.db", clock=SimulatedClock(NOW)) as ledger, inbox() as (address, came):
        opened(ledger)
        assert send_notice(ledger, ledger.alert("a-1"), address, 0) == "json-1 was told of a-1"
        (notice,) = ledger.facts(kind="notice.sent")
        assert (notice.payload["delivered"], notice.payload["channel"], notice.cause) == (True, "json-1", 1)
    (message,) = came
    assert message["message"] == "recall fell: 0.41 [0.33, 0.50], expected 0.79"
    assert "fraud" in message["title"]


def test_a_channel_that_cannot_be_reached_is_written_down(tmp_path: Path) -> None:
    with Ledger.open(tmp_path / "ledger.db", clock=SimulatedClock(NOW)) as ledger:
        opened(ledger)
        for place, address in enumerate(("json://127.0.0.1:1/", "carrier-pigeon://roof")):
            assert "was not told" in send_notice(ledger, ledger.alert("a-1"), address, place)
        assert [fact.payload["delivered"] for fact in ledger.facts(kind="notice.sent")] == [False, False]
