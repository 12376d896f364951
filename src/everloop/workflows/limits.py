"""How long a step may take, how it is stopped then, and how long is waited before it is tried again."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable

from everloop.errors import StepTimeout
from everloop.workflows.context import RunContext
from everloop.workflows.workflow import State, Step

__all__ = ["in_time", "pause_s", "waited"]

_LONGEST_GRACE_S = 5.0
_LOOK_S = 0.25


class _OutOfTime(BaseException):
    """Raised inside of the step's thread; no `Exception`, so that a step that catches all of them does not catch it."""


def pause_s(step: Step, attempt: int) -> float:
    """How long to wait after the attempt failed: twice as long each time, up to the step's longest."""
    return min(step.longest_pause_s, step.first_pause_s * 2.0 ** (attempt - 1))


def waited(seconds: float, stopping: Callable[[], bool]) -> bool:
    """Wait; False where the word to stop came before the time was over."""
    pause = threading.Event()
    left_s = seconds
    while left_s > 0:
        if stopping():
            return False
        pause.wait(min(left_s, _LOOK_S))
        left_s -= _LOOK_S
    return not stopping()


def in_time(step: Step, context: RunContext, state: State) -> State:
    """The step's output; in a thread of its own where its time is limited, which ends with the time.

    The step is asked to stop by `RunContext.should_stop`, as a fit's child process is ended. What does not ask is
    stopped from outside between two of its own instructions; a single call into a library is waited for no longer.
    """
    if step.timeout_s is None:
        return step.run(context, state)
    box: list[State | BaseException] = []

    def work() -> None:
        try:
            box.append(step.run(context, state))
        except BaseException as error:  # handed to the waiting thread, which raises it
            box.append(error)

    worker = threading.Thread(target=work, name=f"{context.run_id}-{step.name}", daemon=True)
    worker.start()
    worker.join(step.timeout_s)
    if worker.is_alive() or context.remaining_s() == 0:
        _end(worker, grace_s=min(_LONGEST_GRACE_S, step.timeout_s))
        raise StepTimeout(f"step {step.name} took longer than {step.timeout_s:g} s; give it more, or less to do")
    if isinstance(box[0], BaseException):
        raise box[0]
    return box[0]


def _end(worker: threading.Thread, *, grace_s: float) -> None:
    """Wait for a thread that was asked to stop; one that does not is broken off where it is."""
    worker.join(grace_s)
    if worker.is_alive() and worker.ident is not None:
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(worker.ident), ctypes.py_object(_OutOfTime))
        worker.join(grace_s)
