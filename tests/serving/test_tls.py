"""https by certificate files: answered by one process and by several, and what is wrong with a file is one sentence."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from everloop.errors import ProjectError
from everloop.project import Project
from everloop.serving.tls import tls_context, tls_files

from .place import Place, endpoint, row
from .test_callers import started

ISSUED = datetime(2020, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class Files:
    """A certificate for 127.0.0.1 that is its own authority, and its key."""

    certificate: Path
    key: Path
    private: ec.EllipticCurvePrivateKey

    @classmethod
    def write(cls, folder: Path) -> Files:
        private = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "everloop")])
        address = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
        made = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(private.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(ISSUED)
            .not_valid_after(ISSUED + timedelta(days=36_500))
            .add_extension(address, critical=False)
            .sign(private, hashes.SHA256())
        )
        folder.mkdir(parents=True, exist_ok=True)
        files = cls(certificate=folder / "cert.pem", key=folder / "key.pem", private=private)
        files.certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
        files.key.write_bytes(files.key_pem())
        return files

    def key_pem(self, *, passphrase: bytes | None = None) -> bytes:
        form = serialization.PrivateFormat.PKCS8
        locked = (
            serialization.NoEncryption() if passphrase is None else serialization.BestAvailableEncryption(passphrase)
        )
        return self.private.private_bytes(serialization.Encoding.PEM, form, locked)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return Files.write(tmp_path_factory.mktemp("tls"))


@pytest.mark.parametrize("workers", [1, 2])
def test_https_is_answered_and_http_is_not(place: Place, files: Files, workers: int) -> None:
    place.deployed()
    root = place.project.root
    told = ["--tls-cert", str(files.certificate), "--tls-key", str(files.key)]
    if workers == 1:  # by the project's own settings, as files of the project
        (root / "everloop.yaml").write_text("endpoint: {tls: {certificate: tls/both.pem}}\n")
        (root / "tls").mkdir()
        (root / "tls" / "both.pem").write_bytes(files.certificate.read_bytes() + files.key.read_bytes())
        told = []
    trusted = ssl.create_default_context(cafile=str(files.certificate))
    with endpoint(root, "--workers", str(workers), *told) as running:
        assert running.url.startswith("https://127.0.0.1:")
        with httpx.Client(verify=trusted) as client:
            reply = client.post(running.predict, json=row(1))
            assert (reply.status_code, reply.json()["results"][0]["id"]) == (200, "pay_1")
            assert client.post(running.predict, json=row(1)).content == reply.content
        with pytest.raises(httpx.ConnectError):  # who does not trust it goes away
            httpx.get(f"{running.url}/healthz")
        with pytest.raises(httpx.TransportError):
            httpx.get(f"{running.url.replace('https', 'http')}/healthz")
        with httpx.Client(verify=trusted) as client:
            assert client.get(f"{running.url}/healthz").status_code == 200
        assert "Traceback" not in running.log.read_text()
    place.ledger.close()


def test_what_is_wrong_with_a_file_is_said(files: Files, tmp_path: Path) -> None:
    other = Files.write(tmp_path / "other")
    locked, words = tmp_path / "locked.pem", tmp_path / "words.pem"
    locked.write_bytes(files.key_pem(passphrase=b"secret"))
    words.write_text("no certificate\n")
    for certificate, key, sentence in (
        (tmp_path / "none.pem", files.key, r"the TLS certificate \S+/none.pem cannot be read: No such file"),
        (files.certificate, tmp_path / "none.pem", r"the TLS key \S+/none.pem cannot be read: No such file"),
        (files.certificate, tmp_path, r"the TLS key \S+ cannot be read: Is a directory"),
        (files.certificate, other.key, r"the TLS key \S+/other/key.pem is not that of the certificate \S+/cert.pem"),
        (files.certificate, locked, r"the TLS key \S+/locked.pem needs a passphrase, which everloop does not ask for"),
        (words, files.key, r"words.pem and \S+/key.pem are no TLS certificate and key in PEM form"),
        (files.certificate, files.certificate, "are no TLS certificate and key in PEM form"),
        (files.certificate, words, "are no TLS certificate and key in PEM form"),
    ):
        with pytest.raises(ProjectError, match=sentence) as refused:
            tls_context(certificate, key)
        assert "\n" not in str(refused.value)


def test_it_is_said_before_anything_answers(place: Place, files: Files, tmp_path: Path) -> None:
    other = Files.write(tmp_path / "other")
    ended = started(place, "--workers", "2", "--tls-cert", str(files.certificate), "--tls-key", str(other.key))
    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (1, "", 1)
    assert "is not that of the certificate" in ended.stderr
    place.ledger.close()


def test_which_files_are_meant(place: Place, tmp_path: Path) -> None:
    def meant(**flags: str) -> object:
        given = {f"endpoint.tls.{name}": value for name, value in flags.items()}
        return tls_files(Project.open(place.project.root, environment={}, flags=given))

    root = place.project.root
    assert meant() is None
    assert meant(certificate="a.pem") == (root / "a.pem", root / "a.pem")
    assert meant(certificate="a.pem", key="/k.pem") == (root / "a.pem", Path("/k.pem"))
    with pytest.raises(ProjectError, match="a key without its certificate"):
        meant(key="k.pem")
    place.ledger.close()
