"""What `doctor` says of who may call the endpoint."""

from __future__ import annotations

from pathlib import Path

from everloop.control import examine

from ..serving.place import Place
from ..serving.test_tls import Files


def test_the_doctor_says_who_may_call_and_why_the_endpoint_would_not_start(tmp_path: Path) -> None:
    place = Place.make(tmp_path)
    root = place.project.root
    Files.write(root / "tls")

    def finding(settings: str) -> tuple[str, str]:
        (root / "everloop.yaml").write_text(f"endpoint: {{{settings}}}\n")
        (found,) = (one for one in examine(root) if one.question == "callers")
        return found.outcome, found.sentence

    tls = "tls: {certificate: tls/cert.pem, key: tls/KEY.pem}"
    assert finding("") == ("ok", "nobody is asked for a key on 127.0.0.1, by http")
    assert finding("host: localhost") == ("ok", "nobody is asked for a key on localhost, by http")
    assert finding("host: 0.0.0.0, keys: open") == ("ok", "nobody is asked for a key on 0.0.0.0, by http")
    outcome, sentence = finding("host: 0.0.0.0")
    assert (outcome, sentence[:30]) == ("problem", "other machines reach 0.0.0.0, ")
    place.key("predict")
    assert finding("host: 0.0.0.0")[0] == "note"
    assert finding(f"host: '::', {tls.replace('KEY', 'key')}") == ("ok", "they show a key on ::, by https")
    outcome, sentence = finding(f"host: 0.0.0.0, {tls.replace('KEY', 'cert')}")
    assert (outcome, "are no TLS certificate and key" in sentence) == ("problem", True)
    place.ledger.close()
