"""W3C Trace Context, by the cases of its own test suite: what is valid is passed on, and what is not is as nothing."""

import random

import pytest

from everloop.serving.trace import TraceContext

TRACE, SPAN = "12345678901234567890123456789012", "1234567890123456"
VALID = f"00-{TRACE}-{SPAN}-01"


def context(*parents, states=()):
    headers = [(b"traceparent", value.encode()) for value in parents]
    return TraceContext.of([*headers, *((b"tracestate", value.encode()) for value in states)], draw=random.Random(1))


def passed(found):
    return {name.decode(): value.decode() for name, value in found.headers()}


def test_a_trace_is_gone_on_with_under_a_span_of_our_own():
    found = context(VALID, states=["a=1,b=2"])
    assert (found.trace_id, found.parent_id, found.sampled, found.tracestate) == (TRACE, SPAN, True, "a=1,b=2")
    assert len(found.span_id) == 16
    assert found.span_id not in (SPAN, "0" * 16)
    assert passed(found) == {"traceparent": f"00-{TRACE}-{found.span_id}-01", "tracestate": "a=1,b=2"}


@pytest.mark.parametrize(
    "value",
    [
        f" {VALID}\t", f"cc-{TRACE}-{SPAN}-01", f"cc-{TRACE}-{SPAN}-01-what-the-future-will-be-like",
        f"01-{TRACE}-{SPAN}-01-", f"00-{TRACE}-{SPAN}-ff",
    ],
)  # fmt: skip
def test_what_is_valid_is_read_as_far_as_it_is_known(value):
    found = context(value)
    assert (found.trace_id, found.parent_id, found.sampled) == (TRACE, SPAN, True)
    assert passed(found)["traceparent"].startswith(f"00-{TRACE}-")
    assert found.flags <= 3


@pytest.mark.parametrize(
    "value",
    [
        "", "00", f"{VALID}-", f"{VALID}-x", f"{VALID}.", f"00-{TRACE}-{SPAN}-1", f"00-{TRACE}-{SPAN}-001",
        f"00-{TRACE}-{SPAN}-.0", f"ff-{TRACE}-{SPAN}-01", f".0-{TRACE}-{SPAN}-01", f"0-{TRACE}-{SPAN}-01",
        f"000-{TRACE}-{SPAN}-01", f"cc-{TRACE}-{SPAN}-01.x", f"00-{'0' * 32}-{SPAN}-01", f"00-{TRACE}-{'0' * 16}-01",
        f"00-.{TRACE[1:]}-{SPAN}-01", f"00-{TRACE[1:]}-{SPAN}-01", f"00-{TRACE}0-{SPAN}-01",
        f"00-{TRACE}-{SPAN[1:]}-01",
        f"00-{'ABCDEF' + TRACE[6:]}-{SPAN}-01", f"00-{TRACE}-{SPAN}-0A", f"00_{TRACE}_{SPAN}_01",
        f"00-{TRACE}-{SPAN}-01\n",
    ],
)  # fmt: skip
def test_what_is_not_valid_begins_a_trace_of_its_own(value):
    found = context(value, states=["a=1"])
    assert found.parent_id is None
    assert found.trace_id not in (TRACE, "0" * 32)
    assert found.tracestate == ""
    assert passed(found) == {"traceparent": f"00-{found.trace_id}-{found.span_id}-02"}


def test_two_parents_are_none():
    assert context(VALID, VALID).parent_id is None
    assert context().parent_id is None


@pytest.mark.parametrize(
    ("states", "kept"),
    [
        (["foo=1", "bar=2"], "foo=1,bar=2"),
        (["foo=1 \t , \t bar=2, \t baz=3"], "foo=1,bar=2,baz=3"),
        (["foo=1,", ",,bar=2"], "foo=1,bar=2"),
        (["foo=a b", "t@v=x!~"], "foo=a b,t@v=x!~"),
        (["foo=1,foo=2"], ""),
        (["foo"], ""), (["foo=1=2"], ""), (["Foo=1"], ""), (["foo =1"], ""), (["foo=\u00e9"], ""), (["=1"], ""),
        (["foo="], ""),
        ([",".join(f"k{place}=1" for place in range(32))], ",".join(f"k{place}=1" for place in range(32))),
        ([",".join(f"k{place}=1" for place in range(33))], ""),
        (["z" * 257 + "=1"], ""),
        (["z=" + "v" * 257], ""),
    ],
)  # fmt: skip
def test_a_state_is_passed_on_whole_or_not_at_all(states, kept):
    found = context(VALID, states=states)
    assert (found.tracestate, found.parent_id) == (kept, SPAN)


def test_a_state_that_is_too_long_loses_its_longest_and_then_its_oldest():
    members = ["new=1", "long=" + "v" * 200, *(f"k{place}={'v' * 90}" for place in range(5))]
    kept = context(VALID, states=[",".join(members)]).tracestate.split(",")
    assert kept == [members[0], *members[2:]]
    kept = context(VALID, states=[",".join(f"k{place}={'v' * 90}" for place in range(8))]).tracestate.split(",")
    assert [member.split("=")[0] for member in kept] == [f"k{place}" for place in range(5)]
