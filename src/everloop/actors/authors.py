"""Who wrote a spec: who let it be written, and where it was edited by hand, who committed that."""

from __future__ import annotations

from everloop.actors.commit import signers_file
from everloop.actors.history import Commit, commits_of, signature_of
from everloop.errors import Refused
from everloop.ledger import Ledger
from everloop.project import Model, Project, Spec

__all__ = ["authors_of", "is_author"]


def authors_of(project: Project, model: Model, spec: Spec, ledger: Ledger) -> frozenset[str]:
    """The names of everyone who wrote the spec as it is: the actor of its `spec.written` fact.

    Where its text is no longer (or never was) what such a fact says, those who committed the edit as well: author,
    committer and signer, by name and address. Raises Refused where the edit was never committed.
    """
    facts = ledger.facts(kind="spec.written", subject=spec.name)
    same = frozenset(fact.actor for fact in facts if fact.payload["spec_hash"] == spec.hash)
    if same:
        return same
    commit = _introduced(project, model, spec)
    if commit is None:
        raise Refused(
            f"{spec.name} was edited by hand and not committed, so nobody is known as its author; commit it first"
        )
    signers = signers_file(project)
    signed = (
        None if signers is None or not signers.is_file() else signature_of(project.root, commit.id, signers=signers)
    )
    signer = {signed.signer} if signed is not None and signed.signer else set()
    return commit.people | signer | {fact.actor for fact in facts}


def is_author(name: str, authors: frozenset[str]) -> bool:
    """Whether a name is among the authors; `alice` is also `Alice` and `alice@bank.example`."""
    known = {author.lower() for author in authors} | {author.lower().partition("@")[0] for author in authors}
    return name.lower() in known or name.lower().partition("@")[0] in known


def _introduced(project: Project, model: Model, spec: Spec) -> Commit | None:
    """The commit by which the file came to say what it says, its approval aside."""
    found: Commit | None = None
    for commit in commits_of(project.root, model.spec_path(spec.number)):
        if commit.spec is None or commit.spec.hash != spec.hash:
            break
        found = commit
    return found
