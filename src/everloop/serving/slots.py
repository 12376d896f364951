"""This worker's file in `.everloop/serving`, and what the other workers' files say."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from everloop.errors import TrafficError
from everloop.serving.counters import SlotRecord, read_slot, write_slot
from everloop.serving.live import Live

__all__ = ["Slots", "is_living", "process_numbers"]

_WRITE_EVERY_S = 1.0
_SAME_PROCESS_S = 2.0  # a process's beginning is reckoned from the boot's, which moves when the clock is set


class Slots:
    """Keeps this slot's file fresh, at each beat, when the routing changes, and before each scrape; reads them all."""

    def __init__(self, folder: Path, record: Callable[[], SlotRecord], *, parent: int | None = None) -> None:
        """folder: `.everloop/serving`. record: what this worker's file says. parent: its death ends this process."""
        self._folder = folder
        self._record = record
        self._parent = parent
        self._written_s = float("-inf")
        self._revisions: dict[str, int] = {}
        self._lock = threading.Lock()

    def look(self, live: Live) -> None:
        """Write once a second, and at once when another routing is served."""
        revisions = {name: live.revision(name) for name in live.names}
        if revisions != self._revisions or time.monotonic() - self._written_s >= _WRITE_EVERY_S:
            self._revisions = revisions
            self.write()
        if self._parent is not None and os.getppid() != self._parent:
            os.kill(os.getpid(), signal.SIGTERM)

    def write(self) -> SlotRecord:
        """Write now; what was written."""
        with self._lock:  # a record of earlier never replaces a later one
            record = self._record()
            self._written_s = time.monotonic()
            # A full disk stops neither the watcher nor the answers; the next second tries again.
            with contextlib.suppress(OSError):
                write_slot(self._folder, record)
        return record

    def all(self) -> list[SlotRecord]:
        """Every slot's record, this one's as it is now; also of workers that run no more."""
        own = self.write()
        found = [own]
        for path in sorted(self._folder.glob("slot-*.json")):
            # a file that somebody damaged hides no other worker's numbers
            with contextlib.suppress(TrafficError, OSError):
                record = read_slot(path)
                if record is not None and record.slot != own.slot:
                    found.append(record)
        return sorted(found, key=lambda record: record.slot)


def is_living(record: SlotRecord) -> bool:
    """Whether the process that wrote the record runs; another one of the same number is not taken for it."""
    if record.moment is None:
        return False
    try:
        began_s = psutil.Process(record.pid).create_time()
    except (psutil.Error, OSError):
        return False
    return abs(began_s - record.moment.began_s) < _SAME_PROCESS_S


def process_numbers() -> dict[str, float]:
    """What Prometheus's client tells of this process: processor time, memory, open files; none where it cannot."""
    from prometheus_client import ProcessCollector

    collected = ProcessCollector(registry=None).collect()
    return {sample.name: float(sample.value) for family in collected for sample in family.samples}
