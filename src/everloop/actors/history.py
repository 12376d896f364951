"""Git's history of a spec's file: who changed what, and who signed it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeAlias

from everloop.errors import ConfigurationError, Refused
from everloop.project import Spec, parse_spec

__all__ = ["Commit", "Signature", "commits_of", "signature_of"]

Verdict: TypeAlias = Literal["good", "none", "bad", "stranger"]
_LIMIT_S: Final = 60.0
_SSH: Final = "-----BEGIN SSH SIGNATURE-----"


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """A commit that changed a spec's file. spec: as it stood then, None where it could not be read. people: the names
    and addresses of author and committer, which anybody can write."""

    id: str
    spec: Spec | None
    people: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """What is known of a commit's signature; signer: the identity in the file of signers, where it is good."""

    verdict: Verdict
    signer: str = ""
    key: str = ""


def commits_of(root: Path, path: Path) -> Iterator[Commit]:
    """The commits that changed the file, newest first. Raises Refused where there is no git or no repository."""
    shown = path.relative_to(root).as_posix()
    listed = _git(root, "log", "--no-show-signature", "--format=%H%x00%an%x00%ae%x00%cn%x00%ce", "--", shown)
    for line in listed.splitlines():
        commit, *people = line.split("\0")
        text = _git(root, "show", f"{commit}:./{shown}", missing="")
        yield Commit(id=commit, spec=_spec(text, shown), people=frozenset(person for person in people if person))


def signature_of(root: Path, commit: str, *, signers: Path) -> Signature:
    """Whose ssh signature a commit bears, by this file of allowed signers and no setting of the user's own."""
    raw = _git(root, "cat-file", "commit", commit).partition("\n\n")[0]
    if _SSH not in raw:
        return Signature(verdict="none")
    pinned = ("-c", f"gpg.ssh.allowedSignersFile={signers}", "-c", "gpg.ssh.program=ssh-keygen")
    said = (
        _git(root, *pinned, "log", "-1", "--no-show-signature", "--format=%G?%x00%GS%x00%GF", commit)
        .strip()
        .split("\0")
    )
    letter, signer, key = (*said, "", "", "")[:3]
    if letter == "G" and signer:
        return Signature(verdict="good", signer=signer, key=key)
    return Signature(verdict="stranger" if letter in ("U", "E", "G") else "bad", key=key)


def _spec(text: str, shown: str) -> Spec | None:
    try:
        return parse_spec(text, shown=shown)
    except ConfigurationError:
        return None


def _git(root: Path, *words: str, missing: str | None = None) -> str:
    """What git prints. missing: instead of an error. Replaced objects are not looked at."""
    command = ["git", "--no-replace-objects", "-C", str(root), *words]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_LIMIT_S, check=False)
    except FileNotFoundError as error:
        raise Refused("git is not installed here, so no commit can show who someone is") from error
    except subprocess.TimeoutExpired as error:
        raise Refused(f"git gave no answer within {_LIMIT_S:.0f} s") from error
    if done.returncode == 0:
        return done.stdout
    if missing is not None:
        return missing
    said = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
    raise Refused(f"git cannot tell who wrote what in {root}: {said}")
