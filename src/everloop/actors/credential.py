"""Where the key of who acts is found: EVERLOOP_KEY, else a file of the user's own."""

from __future__ import annotations

import os
from collections.abc import Mapping

from everloop.actors.secret import Secret, read_secret
from everloop.errors import Refused
from everloop.project import KEY_VARIABLE, key_place

__all__ = ["given_key"]


def given_key(environment: Mapping[str, str] | None = None) -> tuple[Secret, ...]:
    """The keys that whoever acts has at hand, none or more; a file may hold one for each project.

    environment: what to read the variable from; None is the process's own. Raises Refused for what is no key, an empty
    variable, and a file that others may read. The sentence never holds what was found.
    """
    said, file = key_place(environment)
    if said is not None:
        if not said.strip():
            raise Refused(f"{KEY_VARIABLE} is set and empty; put a key into it, or unset it to use {file}")
        return (_read(said.strip(), KEY_VARIABLE),)
    if not file.is_file():
        return ()
    if os.name == "posix" and file.stat().st_mode & 0o077:
        raise Refused(f"others may read {file}, so the keys in it show nobody: chmod 600 {file}")
    lines = [line.strip() for line in file.read_text(encoding="utf-8", errors="replace").splitlines()]
    return tuple(_read(line, str(file)) for line in lines if line and not line.startswith("#"))


def _read(text: str, place: str) -> Secret:
    secret = read_secret(text)
    if secret is None:
        raise Refused(f"what {place} holds is not a key (evl_NAME_ID_SECRET, as 'everloop key create' prints it)")
    return secret
