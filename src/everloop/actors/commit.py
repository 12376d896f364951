"""A signed commit as proof: who approved a spec by changing `approval:` in its file."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from everloop.actors.actor import Actor
from everloop.actors.history import Commit, Signature, commits_of, signature_of
from everloop.errors import Refused, UsageError
from everloop.project import Model, Project, Spec

__all__ = ["signed_approval", "signers_file"]


def signed_approval(project: Project, model: Model, spec: Spec) -> Actor:
    """Who signed the commit that last changed the spec's `approval:`.

    The block names them, the commit bears their signature by a key in everloop.yaml's `signers`, and the spec says
    today what it said then. Raises Refused where one of these is not so, UsageError without `signers`.
    """
    signers = signers_file(project)
    if signers is None:
        raise UsageError(
            "everloop.yaml does not say whose signatures count: signers: FILE, a line 'NAME ssh-ed25519 AAAA…' each"
        )
    if not signers.is_file():
        raise UsageError(f"signers in everloop.yaml names {project.settings.signers}, which is not there")
    commit = _approving(commits_of(project.root, model.spec_path(spec.number)))
    if commit is None or commit.spec is None or commit.spec.approval is None:
        raise Refused(
            f"no commit approves {spec.name}: write approval: {{by: NAME}} into its file, and commit that with "
            "git commit -S"
        )
    if commit.spec.hash != spec.hash:
        raise Refused(
            f"{spec.name} was changed after commit {commit.id[:12]} approved it; review it and sign another commit"
        )
    signature = signature_of(project.root, commit.id, signers=signers)
    _refuse_unsigned(spec, commit, signature, by=commit.spec.approval.by)
    evidence = {"proof": "commit", "commit": commit.id, "fingerprint": signature.key}
    return Actor(name=signature.signer, proof="commit", evidence=evidence)


def signers_file(project: Project) -> Path | None:
    """Where the allowed signers are, or None where everloop.yaml does not say."""
    named = project.settings.signers
    return None if named is None else project.root / named


def _approving(commits: Iterable[Commit]) -> Commit | None:
    """The newest commit whose approval block is another than before it."""
    newer: Commit | None = None
    for commit in commits:
        if newer is not None and _block(newer) != _block(commit):
            return newer
        newer = commit
    return newer if newer is not None and _block(newer) is not None else None


def _block(commit: Commit) -> object:
    return None if commit.spec is None else commit.spec.approval


def _refuse_unsigned(spec: Spec, commit: Commit, signature: Signature, *, by: str) -> None:
    short = commit.id[:12]
    if signature.verdict == "none":
        raise Refused(f"commit {short}, which approves {spec.name}, bears no ssh signature; commit with git commit -S")
    if signature.verdict == "bad":
        raise Refused(f"the signature of commit {short}, which approves {spec.name}, does not hold")
    if signature.verdict == "stranger":
        raise Refused(
            f"commit {short}, which approves {spec.name}, is signed by a key that is not among the signers "
            f"({signature.key or 'unknown'}); add it to that file, or let someone else sign"
        )
    if signature.signer != by:
        raise Refused(f"the approval of {spec.name} names {by}, and commit {short} is signed by {signature.signer}")
