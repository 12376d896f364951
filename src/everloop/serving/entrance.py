"""Before an endpoint answers: whether it may on this address, by which URL, and what its processes are told."""

from __future__ import annotations

import ipaddress
import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from everloop.actors import key_states
from everloop.errors import Refused
from everloop.ledger import Ledger
from everloop.project import Project
from everloop.serving.connections import counts_file
from everloop.serving.tls import tls_context, tls_files

__all__ = ["Entrance", "entrance_of", "keys_needed", "refuse_unguarded"]

_LOG = logging.getLogger("everloop.serving")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entrance:
    """url: where it answers. workers: its processes, all on one socket. descriptors: what each inherits."""

    url: str
    workers: int
    descriptors: tuple[int, ...]
    common: tuple[str, ...]

    def arguments(self, place: int) -> list[str]:
        """What the process at `place`, from 0, is told."""
        return [*self.common, "--place", str(place)]


@contextmanager
def entrance_of(project: Project, listener: socket.socket, *, workers: int) -> Iterator[Entrance]:
    """How `workers` processes answer on `listener`, as long as this context lasts.

    Raises Refused where callers must show a key and no live one lets anybody in, ProjectError for files of TLS that
    cannot be used, LedgerUnreadable.
    """
    host = listener.getsockname()[0]
    arguments = ["--fd", str(listener.fileno()), "--of", str(workers)]
    files = tls_files(project)
    if files is not None:
        tls_context(*files)
        arguments += ["--tls-cert", str(files[0]), "--tls-key", str(files[1])]
    if project.settings.endpoint.keys == "open":
        arguments.append("--insecure")
    refuse_unguarded(project, host)
    if not keys_needed(project, host) and not _is_loopback(host):
        _LOG.warning("whoever reaches %s may ask this endpoint anything: no key is asked for", host)
    with counts_file(workers) as counts:
        yield Entrance(
            url=_url(listener, tls=files is not None),
            workers=workers,
            descriptors=(listener.fileno(), counts),
            common=(*arguments, "--counts", str(counts)),
        )


def keys_needed(project: Project, host: str) -> bool:
    """Whether callers show a key: where everloop.yaml says so, and, unless it says otherwise, wherever other machines
    can reach the endpoint.
    """
    said = project.settings.endpoint.keys
    return said == "required" or (said == "auto" and not _is_loopback(host))


def refuse_unguarded(project: Project, host: str) -> None:
    """Raise Refused where callers must show a key and no live one lets anybody in."""
    if not keys_needed(project, host) or _has_keys(project):
        return
    how = "make one with 'everloop key create --scope predict'"
    if _is_loopback(host):
        raise Refused(f"callers must show a key (endpoint.keys: required), and no key lets anyone in; {how}")
    raise Refused(
        f"other machines reach {host}, and no key lets anyone in; {how}, or listen on 127.0.0.1, or say --insecure to "
        "answer whoever asks"
    )


def _has_keys(project: Project) -> bool:
    if project.settings.ledger is None and not project.paths.ledger_db.exists():
        return False
    with Ledger.open(project, clock=project.clock()) as ledger:
        return any(state.live and state.scopes for state in key_states(ledger))


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:  # a name: of an address that is bound there is none
        return host == "localhost"


def _url(listener: socket.socket, *, tls: bool) -> str:
    host, port = listener.getsockname()[:2]
    scheme = "https" if tls else "http"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
