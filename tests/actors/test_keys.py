"""Keys: made once, proven in every command, revoked at once; and what an attacker might try."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from everloop.actors import Actor, admit, create_key, given_key, key_states, proven_by, revoke_key
from everloop.actors.secret import Secret, key_hash, new_secret, read_secret, same
from everloop.clock import SimulatedClock
from everloop.errors import Conflict, EverloopError, NotFound, Refused, UsageError
from everloop.ledger import Ledger
from everloop.project import Project, Rate

ROLES = {"operator": ("olga",), "approver": ("alice",), "scientist": ("bob",)}
LOGIN = Actor.named("somebody")


@pytest.fixture
def clock() -> SimulatedClock:
    return SimulatedClock(datetime(2026, 5, 4, 12, tzinfo=UTC))


@pytest.fixture
def ledger(tmp_path: Path, clock: SimulatedClock) -> Iterator[Ledger]:
    with Ledger.open(tmp_path / "ledger.db", clock=clock) as opened:
        yield opened


def secret_of(text: str) -> Secret:
    found = read_secret(text)
    assert found is not None
    return found


def operator(ledger: Ledger) -> tuple[str, Actor]:
    """The first key, and who it shows."""
    made = create_key(ledger, "olga", by=LOGIN, roles=ROLES)
    actor = proven_by(ledger, [secret_of(made.secret)])
    assert actor is not None
    return made.secret, actor


def key_of(ledger: Ledger, name: str, by: Actor) -> str:
    return create_key(ledger, name, by=by, roles=ROLES).secret


def test_a_secret_holds_256_random_bits_and_is_never_printed() -> None:
    one, two = new_secret("alice_of.bank@x"), new_secret("alice_of.bank@x")
    assert one.text != two.text
    assert re.fullmatch(r"evl_alice_of\.bank@x_[a-z2-7]{8}_[a-z2-7]{52}", one.text)
    assert secret_of(one.text) == one
    assert one.text not in repr(one)
    assert same(one, key_hash(one))
    assert not same(one, key_hash(two))
    assert not same(one, "")


def test_a_key_shows_whose_it_is(ledger: Ledger) -> None:
    _, olga = operator(ledger)
    assert (olga.name, olga.proof) == ("olga", "key")
    alice = proven_by(ledger, [secret_of(key_of(ledger, "alice", olga))])
    assert alice is not None
    assert alice.name == "alice"
    assert proven_by(ledger, []) is None


def test_the_first_key_is_an_operators_once_and_the_fact_says_so(ledger: Ledger) -> None:
    with pytest.raises(Refused, match="the first key is an operator's, and alice is none; make one for olga first"):
        create_key(ledger, "alice", by=LOGIN, roles=ROLES)
    with pytest.raises(Refused, match="name no operator"):
        create_key(ledger, "alice", by=LOGIN, roles={"approver": ("alice",)})
    made = create_key(ledger, "olga", by=LOGIN, roles=ROLES)
    assert (made.fact.actor, made.fact.payload["first"]) == ("somebody", True)
    for again in ("olga", "alice"):
        with pytest.raises(Refused, match="nothing shows who you are"):
            create_key(ledger, again, by=LOGIN, roles=ROLES)
    revoked_by = proven_by(ledger, [secret_of(made.secret)])
    assert revoked_by is not None
    second = create_key(ledger, "olga", by=revoked_by, roles=ROLES)
    assert second.fact.payload["first"] is False
    revoke_key(ledger, made.key, by=revoked_by, roles=ROLES)
    with pytest.raises(Refused, match="nothing shows who you are"):
        create_key(ledger, "olga", by=LOGIN, roles=ROLES)  # once means once


def test_who_is_no_operator_makes_and_revokes_nothing(ledger: Ledger) -> None:
    _, olga = operator(ledger)
    alice = proven_by(ledger, [secret_of(key_of(ledger, "alice", olga))])
    assert alice is not None
    head = ledger.head()
    for by in (alice, LOGIN, Actor.policy("olga")):
        with pytest.raises(Refused):
            create_key(ledger, "mallory", by=by, roles=ROLES)
        with pytest.raises(Refused):
            revoke_key(ledger, "olga", by=by, roles=ROLES)
    assert ledger.head() == head


def test_a_revoked_key_shows_nobody_from_then_on(ledger: Ledger, clock: SimulatedClock) -> None:
    _, olga = operator(ledger)
    one, two = (secret_of(key_of(ledger, "alice", olga)) for _ in range(2))
    clock.advance(timedelta(hours=1))
    (gone,) = revoke_key(ledger, one.key, by=olga, roles=ROLES, reason="laptop lost")
    assert (gone.name, gone.revoked_by, gone.reason) == ("alice", "olga", "laptop lost")
    with pytest.raises(Refused, match=f"key {one.key} of alice was revoked at 2026-05-04 13:00 by olga"):
        proven_by(ledger, [one])
    assert proven_by(ledger, [two]) is not None
    with pytest.raises(NotFound, match="was revoked before"):
        revoke_key(ledger, one.key, by=olga, roles=ROLES)
    with pytest.raises(NotFound, match="there is no key carol; 'everloop key list'"):
        revoke_key(ledger, "carol", by=olga, roles=ROLES)
    assert [state.key for state in revoke_key(ledger, "alice", by=olga, roles=ROLES)] == [two.key]
    assert [state.live for state in key_states(ledger)] == [True, False, False]


def test_the_last_key_of_an_operator_stays(ledger: Ledger) -> None:
    secret, olga = operator(ledger)
    key_of(ledger, "alice", olga)
    with pytest.raises(Refused, match="the last key of an operator"):
        revoke_key(ledger, secret_of(secret).key, by=olga, roles=ROLES)
    key_of(ledger, "olga", olga)
    revoke_key(ledger, secret_of(secret).key, by=olga, roles=ROLES)
    with pytest.raises(Refused, match="the last key of an operator"):
        revoke_key(ledger, "olga", by=olga, roles=ROLES)


def test_keys_of_another_project_and_made_up_ones_show_nobody(ledger: Ledger, tmp_path: Path) -> None:
    secret, _ = operator(ledger)
    with Ledger.open(tmp_path / "other.db", clock=SimulatedClock(datetime(2026, 5, 4, tzinfo=UTC))) as other:
        theirs, _ = operator(other)
    with pytest.raises(Refused, match="this project does not know the key"):
        proven_by(ledger, [secret_of(theirs)])
    known = secret_of(secret)
    forged = secret_of(secret[:-52] + "a" * 52)
    with pytest.raises(Refused, match=f"the key {known.key} has another secret"):
        proven_by(ledger, [forged])
    renamed = secret_of(secret.replace("olga", "alice"))
    with pytest.raises(Refused, match="has another secret"):
        proven_by(ledger, [renamed])
    # of several at hand, the one that this project knows counts
    actor = proven_by(ledger, [secret_of(theirs), known])
    assert actor is not None
    assert actor.name == "olga"


def test_a_secret_is_in_no_fact_and_in_no_sentence(ledger: Ledger) -> None:
    secret, olga = operator(ledger)
    random = secret.rpartition("_")[2]
    revoke = key_of(ledger, "alice", olga)
    revoke_key(ledger, "alice", by=olga, roles=ROLES)
    told = json.dumps([fact.to_dict() for fact in ledger.facts()]) + repr(key_states(ledger)) + repr(olga)
    for text in (revoke, secret[:-1] + ("a" if secret[-1] != "a" else "b")):
        with pytest.raises(Refused) as refused:
            proven_by(ledger, [secret_of(text)])
        told += str(refused.value)
    for given in (f"x{secret}", f"{secret}\nmore", secret.upper(), secret[:-1]):
        with pytest.raises(Refused) as refused:
            given_key({"EVERLOOP_KEY": given})
        told += str(refused.value)
    made = create_key(ledger, "carol", by=olga, roles=ROLES)
    assert made.secret not in repr(made)
    assert random not in told
    assert revoke.rpartition("_")[2] not in told
    assert random[:20] not in told


def test_a_key_that_is_pasted_where_it_should_not_be_is_neither_written_nor_shown(ledger: Ledger) -> None:
    secret, olga = operator(ledger)
    payload = {"model": "fraud", "reason": f"with {secret} it works"}
    head, told = ledger.head(), ""
    for act in (
        lambda: create_key(ledger, secret, by=olga, roles=ROLES),
        lambda: revoke_key(ledger, secret, by=olga, roles=ROLES),
        lambda: ledger.append("schedule.paused", "fraud", payload, actor="olga"),
        lambda: ledger.append("schedule.paused", "fraud", payload | {"reason": "x"}, actor=secret),
    ):
        with pytest.raises(EverloopError) as refused:
            act()
        told += str(refused.value)
    assert "evl_" not in told
    assert ledger.head() == head


def test_where_a_key_is_looked_for(tmp_path: Path) -> None:
    home = {"HOME": str(tmp_path)}
    one, two = new_secret("alice"), new_secret("bob")
    assert given_key(home) == ()
    file = tmp_path / ".config" / "everloop" / "key"
    file.parent.mkdir(parents=True)
    file.write_text(f"# payments\n{one.text}\n\n{two.text}\n")
    file.chmod(0o600)
    assert given_key(home) == (one, two)
    assert given_key(home | {"EVERLOOP_KEY": f" {two.text}\n"}) == (two,)
    for empty in ("", "  "):
        with pytest.raises(Refused, match="EVERLOOP_KEY is set and empty"):
            given_key(home | {"EVERLOOP_KEY": empty})
    for mode in (0o644, 0o640, 0o604):
        file.chmod(mode)
        with pytest.raises(Refused, match="others may read"):
            given_key(home)
    assert given_key({"HOME": "/nowhere", "XDG_CONFIG_HOME": str(tmp_path / "xdg")}) == ()


def test_a_key_for_the_endpoint_shows_nobody(ledger: Ledger) -> None:
    """It lies on machines from which the project is not operated, whatever its name is and whoever made it."""
    early = create_key(ledger, "olga", by=LOGIN, roles={}, scopes=["outcomes", "predict"], rate=Rate.parse("100/s"))
    with pytest.raises(Refused, match=r"is for the endpoint \(predict, outcomes\) and shows nobody here"):
        proven_by(ledger, [secret_of(early.secret)])
    # with roles it is an operator who makes one, also where there is no other key yet, and that one is not the first
    with pytest.raises(Refused, match="nothing shows who you are: to make or revoke keys give a key"):
        create_key(ledger, "checkout", by=LOGIN, roles=ROLES, scopes=["predict"])
    secret, olga = operator(ledger)
    plain = create_key(ledger, "checkout", by=olga, roles=ROLES, scopes=["predict"])
    assert [fact.payload["first"] for fact in ledger.facts(kind="key.created")] == [False, True, False]
    assert [(one.scopes, one.rate) for one in key_states(ledger)] == [
        (("predict", "outcomes"), Rate.parse("100/s")), ((), None), (("predict",), None)
    ]  # fmt: skip
    # nor does it count as the key that an operator has left
    with pytest.raises(Refused, match="the last key of an operator"):
        revoke_key(ledger, secret_of(secret).key, by=olga, roles=ROLES)
    (gone,) = revoke_key(ledger, plain.key, by=olga, roles=ROLES)
    assert (gone.name, gone.live) == ("checkout", False)
    with pytest.raises(UsageError, match="a rate is of requests to the endpoint"):
        create_key(ledger, "alice", by=olga, roles=ROLES, rate=Rate.parse("1/s"))


def test_a_key_for_the_endpoint_takes_nobody_the_first_one(project: Project, ledger: Ledger) -> None:
    create_key(ledger, "checkout", by=LOGIN, roles={}, scopes=["predict"])
    first = admit(project, ledger, "key", login="somebody", environment={"HOME": "/nowhere"})
    made = create_key(ledger, "olga", by=first, roles=project.settings.roles)
    assert made.fact.payload["first"] is True
    with pytest.raises(Refused, match="nothing shows who you are"):
        admit(project, ledger, "key", login="somebody", environment={"HOME": "/nowhere"})


def test_a_key_of_an_earlier_version_is_one_of_a_person(ledger: Ledger) -> None:
    secret = new_secret("olga")
    ledger.append("key.created", secret.key, {"name": "olga", "key": secret.key, "sha256": key_hash(secret)}, actor="x")
    (state,) = key_states(ledger)
    assert (state.scopes, state.rate) == ((), None)
    assert proven_by(ledger, [secret]) is not None


def test_two_first_keys_at_once_are_one(tmp_path: Path, clock: SimulatedClock) -> None:
    with Ledger.open(tmp_path / "l.db", clock=clock) as one, Ledger.open(tmp_path / "l.db", clock=clock) as two:
        create_key(one, "olga", by=LOGIN, roles=ROLES)
        with pytest.raises((Refused, Conflict)):
            create_key(two, "olga", by=LOGIN, roles=ROLES)


def test_no_part_of_everloop_and_no_policy_gets_a_key(ledger: Ledger) -> None:
    for name in ("policy:on_alert", "control", "a b"):
        with pytest.raises(UsageError):
            create_key(ledger, name, by=LOGIN, roles={})


@pytest.fixture
def project(tmp_path: Path) -> Project:
    root = tmp_path / "payments"
    root.mkdir()
    (root / "everloop.yaml").write_text("roles: {operator: [olga], approver: [alice]}\n")
    return Project.open(root, environment={})


def test_the_door_lets_in_by_key_and_writes_down_what_the_roles_are(project: Project, ledger: Ledger) -> None:
    first = admit(project, ledger, "key", login="somebody", environment={"HOME": "/nowhere"})
    assert (first.name, first.proven) == ("somebody", False)
    secret = create_key(ledger, "olga", by=first, roles=project.settings.roles).secret
    for environment, told in (
        ({"HOME": "/nowhere"}, "nothing shows who you are"),
        ({"EVERLOOP_KEY": ""}, "set and empty"),
        ({"EVERLOOP_KEY": new_secret("olga").text}, "does not know the key"),
    ):
        head = ledger.head()
        with pytest.raises(Refused, match=told):
            admit(project, ledger, "rollback", login="olga", environment=environment)
        assert ledger.head() == head
    olga = admit(project, ledger, "rollback", login="somebody", environment={"EVERLOOP_KEY": secret})
    assert olga.name == "olga"
    (fact,) = ledger.facts(kind="roles.changed")
    assert (fact.actor, fact.payload["roles"]["approver"], fact.payload["before"]) == ("olga", ["alice"], {})
    admit(project, ledger, "train", login="somebody", environment={"EVERLOOP_KEY": secret})
    assert len(ledger.facts(kind="roles.changed")) == 1
    with pytest.raises(Refused, match="olga may not approve specs"):
        admit(project, ledger, "approve", login="alice", environment={"EVERLOOP_KEY": secret})
    # who gives themselves a role leaves that in the chain before they use it
    (project.root / "everloop.yaml").write_text("roles: {operator: [olga], approver: [alice, olga]}\n")
    changed = Project.open(project.root, environment={})
    admit(changed, ledger, "approve", login="x", environment={"EVERLOOP_KEY": secret})
    fact = ledger.facts(kind="roles.changed")[-1]
    assert (fact.actor, fact.payload["roles"]["approver"]) == ("olga", ["alice", "olga"])
    assert fact.payload["before"]["approver"] == ["alice"]
    # and who takes the roles away as well
    (project.root / "everloop.yaml").write_text("{}\n")
    admit(Project.open(project.root, environment={}), ledger, "approve", login="eve", environment={})
    fact = ledger.facts(kind="roles.changed")[-1]
    assert (fact.actor, fact.payload["roles"]) == ("eve", {})


def test_reading_asks_for_no_key_and_minds_none(project: Project, ledger: Ledger) -> None:
    reader = admit(project, ledger, "read", login="anyone", environment={"EVERLOOP_KEY": "garbage"})
    assert reader.name == "anyone"
    assert ledger.head().seq == 0
