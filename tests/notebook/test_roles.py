"""With roles a notebook asks who is there, by the same door as the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

import everloop as ev
from everloop.actors import Actor, create_key
from everloop.clock import SystemClock
from everloop.errors import Refused
from everloop.ledger import Ledger
from everloop.project import Project
from tests.experiment.made import payments, project


def test_a_search_is_refused_before_it_begins_and_is_the_key_owners_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "none"))
    monkeypatch.delenv("EVERLOOP_KEY", raising=False)
    made, _ = project(tmp_path / "shop", payments(3_000), learners="logistic", trials=1)
    (made.root / "everloop.yaml").write_text("roles: {scientist: [bob], operator: [olga], viewer: [vera]}\n")
    where = Project.open(made.root, environment={})
    assert where.state.is_dir()
    with Ledger.open(where, clock=SystemClock()) as ledger:
        create_key(ledger, "olga", by=Actor.named("root"), roles=where.settings.roles)
        olga = Actor(name="olga", proof="key")
        bob, vera = (create_key(ledger, name, by=olga, roles=where.settings.roles).secret for name in ("bob", "vera"))
    with pytest.raises(Refused, match="to read this project give a key"):
        ev.open(made.root).spec("s1")
    monkeypatch.setenv("EVERLOOP_KEY", vera)
    with pytest.raises(Refused, match="vera may not search"):
        ev.open(made.root).search(jobs=1, quiet=True)
    monkeypatch.setenv("EVERLOOP_KEY", bob)
    ev.open(made.root).search(jobs=1, quiet=True)
    with Ledger.open(where, clock=SystemClock()) as ledger:
        facts = ledger.facts(kind=("roles.changed", "search.ended"))
    assert [(fact.kind, fact.actor) for fact in facts] == [("roles.changed", "bob"), ("search.ended", "bob")]
