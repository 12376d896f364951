"""Signed commits as proof, with real keys of ssh and a real repository."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from everloop.actors import authors_of, policy_may_approve, refuse_unfit_approver, signed_approval
from everloop.clock import SystemClock
from everloop.errors import Refused, UsageError
from everloop.ledger import Ledger, SpecWritten
from everloop.project import Approval, Model, Project, Spec, read_spec, write_spec

MODEL = "data: {source: a.csv, time: t, target: y}\nobjective: f1\napproval: {by: approver, not_author: true}\n"
ROLES = "roles: {approver: [alice@bank.example, bob@bank.example], operator: [ci]}\nsigners: .signers\n"
ALICE, BOB, EVE = "alice@bank.example", "bob@bank.example", "eve@else.example"


class Repository:
    """A project in a repository of its own, and people who each have an ssh key."""

    def __init__(self, root: Path) -> None:
        self.root = root / "payments"
        self._keys = root / "keys"
        self._keys.mkdir()
        (self.root / "fraud" / "specs").mkdir(parents=True)
        (self.root / "fraud" / "model.yaml").write_text(MODEL)
        (self.root / "everloop.yaml").write_text(ROLES)
        self.git("init", "-q", "-b", "main")
        lines = [f"{name} {self.key(name).with_suffix('.pub').read_text()}" for name in (ALICE, BOB)]
        (self.root / ".signers").write_text("".join(lines))
        self.commit(BOB, "the project", sign=False)

    def key(self, name: str) -> Path:
        path = self._keys / name.partition("@")[0]
        if not path.exists():
            make = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(path)]
            subprocess.run(make, check=True, capture_output=True)
        return path

    def git(self, *words: str) -> str:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        alone = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
        done = subprocess.run(
            ["git", *words], cwd=self.root, check=True, capture_output=True, text=True, env=kept | alone
        )
        return done.stdout.strip()

    def commit(self, name: str, message: str, *, sign: bool = True, author: str | None = None) -> str:
        self.git("add", "-A")
        person = ["-c", f"user.name={name.partition('@')[0]}", "-c", f"user.email={name}"]
        signed = ["-c", "gpg.format=ssh", "-c", f"user.signingkey={self.key(name)}"]
        how = ["-S"] if sign else ["--no-gpg-sign"]
        how += [] if author is None else [f"--author={author} <{author}>"]
        self.git(*person, *signed, "commit", "-q", "-m", message, *how)
        return self.git("rev-parse", "HEAD")

    @property
    def project(self) -> Project:
        return Project.open(self.root, environment={})

    @property
    def model(self) -> Model:
        return self.project.model("fraud")

    def write(self, *, seed: int = 0, by: str | None = None, number: int = 1) -> Spec:
        approval = None if by is None else Approval(by=by)
        spec = Spec.new(name=f"fraud-s{number}", objective="f1", learner="constant", seed=seed, approval=approval)
        write_spec(self.model.spec_path(number), spec)
        return spec

    def signed(self) -> str:
        spec = read_spec(self.model.spec_path(1))
        return signed_approval(self.project, self.model, spec).name


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    for program in ("git", "ssh-keygen"):
        if shutil.which(program) is None:
            if os.environ.get("CI") == "true":
                pytest.fail(f"{program} is not installed here; CI needs it")
            pytest.skip(f"{program} is not installed here")
    return Repository(tmp_path)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.open(tmp_path / "ledger.db", clock=SystemClock()) as opened:
        yield opened


def test_who_signed_the_commit_that_approves_is_the_approver(repository: Repository) -> None:
    repository.write()
    repository.commit(BOB, "a spec")
    with pytest.raises(Refused, match=r"no commit approves fraud-s1: write approval: \{by: NAME\}"):
        repository.signed()
    repository.write(by=ALICE)
    commit = repository.commit(ALICE, "approved")
    actor = signed_approval(repository.project, repository.model, read_spec(repository.model.spec_path(1)))
    assert (actor.name, actor.proof) == (ALICE, "commit")
    assert actor.evidence["commit"] == commit
    assert actor.evidence["fingerprint"].startswith("SHA256:")
    (repository.root / "README").write_text("later work, by somebody else")
    repository.commit(EVE, "no part of the file", sign=False)
    assert repository.signed() == ALICE


Deed = Callable[[Repository], object]


def unsigned(repository: Repository) -> None:
    repository.write(by=ALICE)
    repository.commit(ALICE, "approved", sign=False)


def by_a_stranger(repository: Repository) -> None:
    repository.write(by=EVE)
    repository.commit(EVE, "approved")


def in_anothers_name(repository: Repository) -> None:
    repository.write(by=ALICE)
    repository.commit(BOB, "approved", author=ALICE)


def changed_since(repository: Repository) -> None:
    repository.write(by=ALICE)
    repository.commit(ALICE, "approved")
    repository.write(by=ALICE, seed=7)
    repository.commit(BOB, "only a seed")


def changed_and_not_committed(repository: Repository) -> None:
    repository.write(by=ALICE)
    repository.commit(ALICE, "approved")
    repository.write(by=ALICE, seed=7)


def taken_back(repository: Repository) -> None:
    repository.write(by=ALICE)
    repository.commit(ALICE, "approved")
    repository.write()
    repository.commit(BOB, "not yet")


def never_committed(repository: Repository) -> None:
    repository.write(by=ALICE)


def replaced(repository: Repository) -> None:
    """Eve's commit, in whose place git would show the one that Alice signed and nobody took."""
    repository.write(by=ALICE)
    good = repository.commit(ALICE, "approved")
    repository.git("reset", "-q", "--hard", "HEAD~1")
    repository.write(by=ALICE)
    repository.commit(EVE, "approved")
    repository.git("config", "log.showSignature", "true")
    repository.git("replace", "HEAD", good)


@pytest.mark.parametrize(
    ("deed", "told"),
    [
        (unsigned, "bears no ssh signature; commit with git commit -S"),
        (by_a_stranger, "signed by a key that is not among the signers"),
        (in_anothers_name, f"names {ALICE}, and commit .* is signed by {BOB}"),
        (changed_since, "was changed after commit .* approved it"),
        (changed_and_not_committed, "was changed after commit .* approved it"),
        (taken_back, "no commit approves fraud-s1"),
        (never_committed, "no commit approves fraud-s1"),
        (replaced, "signed by a key that is not among the signers"),
    ],
)
def test_what_is_no_approval(repository: Repository, deed: Deed, told: str) -> None:
    repository.write()
    repository.commit(BOB, "a spec")
    deed(repository)
    with pytest.raises(Refused, match=told):
        repository.signed()


def test_a_forged_signature_and_a_users_own_settings_show_nobody(repository: Repository, tmp_path: Path) -> None:
    repository.write(by=ALICE)
    repository.commit(ALICE, "approved")
    raw = repository.git("cat-file", "commit", "HEAD")
    forged = subprocess.run(
        ["git", "hash-object", "-t", "commit", "-w", "--stdin"],
        cwd=repository.root, input=f"{raw}!\n", text=True, capture_output=True, check=True,
    ).stdout.strip()  # fmt: skip
    repository.git("update-ref", "HEAD", forged)
    with pytest.raises(Refused, match="does not hold"):
        repository.signed()
    # a program that finds every signature good, and signers of one's own, in the repository's settings
    liar = tmp_path / "liar"
    liar.write_text(f"#!/bin/sh\necho 'Good \"git\" signature for {ALICE} with ED25519 key SHA256:x'\n")
    liar.chmod(0o755)
    mine = tmp_path / "mine"
    mine.write_text(f"{ALICE} {repository.key(EVE).with_suffix('.pub').read_text()}")
    repository.git("config", "gpg.ssh.program", str(liar))
    repository.git("config", "gpg.ssh.allowedSignersFile", str(mine))
    with pytest.raises(Refused, match="does not hold"):
        repository.signed()


def test_without_signers_or_a_repository_it_is_said(repository: Repository) -> None:
    spec = repository.write(by=ALICE)
    (repository.root / "everloop.yaml").write_text("{}\n")
    with pytest.raises(UsageError, match="does not say whose signatures count: signers: FILE"):
        signed_approval(repository.project, repository.model, spec)
    (repository.root / "everloop.yaml").write_text("signers: keys/none\n")
    with pytest.raises(UsageError, match="names keys/none, which is not there"):
        signed_approval(repository.project, repository.model, spec)
    (repository.root / "everloop.yaml").write_text(ROLES)
    shutil.rmtree(repository.root / ".git")
    with pytest.raises(Refused, match="git cannot tell who wrote what"):
        signed_approval(repository.project, repository.model, spec)


def test_a_policy_approves_unless_an_approver_is_asked_for_or_it_is_named_as_one(repository: Repository) -> None:
    policy = "policy:on_alert"
    assert not policy_may_approve(repository.project, repository.model, policy)
    (repository.root / "everloop.yaml").write_text(f"roles: {{approver: ['*'], operator: ['{policy}']}}\n")
    assert not policy_may_approve(repository.project, repository.model, policy), "everyone is people"
    (repository.root / "everloop.yaml").write_text(f"roles: {{approver: [alice, '{policy}']}}\n")
    assert policy_may_approve(repository.project, repository.model, policy)
    (repository.root / "fraud" / "model.yaml").write_text(MODEL.replace("by: approver, ", ""))
    (repository.root / "everloop.yaml").write_text(ROLES)
    assert policy_may_approve(repository.project, repository.model, policy)


def test_the_author_of_an_edit_by_hand_is_who_committed_it(repository: Repository, ledger: Ledger) -> None:
    where, model = repository.project, repository.model
    first = repository.write()
    ledger.append("spec.written", "fraud-s1", SpecWritten.of(first, trigger="search"), actor="carol")
    assert authors_of(where, model, first, ledger) == {"carol"}
    edited = repository.write(seed=7)
    with pytest.raises(Refused, match="was edited by hand and not committed"):
        authors_of(where, model, edited, ledger)
    repository.commit(BOB, "another seed", author=EVE)
    repository.write(seed=7, by=BOB)
    repository.commit(BOB, "and approved by myself")
    named = authors_of(where, model, edited, ledger)
    assert {"carol", EVE, BOB, "bob"} <= named
    actor = signed_approval(where, model, read_spec(model.spec_path(1)))
    with pytest.raises(Refused, match=f"{BOB} wrote fraud-s1"):
        refuse_unfit_approver(actor, edited, project=where, model=model, ledger=ledger)
    repository.write(seed=7, by=ALICE)
    repository.commit(ALICE, "approved by another")
    actor = signed_approval(where, model, read_spec(model.spec_path(1)))
    refuse_unfit_approver(actor, edited, project=where, model=model, ledger=ledger)
