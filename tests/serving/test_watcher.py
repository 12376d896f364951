"""What the watcher says of a routing that cannot be served."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from everloop.serving.watcher import Watcher

from .place import Place


def test_what_cannot_be_loaded_is_told_once_however_often_it_is_tried(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place = Place.make(tmp_path)
    place.deployed()
    graph = next(place.project.paths.bundles.rglob("graph.onnx"))
    kept = graph.read_bytes()
    graph.chmod(0o644)
    graph.write_bytes(b"x" + kept[1:])
    watcher = Watcher(ledger=place.ledger, load=place.store.load, models=["fraud"], retry_s=0.0)
    with caplog.at_level(logging.ERROR, logger="everloop.serving"):
        for _ in range(3):
            watcher.look()
        assert caplog.text.count("graph.onnx was changed") == 1
        assert "graph.onnx was changed" in watcher.live.problems["fraud"]
        graph.unlink()
        watcher.look()
        assert caplog.text.count("graph.onnx is missing") == 1
        graph.write_bytes(kept)
        watcher.look()
    assert (watcher.live.revision("fraud"), watcher.live.problems) == (1, {})
    place.ledger.close()
