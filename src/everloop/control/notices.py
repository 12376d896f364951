"""Telling people of an alert, on the channels that `notify` names."""

from __future__ import annotations

from everloop.ledger import AlertState, Key, Ledger, NoticeSent

__all__ = ["channel_name", "notice_key", "send_notice"]


def channel_name(address: str, place: int) -> str:
    """What a channel is called where all may read: its scheme and place, never the address with its secrets."""
    return f"{address.partition(':')[0]}-{place + 1}"


def notice_key(alert: str, place: int) -> Key:
    """Under which the notice of an alert on a channel is kept: it is sent once."""
    return (f"notice:{alert}", "notify", place)


def send_notice(ledger: Ledger, alert: AlertState, address: str, place: int) -> str:
    """Tell one channel, and write down whether it could be; a channel that fails is not tried again."""
    channel = channel_name(address, place)
    problem = _deliver(address, title=f"everloop: {alert.model}: alert {alert.alert}", body=alert.sentence)
    ledger.append(
        "notice.sent",
        alert.alert,
        NoticeSent(channel=channel, sentence=alert.sentence, delivered=not problem, problem=problem),
        actor="control",
        cause=alert.seq,
        key=notice_key(alert.alert, place),
    )
    return f"{channel} was told of {alert.alert}" if not problem else f"{channel} was not told: {problem}"


def _deliver(address: str, *, title: str, body: str) -> str:
    """Why it could not be delivered; empty where it was."""
    import apprise

    hub = apprise.Apprise()
    if not hub.add(address):
        return "apprise does not know this kind of address"
    return "" if hub.notify(title=title, body=body) else "the channel did not take it"
