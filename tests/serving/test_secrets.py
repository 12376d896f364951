"""No secret of a key is ever written down or said, but by the command that makes it, once."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from everloop.actors.secret import new_secret
from everloop.cli.program import app
from everloop.clock import SystemClock
from everloop.errors import EverloopError
from everloop.traffic import Moved, Mover, TrafficLog

from .place import Place, endpoint, row, wait_until
from .test_callers import OUTCOMES, PREDICT, spoken

ROLES = "roles: {operator: [olga]}\nendpoint: {keys: required}\n"


class Heard:
    """All that the command line said, and all that the endpoint answered."""

    def __init__(self, root: Path) -> None:
        self.text = ""
        self._root = root

    def say(self, *words: str, key: str | None = None) -> str:
        """Run a command here; its stdout. What it ends with in an error is heard too."""
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(self._root)
            patch.setenv("XDG_CONFIG_HOME", str(self._root.parent / "none"))
            patch.delenv("EVERLOOP_KEY", raising=False)
            if key is not None:
                patch.setenv("EVERLOOP_KEY", key)
            done = CliRunner().invoke(app, [*words])
        assert done.exception is None or isinstance(done.exception, EverloopError | SystemExit), done.exception
        if words[:2] != ("key", "create") or done.exception is not None:
            self.text += done.output + str(done.exception)
        return done.stdout

    def made(self, *words: str, key: str | None = None) -> str:
        """The secret of a key that is made."""
        return str(json.loads(self.say("key", "create", *words, "--json", key=key))["secret"])


def test_a_secret_is_in_nothing_that_is_said_or_kept(place: Place) -> None:
    place.deployed()
    root = place.project.root
    (root / "everloop.yaml").write_text(ROLES)
    heard = Heard(root)
    olga = heard.made("olga")
    keys = [heard.made("--scope", scope, key=olga) for scope in ("predict", "outcomes,operate", "predict,operate")]
    wrong = new_secret("shop").text
    secrets = [olga, *keys, wrong]
    predict, outcomes, revoked = keys
    with endpoint(root) as running, httpx.Client(base_url=running.url) as client:
        for secret in secrets:
            for header in (f"Bearer {secret}", secret, f"Basic {secret}", f"Bearer {secret} {secret}"):
                headers = {"authorization": header}
                for path in (PREDICT, OUTCOMES):
                    sent = row(1) if path == PREDICT else {"payment_id": "pay_1", "fraud": 1}
                    heard.text += client.post(path, json=sent, headers=headers).text
                for path in (
                    "/metrics",
                    "/readyz",
                    "/openapi.json",
                    "/nowhere",
                    f"/{secret}",
                    f"/v1/models?k={secret}",
                ):
                    heard.text += client.get(path, headers=headers).text
            heard.text += client.post(f"{PREDICT}?api_key={secret}", json=row(2)).text
            heard.text += client.post(f"/v1/models/{secret}/predict", json=row(2)).text
            heard.text += client.get(f"/v1/models/fraud/{secret}", headers={"x-api-key": outcomes}).text
            for line in (f"x-api-key: {secret}\x00", f"{secret}: x", f"authorization: Bearer {secret}\rx", f"{secret}"):
                heard.text += spoken(running, line.encode()).decode(errors="replace")
        heard.say("key", "revoke", revoked.split("_")[-2], "--reason", "seen", key=olga)
        shown = {"x-api-key": revoked}
        wait_until(lambda: client.get("/metrics", headers=shown).status_code == 401)
        assert client.post(PREDICT, json=row(3), headers={"x-api-key": predict}).status_code == 200
        for words in ("key list", "key list --json", "audit list --last 1000 --json", "audit verify", "status"):
            heard.say(*words.split())
        for secret in (predict, wrong):
            for words in (f"create {secret}", f"create x --scope {secret}", f"create x --scope predict --rate {secret}",
                          f"revoke {secret}", f"revoke olga --reason {secret}"):  # fmt: skip
                heard.say("key", *words.split(), key=olga)
            heard.say("key", "create", "x", key=secret if secret != olga else f"{olga}x")
        kept = written(root)  # while the spool still holds the rows
    tables = logged(place)
    kept += written(root)
    everything = (heard.text + tables).encode() + kept
    for seen in (b"pay_3", b"key.created", b"everloop_refused", b"key-unknown", b"key-in-address", b"is the secret"):
        assert seen in everything, "what is searched is what was written and said"
    for secret in secrets:
        assert secret[-52:].encode() not in everything
        assert secret[-40:-12].encode() not in everything
    place.ledger.close()


def written(root: Path) -> bytes:
    """Every byte below the project's folder: ledger, spool, logs, counters, settings."""
    return b"".join(path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file())


def logged(place: Place) -> str:
    """The traffic tables' values, after everything was moved there."""
    paths = place.project.paths
    with Mover.open(spool=paths.spool, traffic=paths.traffic, clock=SystemClock()) as mover:
        while mover.move_once() != Moved():
            pass
    log = TrafficLog(paths.traffic, "fraud")
    return "".join(str(table.collect().rows()) for table in (log.predictions(), log.outcomes()))
