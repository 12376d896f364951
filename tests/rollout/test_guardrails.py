import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everloop.project import parse_stop_rule
from everloop.rollout import PairedCounts
from everloop.rollout.counts import LATENCY_EDGES_MS, latency_bin
from everloop.rollout.guardrails import (
    DEFAULT_ALPHA,
    decision_ratio,
    decision_share,
    errors,
    judge,
    latency,
    score_shift,
)

BASE = 0.002


def traffic(rows: int, ratio: float, *, seed: int = 0) -> PairedCounts:
    """Rows on which the champion decides 0.2 % positively, and the challenger `ratio` times as many."""
    rng = np.random.default_rng(seed)
    champion = rng.random(rows) < BASE
    challenger = (champion & (rng.random(rows) < 0.9)) | (rng.random(rows) < BASE * (ratio - 0.9))
    return PairedCounts.of(
        champion_score=champion * 0.9,
        challenger_score=challenger * 0.9,
        champion_decision=champion,
        challenger_decision=challenger,
    )


def first_answer(counts, ask, *, until: int = 80) -> tuple[str, int]:
    """The first sure answer over growing traffic, asked after every thousand rows."""
    seen = PairedCounts()
    for chunk in range(until):
        seen += counts(chunk)
        verdict = ask(seen)
        if verdict.outcome != "undecided":
            return verdict.outcome, seen.rows
    return "undecided", seen.rows


@pytest.mark.parametrize(("ratio", "expected"), [(1.0, "passed"), (1.4, "passed"), (5.0, "failed"), (10.0, "failed")])
def test_decisions_at_rare_positives_are_judged_by_their_ratio(ratio, expected):
    for seed in range(5):
        answer, rows = first_answer(lambda chunk, s=seed: traffic(1000, ratio, seed=1000 * s + chunk), decision_ratio)
        assert answer == expected, (seed, rows)
        assert rows <= 60_000


@pytest.mark.parametrize(("ratio", "expected"), [(1.0, "passed"), (1.4, "passed"), (5.0, "failed")])
def test_decisions_at_rare_positives_are_judged_by_their_share(ratio, expected):
    def ask(seen: PairedCounts):
        return decision_share(seen, share=0.005)

    for seed in range(5):
        answer, rows = first_answer(lambda chunk, s=seed: traffic(1000, ratio, seed=1000 * s + chunk), ask)
        assert answer == expected, (seed, rows)
        assert rows <= 20_000


RUNS, LOOKS, ROWS = 200, 40, 1000


@pytest.mark.parametrize(
    ("rule", "cells"),
    [
        # (neither, champion only, challenger only, both) at the very edge of what the rule allows.
        ("decision share moves > 0.5%", (0.9945, 0.0025, 0.0025, 0.0005)),
        ("decision share moves > 3x", (0.994, 0.0, 0.004, 0.002)),
    ],
)
def test_a_rule_that_is_just_kept_is_called_broken_in_at_most_alpha_of_the_runs_however_often_one_looks(rule, cells):
    """Law 6, at rare decisions."""
    rng = np.random.default_rng(1)
    broken = 0
    for _ in range(RUNS):
        seen = np.cumsum(rng.multinomial(ROWS, cells, size=LOOKS), axis=0).tolist()
        looks = [PairedCounts(rows=sum(one), champion_only=one[1], challenger_only=one[2], both=one[3]) for one in seen]
        broken += any(judge([parse_stop_rule(rule)], counts)[0].is_failed for counts in looks)
    assert broken <= DEFAULT_ALPHA * RUNS


def test_each_rule_of_the_plan_is_asked():
    rules = [parse_stop_rule(rule) for rule in ("errors", "latency p99 > 20ms", "decision share moves > 10%")]
    verdicts = judge(rules, timed([1.0] * 5000, [1.0] * 5000) + traffic(20_000, 1.0))
    assert [verdict.outcome for verdict in verdicts] == ["passed"] * 3


def test_a_model_that_declines_everything_fails_at_once():
    everything = PairedCounts(rows=300, both=1, challenger_only=299)
    assert decision_ratio(everything).is_failed
    assert decision_share(everything, share=0.1).is_failed


def test_two_sides_that_decide_nothing_pass():
    assert decision_ratio(PairedCounts(rows=20_000)).is_passed
    assert decision_ratio(PairedCounts(rows=20)).is_undecided


def test_errors_count_where_the_champion_answered():
    assert errors(PairedCounts(asked=50, challenger_errors=1)).is_failed
    assert errors(PairedCounts(asked=50, challenger_errors=50), share=0.01).is_failed
    assert errors(PairedCounts(asked=50_000, challenger_errors=50), share=0.01).is_passed
    assert errors(PairedCounts(asked=10_000)).is_passed
    assert errors(PairedCounts(asked=10)).is_undecided


def test_a_failed_score_is_an_error_and_no_pair():
    counts = PairedCounts.of(
        champion_score=np.array([0.1, 0.2, np.nan]), challenger_score=np.array([np.nan, 0.3, 0.4]),
        champion_decision=np.array([False, True, False]), challenger_decision=np.array([False, False, False]),
    )  # fmt: skip
    assert (counts.asked, counts.rows, counts.challenger_errors, counts.champion_errors) == (3, 1, 1, 1)
    assert (counts.champion_only, counts.both) == (1, 0)


@pytest.mark.parametrize(
    ("moved", "expected"), [(0.0, "passed"), (0.03, "passed"), (0.12, "failed"), (-0.12, "failed")]
)
def test_a_moved_mean_score_fails_either_way(moved, expected):
    rng = np.random.default_rng(3)
    champion = rng.uniform(0.3, 0.6, 4000)
    challenger = np.clip(champion + moved + rng.normal(0, 0.02, 4000), 0, 1)
    none = np.zeros(4000, dtype=bool)
    counts = PairedCounts.of(
        champion_score=champion, challenger_score=challenger, champion_decision=none, challenger_decision=none
    )
    assert score_shift(counts, bound=0.06).outcome == expected


def timed(champion_ms: list[float], challenger_ms: list[float]) -> PairedCounts:
    sides = []
    for times in (champion_ms, challenger_ms):
        bins = np.bincount([latency_bin(one) for one in times], minlength=len(LATENCY_EDGES_MS) + 1)
        sides.append(tuple(bins.tolist()))
    return PairedCounts(champion_latency=sides[0], challenger_latency=sides[1])


def test_a_slow_challenger_fails_and_a_slow_machine_does_not():
    fast, slow = [1.0] * 2000, [40.0] * 200 + [1.0] * 1800
    assert latency(timed(fast, slow), bound_ms=20).is_failed
    assert latency(timed(slow, slow), bound_ms=20).is_passed
    assert latency(timed(fast, fast), bound_ms=20).is_passed
    assert latency(timed(fast[:5], fast[:5]), bound_ms=20).is_undecided


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 400), st.integers(0, 400), st.integers(0, 2**31))
def test_spans_add_up_to_what_they_are_together(rows, cut, seed):
    rng = np.random.default_rng(seed)
    scores = rng.random((2, rows))
    decisions = rng.random((2, rows)) < 0.3

    def of(part: slice) -> PairedCounts:
        return PairedCounts.of(
            champion_score=scores[0, part], challenger_score=scores[1, part],
            champion_decision=decisions[0, part], challenger_decision=decisions[1, part],
        )  # fmt: skip

    assert of(slice(None, cut)) + of(slice(cut, None)) == of(slice(None))
