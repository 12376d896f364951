"""The noun `notice`: who is told of what, whether they were reached, and a test."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from everloop.cli.commands import group
from everloop.cli.context import me, opened
from everloop.cli.daily import AsJson
from everloop.cli.output import say, show, table

if TYPE_CHECKING:
    from everloop.control import ChannelStatus

__all__ = ["add_to"]

notices = group("notice", "Notices: who is told of what, and whether they were reached.")
_NONE = "nobody is told of anything: write `notify: slack://…` into everloop.yaml"


def add_to(app: typer.Typer) -> None:
    """The noun, as a group of commands."""
    app.add_typer(notices)


@notices.command("list")
def notice_list(as_json: AsJson = False) -> None:
    """Every channel: what it hears of, if it was reached, what waits."""
    from everloop.control import channel_status

    with opened() as here:
        found = [channel_status(here.ledger, channel) for channel in here.project.settings.channels]
    _tell(found, as_json=as_json)


@notices.command("test")
def notice_test(as_json: AsJson = False) -> None:
    """Send a test to every channel. Exit code 1: one was not reached."""
    from everloop.control import try_channels

    with opened(may="operate") as here:
        found = try_channels(here.project, here.ledger, actor=me())
    _tell(found, as_json=as_json)
    if not all(one.reached for one in found):
        raise typer.Exit(1)


def _tell(found: Sequence[ChannelStatus], *, as_json: bool) -> None:
    if as_json:
        show([one.to_dict() for one in found])
        return
    rows = [(one.channel, ", ".join(one.kinds), _reached(one), one.waiting) for one in found]
    table(("channel", "hears of", "reached", "waiting"), rows, empty=_NONE)
    if not all(one.reached in (True, None) for one in found):
        say("what waits is sent again and again by 'everloop up' or 'everloop worker' until it is taken")


def _reached(one: ChannelStatus) -> str:
    if one.reached is None or one.at is None:
        return "nothing was sent yet"
    at = one.at[:16].replace("T", " ")
    return f"yes, {at}" if one.reached else f"no, {at}: {one.problem}"
