"""The program itself: its help, its version, and how it talks on a terminal."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.core import TyperGroup

from everloop.cli.program import app

from .terminal import environment, everloop


def commands(group: TyperGroup, name: str) -> dict[str, object]:
    """Every command under its full name."""
    found: dict[str, object] = {}
    for word, command in group.commands.items():
        full = f"{name} {word}"
        found |= commands(command, full) if isinstance(command, TyperGroup) else {full: command}
    return found


def test_every_command_has_json() -> None:
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    found = commands(group, "everloop")
    assert "everloop serve" in found
    lacking = [name for name, one in found.items() if "--json" not in {word for p in one.params for word in p.opts}]  # type: ignore[attr-defined]
    assert lacking == []


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("model",),
        ("spec",),
        ("run",),
        ("alert",),
        ("rollout",),
        ("audit",),
        ("schedule",),
        ("key",),
        ("notice",),
    ],
)
def test_the_help_says_in_a_line_what_each_command_does(tmp_path: Path, words: tuple[str, ...]) -> None:
    shown = everloop(*words, "--help", cwd=tmp_path)
    assert shown.code == 0
    assert max(len(line) for line in shown.out.splitlines()) <= 80
    assert "..." not in shown.out.partition("Commands:")[2]


def test_the_version_is_one_line(tmp_path: Path) -> None:
    shown = everloop("--version", cwd=tmp_path)
    assert (shown.code, shown.err) == (0, "")
    assert shown.out.strip().count(".") == 2


def test_talk_is_folded_between_words_on_a_terminal_and_a_line_elsewhere(tmp_path: Path) -> None:
    words = ["init", "payments", "--data", "nothing-of-this-name-lies-here.parquet"]
    program = [sys.executable, "-c", "from everloop.cli import main; main()", *words]
    ours, theirs = pty.openpty()
    done = subprocess.run(program, cwd=tmp_path, stdout=theirs, stderr=theirs, check=False, env=environment())
    os.close(theirs)
    said = os.read(ours, 10_000).decode()
    os.close(ours)
    assert done.returncode == 1
    assert len(said.splitlines()) > 1
    assert max(len(line) for line in said.splitlines() if "/" not in line) <= 80
    plain = everloop(*words, cwd=tmp_path)
    assert len(plain.err.splitlines()) == 1
    assert said.split() == plain.err.split()


_ENDING = """
import atexit, gc
atexit.register(lambda: print("frozen" if gc.get_freeze_count() else "not frozen"))
from everloop.cli import main
main()
"""


def test_a_command_that_ends_is_not_searched_for_garbage(tmp_path: Path) -> None:
    program = [sys.executable, "-c", _ENDING, "--version"]
    ended = subprocess.run(program, cwd=tmp_path, env=environment(), capture_output=True, text=True, check=True)
    assert ended.stdout.splitlines()[1:] == ["frozen"]


_PRESSED = """
import os, signal, sys

class Pressed:
    def find_spec(self, name, path=None, target=None):
        if name == sys.argv[1]:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Pressed())
from everloop.cli import main
main()
"""


@pytest.mark.parametrize("module", ["everloop.cli.program", "typer", "pydantic", "everloop.cli.nouns"])
def test_ctrl_c_while_a_command_still_loads_is_one_sentence(module: str, tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", _PRESSED, module],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "everloop: stopped\n")
