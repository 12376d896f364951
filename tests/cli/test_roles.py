"""With roles in everloop.yaml every command that changes something asks who is there, before it changes anything."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from everloop.actors import ACTIONS, Action, Actor, create_key
from everloop.cli.program import app
from everloop.clock import SystemClock
from everloop.errors import EverloopError, Refused
from everloop.ledger import AlertOpened, Ledger, SpecWritten
from everloop.project import ROLES, Project, RoleName, Spec, write_spec

from ..ledger.scenes import WINDOW

CHANGES: dict[str, tuple[Action, str]] = {
    "alert close": ("alert", "a-1 --reason enough"),
    "approve": ("approve", "fraud-s1"),
    "check": ("check", ""),
    "key create": ("key", "dora"),
    "key revoke": ("key", "nobody"),
    "model add": ("rollout", "--version 7"),
    "model prune": ("prune", "--yes"),
    "notice test": ("operate", ""),
    "rollback": ("rollback", ""),
    "rollout abort": ("rollout", ""),
    "rollout pause": ("rollout", ""),
    "rollout promote": ("rollout", ""),
    "rollout resume": ("rollout", ""),
    "rollout start": ("rollout", ""),
    "run cancel": ("run", "r-none"),
    "run resume": ("run", "r-none"),
    "run retry": ("run", "r-none"),
    "schedule pause": ("schedule", "--reason enough"),
    "schedule resume": ("schedule", ""),
    "schedule run": ("train", ""),
    "score": ("score", "--new"),
    "search": ("search", ""),
    "serve": ("operate", ""),
    "spec get": ("put", "--from-mlflow r"),
    "spec put": ("put", "fraud-s1"),
    "traffic forget": ("forget", "c1 --yes --reason asked"),
    "traffic import": ("import", "none.parquet"),
    "train": ("train", ""),
    "up": ("operate", ""),
    "worker": ("operate", ""),
}
READS: dict[str, str] = {
    "alert list": "",
    "alert show": "a-1",
    "audit head": "",
    "audit list": "",
    "audit served": "",
    "audit show": "1",
    "audit verify": "",
    "explore": "",
    "key list": "",
    "model diff": "v1 v2",
    "model list": "",
    "model show": "v1",
    "notice list": "",
    "rollout list": "",
    "rollout plan": "",
    "rollout show": "",
    "run list": "",
    "run show": "r-none",
    "schedule list": "",
    "schedule show": "",
    "spec diff": "fraud-s1 fraud-s1",
    "spec history": "",
    "spec list": "",
    "spec show": "fraud-s1",
    "status": "",
    "traffic export": "--out none.csv",
    "traffic list": "",
    "traffic show": "",
    "traffic tail": "",
    "trial list": "",
    "trial notebook": "1",
    "trial show": "1",
    "why": "v1",
}
NO_PROJECT = {"demo", "doctor", "init"}
MODEL = "data: {source: none.parquet, time: t, target: y}\nobjective: f1\n"
PEOPLE = {"viewer": "vera", "scientist": "sam", "approver": "ann", "operator": "olga"}


@dataclass(frozen=True, kw_only=True)
class Place:
    """A project with roles in which everyone has a key; `secrets` by role."""

    root: Path
    secrets: dict[RoleName, str]

    @property
    def head(self) -> int:
        with Ledger.open(Project.open(self.root, environment={}), clock=SystemClock()) as ledger:
            return ledger.head().seq

    def say(self, words: str, *, key: str | None = None) -> object:
        """What the command ends with in this process: its error, or its output."""
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(self.root)
            patch.setenv("XDG_CONFIG_HOME", str(self.root.parent / "none"))
            patch.delenv("EVERLOOP_KEY", raising=False)
            if key is not None:
                patch.setenv("EVERLOOP_KEY", key)
            done = CliRunner().invoke(app, words.split())
        if isinstance(done.exception, EverloopError):
            return done.exception
        assert done.exit_code == 0, (words, done.output, done.exception)
        return done.stdout


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    root = tmp_path_factory.mktemp("roles") / "payments"
    (root / "fraud").mkdir(parents=True)
    (root / "fraud" / "model.yaml").write_text(MODEL)
    roles = {role: [name] for role, name in PEOPLE.items()}
    (root / "everloop.yaml").write_text(f"roles: {json.dumps(roles)}\n")
    project = Project.open(root, environment={})
    assert project.state.is_dir()
    spec = Spec.new(name="fraud-s1", objective="f1", learner="constant")
    write_spec(project.model("fraud").spec_path(1), spec)
    with Ledger.open(project, clock=SystemClock()) as ledger:
        ledger.append("spec.written", "fraud-s1", SpecWritten.of(spec, trigger="search"), actor="sam")
        alert = AlertOpened(
            alert="a-1", model="fraud", check="f1", window=WINDOW, sentence="f1 fell", evidence_kind="labels"
        )
        ledger.append("alert.opened", "a-1", alert, actor="monitor")
        first = create_key(ledger, "olga", by=Actor.named("root"), roles=project.settings.roles)
        olga = Actor(name="olga", proof="key")
        secrets: dict[RoleName, str] = {"operator": first.secret}
        for role in ("viewer", "scientist", "approver"):
            secrets[role] = create_key(ledger, PEOPLE[role], by=olga, roles=project.settings.roles).secret
    return Place(root=root, secrets=secrets)


def commands(group: typer.core.TyperGroup, before: str = "") -> Iterator[str]:
    for name, command in group.commands.items():
        path = f"{before} {name}".strip()
        if isinstance(command, typer.core.TyperGroup):
            yield from commands(command, path)
        else:
            yield path


def test_every_command_is_known_to_change_something_or_to_read() -> None:
    program = typer.main.get_command(app)
    assert isinstance(program, typer.core.TyperGroup)
    assert set(commands(program)) == CHANGES.keys() | READS.keys() | NO_PROJECT


def is_shut(ended: object) -> bool:
    return isinstance(ended, Refused) and ("nothing shows who you are" in str(ended) or "may not" in str(ended))


@pytest.mark.parametrize("command", CHANGES)
def test_what_changes_something_asks_for_a_role(place: Place, command: str) -> None:
    """Nobody, and nobody of another role, gets in, and nothing is written; who has the role does."""
    action, words = CHANGES[command]
    before = place.head
    others = [role for role in ROLES if role not in ACTIONS[action]]
    for key in (None, *(place.secrets[role] for role in others)):
        ended = place.say(f"{command} {words}", key=key)
        assert is_shut(ended), (key, ended)
    assert place.head == before
    if action not in ("operate", "approve"):  # those would go on for ever, or be done
        for role in ACTIONS[action]:
            assert not is_shut(place.say(f"{command} {words}", key=place.secrets[role]))


@pytest.mark.parametrize("command", READS)
def test_where_a_viewer_is_named_reading_asks_too(place: Place, command: str) -> None:
    assert is_shut(place.say(f"{command} {READS[command]}"))
    for role in ROLES:
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(place.root)
            patch.setenv("EVERLOOP_KEY", place.secrets[role])
            done = CliRunner().invoke(app, f"{command} {READS[command]}".split())
        assert not is_shut(done.exception)


def test_a_word_is_refused_with_what_to_do_instead(place: Place) -> None:
    before = place.head
    for words in ("approve fraud-s1 --by ann", "approve fraud-s1 --by ann --signed"):
        ended = place.say(words, key=place.secrets["approver"])
        assert isinstance(ended, Refused)
        assert "--by ann is a word that anybody could type" in str(ended)
        assert "everloop key create NAME" in str(ended)
        assert "--signed" in str(ended)
    assert place.head == before


def test_the_keys_owner_is_who_acted(place: Place) -> None:
    said = place.say("approve fraud-s1 --json", key=place.secrets["approver"])
    assert isinstance(said, str)
    assert json.loads(said)["by"] == "ann"
    listed = place.say("audit list --kind spec.approved --json", key=place.secrets["viewer"])
    assert isinstance(listed, str)
    (fact,) = json.loads(listed)
    assert (fact["actor"], fact["payload"]["details"]["proof"]) == ("ann", "key")
    assert all(secret not in listed for secret in place.secrets.values())


def test_a_key_is_made_shown_once_listed_and_revoked(place: Place) -> None:
    olga = place.secrets["operator"]
    made = place.say("key create sam --json", key=olga)
    assert isinstance(made, str)
    record = json.loads(made)
    assert (record["name"], record["roles"]) == ("sam", ["scientist"])
    listed = place.say("key list --json", key=olga)
    assert isinstance(listed, str)
    assert record["secret"] not in listed
    assert record["key"] in listed
    shown = place.say("key list", key=olga)
    assert isinstance(shown, str)
    assert max(map(len, shown.splitlines())) <= 80
    assert record["secret"] not in shown
    place.say(f"key revoke {record['key']} --reason lost", key=olga)
    ended = place.say("search", key=record["secret"])
    assert isinstance(ended, Refused)
    assert "was revoked" in str(ended)
    everything = place.say("audit list --last 1000 --json", key=olga)
    assert isinstance(everything, str)
    assert record["secret"] not in everything
    assert record["secret"].rpartition("_")[2] not in everything


def test_a_key_for_the_endpoint_is_made_by_an_operator_and_opens_no_command(place: Place) -> None:
    olga = place.secrets["operator"]
    assert is_shut(place.say("key create --scope predict", key=place.secrets["scientist"]))
    made = place.say("key create checkout --scope predict --scope outcomes --rate 100/s --json", key=olga)
    assert isinstance(made, str)
    record = json.loads(made)
    assert (record["name"], record["scopes"], record["rate"], record["roles"]) == (
        "checkout", ["predict", "outcomes"], "100/s", []
    )  # fmt: skip
    named = place.say("key create --scope outcomes,predict --json", key=olga)
    assert isinstance(named, str)
    assert json.loads(named)["name"] == "predict+outcomes"
    operating = place.say("key create olga --scope operate --json", key=olga)
    assert isinstance(operating, str)
    before = place.head
    for words in ("rollback", "key create mallory", "up", "score --new"):
        ended = place.say(words, key=json.loads(operating)["secret"])
        assert isinstance(ended, Refused)
        assert "is for the endpoint (operate) and shows nobody here" in str(ended)
    assert place.head == before
    shown = place.say("key list", key=olga)
    assert isinstance(shown, str)
    assert "endpoint:" in shown
    assert max(map(len, shown.splitlines())) <= 80
    listed = place.say("key list --json", key=olga)
    assert isinstance(listed, str)
    by_key = {one["key"]: one for one in json.loads(listed)}
    assert (by_key[record["key"]]["scopes"], by_key[record["key"]]["rate"]) == (["predict", "outcomes"], "100/s")
    assert by_key[json.loads(operating)["key"]]["roles"] == []


def test_a_signed_commit_approves_where_no_key_is_given(place: Place, tmp_path: Path) -> None:
    """The refusal of an unsigned one; tests of the room sign with real keys."""
    subprocess.run(["git", "init", "-q", str(place.root)], check=True)
    yaml = place.root / "everloop.yaml"
    text = yaml.read_text()
    yaml.write_text(text + "signers: .signers\n")
    (place.root / ".signers").write_text("")
    try:
        ended = place.say("approve fraud-s1 --signed")
    finally:
        yaml.write_text(text)
    assert isinstance(ended, Refused)
    assert "git cannot tell" in str(ended) or "no commit approves" in str(ended)
