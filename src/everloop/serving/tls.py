"""https by certificate files: found, read, and what is wrong with them said in a sentence."""

from __future__ import annotations

import ssl
from pathlib import Path

from everloop.errors import ProjectError
from everloop.project import Project

__all__ = ["tls_context", "tls_files"]

_NAMED = "endpoint.tls in everloop.yaml, or --tls-cert and --tls-key, say which files are meant"


class _Encrypted(Exception):
    """The key wants a passphrase."""


def tls_files(project: Project) -> tuple[Path, Path] | None:
    """The files of the certificate and of its key, which may be one; None where http is answered."""
    tls = project.settings.endpoint.tls
    if tls.certificate is None:
        return None
    return project.root / tls.certificate, project.root / (tls.certificate if tls.key is None else tls.key)


def tls_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """What https is answered with: TLS 1.2 or newer.

    Raises ProjectError where a file is not there, cannot be read, is no PEM or needs a passphrase, or where the two
    don't belong together.
    """
    for what, path in (("certificate", certificate), ("key", key)):
        _refuse_unreadable(what, path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(certificate, key, password=_no_passphrase)
    except _Encrypted:
        raise ProjectError(
            f"the TLS key {key} needs a passphrase, which everloop does not ask for; write it without one "
            f"(openssl pkey -in {key.name} -out plain.pem) and let only its owner read it"
        ) from None
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise ProjectError(f"the TLS key {key} is not that of the certificate {certificate}; {_NAMED}") from None
        raise ProjectError(
            f"{certificate} and {key} are no TLS certificate and key in PEM form ({error.reason or 'nothing in it'}); "
            f"{_NAMED}"
        ) from None
    return context


def _refuse_unreadable(what: str, path: Path) -> None:
    try:
        with path.open("rb"):
            pass
    except OSError as error:
        raise ProjectError(f"the TLS {what} {path} cannot be read: {error.strerror}; {_NAMED}") from None


def _no_passphrase() -> str:
    raise _Encrypted
