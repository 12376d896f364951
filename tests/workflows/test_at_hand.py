"""What is begun in one step and used in another: in the same process only, and never left over."""

from __future__ import annotations

import pytest

from everloop.errors import Refused
from everloop.workflows import RunContext, State, Step, Workflow

from .conftest import OpenEngine


class Begun:
    """Something that goes on until it is closed."""

    def __init__(self) -> None:
        self.closed = 0

    def close(self) -> None:
        self.closed += 1


def handing(begun: list[Begun], *, takes: bool, refuses: bool = False) -> Workflow:
    def begin(context: RunContext, state: State) -> State:
        begun.append(Begun())
        context.at_hand.keep("begun", begun[-1])
        return {}

    def use(context: RunContext, state: State) -> State:
        if refuses:
            raise Refused("no")
        return {"found": context.at_hand.take("begun") is not None if takes else None}

    return Workflow(name="hand", steps=[Step(name="begin", run=begin), Step(name="use", run=use)])


def test_a_later_step_takes_it_and_closes_it_itself(open_engine: OpenEngine) -> None:
    begun: list[Begun] = []
    with open_engine([handing(begun, takes=True)]) as engine:
        assert engine.run("hand", {}, run_id="r-1", actor="alice").state["found"] is True
    assert [one.closed for one in begun] == [0]


@pytest.mark.parametrize("refuses", [False, True])
def test_what_nobody_took_is_closed_when_the_run_ends(open_engine: OpenEngine, refuses: bool) -> None:
    begun: list[Begun] = []
    with open_engine([handing(begun, takes=False, refuses=refuses)]) as engine:
        engine.run("hand", {}, run_id="r-1", actor="alice")
        assert [one.closed for one in begun] == [1]


def test_a_run_that_goes_on_in_another_process_finds_nothing(open_engine: OpenEngine) -> None:
    begun: list[Begun] = []
    workflow = handing(begun, takes=True)
    with open_engine([workflow]) as engine:
        engine.run("hand", {}, run_id="r-1", actor="alice")
        retried = engine.retry("r-1", from_step="use", new_run_id="r-2", actor="bob")
        assert engine.wait(retried.run_id).state["found"] is False


def test_what_is_kept_again_closes_what_was(open_engine: OpenEngine) -> None:
    begun: list[Begun] = []

    def twice(context: RunContext, state: State) -> State:
        for _ in range(2):
            begun.append(Begun())
            context.at_hand.keep("begun", begun[-1])
        return {"closed": [one.closed for one in begun]}

    with open_engine([Workflow(name="twice", steps=[Step(name="only", run=twice)])]) as engine:
        assert engine.run("twice", {}, run_id="r-1", actor="alice").state["closed"] == [1, 0]
    assert [one.closed for one in begun] == [1, 1]
