"""Who hears of what: the addresses in `notify`, by kind of notice. No sentence made here repeats an address."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from everloop.project.metrics import did_you_mean

__all__ = ["NOTICES", "Channel", "channels", "parse_notify"]

NOTICES: Final[Mapping[str, str]] = {
    "alert": "an alert was opened",
    "alert closed": "an alert needs nobody any more",
    "refused": "a gate, or someone, refused a run",
    "failed": "a run failed",
    "promoted": "a challenger became champion",
    "stopped": "a challenger was taken back",
    "rolled back": "a champion gave way to the one before it",
    "schedule": "a schedule was late or skipped, or a run asked for cannot begin",
    "rejected": "rows or files were not scored in batch",
}
"""What may be heard of: name → what it is."""
_ALL: Final = "all"
_FORM: Final = "write slack://…, a list of such, or {alert: [slack://…], failed: [mailto://…], all: […]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """One address and what it hears of.

    name: what it is called where all may read: its scheme and its place among those of that scheme, never the address.
    kinds: names of `NOTICES`, in their order.
    """

    name: str
    kinds: tuple[str, ...]
    address: str

    def __repr__(self) -> str:
        return f"Channel({self.name})"


def parse_notify(value: object) -> dict[str, tuple[str, ...]]:
    """Kind of notice → addresses, in the order they were written; addresses alone hear of alerts.

    Raises ValueError with a sentence that shows no address.
    """
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        found = _addresses(value, "notify")
        return {"alert": found} if found else {}
    parsed: dict[str, tuple[str, ...]] = {}
    for key, addresses in value.items():
        kind = str(key).replace("_", " ").replace("-", " ")
        if kind != _ALL and kind not in NOTICES:
            raise ValueError(f"there is no kind of notice {key!r}{_hint(kind)}")
        parsed[kind] = _addresses(addresses, kind)
    return parsed


def channels(notify: Mapping[str, tuple[str, ...]]) -> tuple[Channel, ...]:
    """Every address once, with all that it hears of, in the order the addresses were written."""
    heard: dict[str, set[str]] = {}
    for kind, addresses in notify.items():
        for address in addresses:
            heard.setdefault(address, set()).update(NOTICES if kind == _ALL else (kind,))
    counted: dict[str, int] = {}
    found = []
    for address, kinds in heard.items():
        scheme = address.partition(":")[0].lower()
        counted[scheme] = counted.get(scheme, 0) + 1
        ordered = tuple(kind for kind in NOTICES if kind in kinds)
        found.append(Channel(name=f"{scheme}-{counted[scheme]}", kinds=ordered, address=address))
    return tuple(found)


def _hint(kind: str) -> str:
    return did_you_mean(kind, (*NOTICES, _ALL)) or f"; there are {', '.join((*NOTICES, _ALL))}"


def _addresses(value: Any, where: str) -> tuple[str, ...]:
    """The addresses, each with a scheme. What is wrong is told by its place: it may hold a secret."""
    listed = [value] if isinstance(value, str) else value
    if listed is None:
        return ()
    if not isinstance(listed, list | tuple):
        raise ValueError(f"{where} holds no addresses; {_FORM}")
    for place, address in enumerate(listed):
        scheme, mark, rest = address.partition("://") if isinstance(address, str) else ("", "", "")
        if not (mark and rest and scheme.isascii() and scheme.replace("-", "").replace("+", "").isalnum()):
            raise ValueError(f"address {place + 1} of {where} has no scheme such as slack:// before it; {_FORM}")
    return tuple(listed)
