"""A process of our own: what it hears, how it ends, and that it does not outlive whoever began it."""

from __future__ import annotations

import subprocess
import sys

import psutil

from everloop.child_process import ChildProcess


def test_what_it_said_last_and_how_it_ended_are_known() -> None:
    child = ChildProcess("timeit", ["--no-such-option"])
    while not child.ends_soon():
        pass
    assert child.code == 2
    assert len(child.last_words()) == 1
    child.say("it hears no more")
    child.close()


def test_closing_ends_one_that_waits() -> None:
    before = psutil.Process().children()
    child = ChildProcess("code", ["-q"])
    (process,) = [one for one in psutil.Process().children() if one not in before]
    assert not child.has_ended
    child.say("import sys; print('heard', file=sys.stderr, flush=True)")
    while not child.last_words():
        assert not child.ends_soon()
    child.close()
    assert not process.is_running()
    assert child.code < 0


def test_it_reads_the_end_of_the_pipe_when_its_parent_is_killed() -> None:
    program = """
import os, signal
from everloop.child_process import ChildProcess
child = ChildProcess("code", ["-q"])
print(child._process.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, check=False)
    left = [psutil.Process(int(done.stdout))] if psutil.pid_exists(int(done.stdout)) else []
    assert psutil.wait_procs(left, timeout=30)[1] == []
