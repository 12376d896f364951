"""Sending to one channel by apprise, and what may be said of how that went: never anything of its address."""

from __future__ import annotations

import logging
import re
import threading
from typing import Any, Final

from everloop.control.notices import Notice
from everloop.project import Channel

__all__ = ["send"]

_STATUS: Final = re.compile(r"\berror=(\d{3})\b")
_quiet = threading.Lock()


class _Kept(logging.Handler):
    """Keeps, by thread, the HTTP status that apprise speaks of; the rest of its words may hold an address."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.status = threading.local()

    def emit(self, record: logging.LogRecord) -> None:
        found = _STATUS.search(record.getMessage())
        if found is not None:
            self.status.code = found[1]


_kept = _Kept()


def send(channel: Channel, notice: Notice) -> str:
    """Send a notice; why it could not be, or empty where it was. Waits as long as apprise does, some seconds."""
    import apprise

    _silence(logging.getLogger("apprise"))
    _kept.status.code = None
    try:
        hub = apprise.Apprise(asset=_in_this_thread())
        if not hub.add(channel.address):
            return "apprise cannot read its address; its own pages say how one of this kind is written"
        if hub.notify(title=notice.title, body=notice.body, body_format=apprise.NotifyFormat.TEXT):
            return ""
    except Exception as error:  # another package's plugin: whatever it raises, the notice was not taken
        return f"apprise raised {type(error).__name__}"
    code = _kept.status.code
    return "it could not be reached, or gave no answer in time" if code is None else f"it answered {code}"


def _in_this_thread() -> Any:
    """How apprise is to work: in its own few threads, receivers that hang would hold up the others."""
    import apprise

    try:
        return apprise.AppriseAsset(async_mode=False, service_timeout=0)
    except (AttributeError, TypeError):  # before 2.2 it knew no such limit, and used no other thread
        return apprise.AppriseAsset(async_mode=False)


def _silence(log: logging.Logger) -> None:
    """Apprise names addresses in what it logs: nobody else gets to hear it."""
    with _quiet:
        if _kept not in log.handlers:
            log.propagate = False
            log.handlers = [_kept]
            log.setLevel(logging.WARNING)
