"""The error tree is the one that is drawn, and every branch of it ends a command as the page says."""

from __future__ import annotations

import errno
import inspect
import re
import sqlite3
from pathlib import Path

import pytest

from everloop import errors
from everloop.errors import ConfigurationError, EverloopError, Refused, no_room

CLASSES = {name: kind for name in errors.__all__ if inspect.isclass(kind := getattr(errors, name))}


def test_the_tree_is_as_it_is_drawn() -> None:
    drawn: dict[str, tuple[str | None, int]] = {}
    path: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        found = re.fullmatch(r"(?P<stem>[│ ├└─]*)(?P<name>[A-Z]\w+)(?:\s+(?:exit (?P<code>\d))?.*)?", line)
        if found is None or found["name"] not in CLASSES:
            continue
        depth = len(found["stem"]) // 4
        path[depth:] = [found["name"]]
        parent = path[depth - 1] if depth else None
        code = int(found["code"]) if found["code"] else drawn[parent][1] if parent else 1
        drawn[found["name"]] = (parent, code)
    real = {
        name: (None if kind is EverloopError else kind.__base__.__name__, kind.exit_code)
        for name, kind in CLASSES.items()
    }
    assert drawn == real


def test_every_error_is_listed_and_says_what_it_is_for() -> None:
    defined = {name for name, kind in vars(errors).items() if inspect.isclass(kind) and issubclass(kind, Exception)}
    assert defined == set(CLASSES)
    assert list(errors.__all__) == sorted(errors.__all__)
    assert all(kind.__doc__ for kind in CLASSES.values())


def test_all_mistakes_are_told_at_once_and_a_refusal_keeps_its_evidence() -> None:
    told = ConfigurationError(["fraud/model.yaml:3: data: is missing", "everloop.yaml:1: ledgr: unknown key"])
    assert str(told).splitlines() == list(told.mistakes)
    refused = Refused("no", evidence_path=".everloop/runs/r-1", verdicts=[{"name": "recall >= 0.75"}])
    assert (str(refused), refused.evidence_path, len(refused.verdicts)) == ("no", ".everloop/runs/r-1", 1)


def test_no_room_is_told_in_everybodys_words(tmp_path: Path) -> None:
    database = sqlite3.connect(tmp_path / "small.db")
    database.execute("PRAGMA max_page_count = 4")
    database.execute("CREATE TABLE t (x)")
    with pytest.raises(sqlite3.Error) as full:
        database.execute("INSERT INTO t VALUES (zeroblob(100000))")
    database.close()
    wrapped = EverloopError("could not be written")
    wrapped.__cause__ = full.value
    told = [OSError(code, "as it is") for code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)]
    told += [OSError("Generic LocalFileSystem error: … No space left on device (os error 28)"), full.value, wrapped]
    assert all(no_room(error) for error in told)
    others = [OSError(errno.EACCES, "Permission denied"), sqlite3.OperationalError("database is locked"), ValueError()]
    assert not any(no_room(error) for error in others)
