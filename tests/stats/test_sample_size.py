"""The rows that are asked for are enough: power and error by simulation, and the laws that every plan keeps."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everloop.stats import (
    BoundedSequence,
    Discordance,
    SignSequence,
    discordance,
    paired_mean_rows,
    paired_rate_rows,
    stopping_gains,
    stopping_signs,
    stopping_two_means,
    two_means,
    two_rates,
)

RUNS = 20_000
LOOKED_AT = 200
Z = NormalDist().inv_cdf(0.975)


def at_least(share: float, runs: int) -> float:
    """A share less three and a half standard errors of a simulation of so many runs."""
    return share - 3.5 * math.sqrt(share * (1 - share) / runs)


def at_most(share: float, runs: int) -> float:
    return share + 3.5 * math.sqrt(share * (1 - share) / runs)


@pytest.mark.parametrize(("champion", "challenger"), [(0.75, 0.80), (0.5, 0.45), (0.02, 0.03)])
@pytest.mark.parametrize("share", [0.05, 0.3, 0.5])
def test_two_rates_are_told_apart_as_often_as_said_and_equal_ones_as_seldom(
    champion: float, challenger: float, share: float
) -> None:
    sides = two_rates(champion, challenger, share=share, power=0.8)
    rng = np.random.default_rng(1)

    def called(other: float) -> float:
        one = rng.binomial(sides.champion, champion, size=RUNS) / sides.champion
        two = rng.binomial(sides.challenger, other, size=RUNS) / sides.challenger
        pooled = (one * sides.champion + two * sides.challenger) / sides.rows
        error = np.sqrt(pooled * (1 - pooled) * (1 / sides.champion + 1 / sides.challenger))
        return float((np.abs(two - one) > Z * error).mean())

    # counts are whole: a small side's rate moves in steps, which costs or gives a per cent or two
    assert 0.78 <= called(challenger) <= 0.83
    assert called(champion) <= 0.06


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_two_means_of_skewed_rows_are_told_apart_as_often_as_said(share: float) -> None:
    sides = two_means(0.1, 1.0, share=share, power=0.9)
    rng = np.random.default_rng(2)
    # means of exponential rows, which a gamma gives at once
    one = rng.gamma(sides.champion, size=RUNS) / sides.champion
    two = rng.gamma(sides.challenger, size=RUNS) / sides.challenger + 0.1
    error = math.sqrt(1 / sides.champion + 1 / sides.challenger)
    assert float((np.abs(two - one) > Z * error).mean()) >= at_least(0.9, RUNS) - 0.005


def test_paired_rates_are_told_apart_as_often_as_said() -> None:
    differ = discordance(0.75, 0.80, correlation=0.5)
    rows = paired_rate_rows(differ, power=0.8)
    wins, losses, _ = (
        np.random.default_rng(3).multinomial(rows, [differ.wins, differ.losses, 1 - differ.share], size=RUNS).T
    )
    found = np.abs(wins - losses) > Z * np.sqrt(wins + losses)
    assert 0.78 <= float(found.mean()) <= 0.83


def test_a_paired_mean_is_told_from_nothing_as_often_as_said() -> None:
    rows = paired_mean_rows(0.05, 0.3, power=0.8)
    means = np.random.default_rng(4).normal(0.05, math.sqrt(0.3 / rows), size=RUNS)
    assert float((np.abs(means) > Z * math.sqrt(0.3 / rows)).mean()) >= at_least(0.8, RUNS)


def test_known_answers() -> None:
    # Fleiss, Levin & Paik, without continuity correction: 0.6 against 0.5 is the textbook's 388 a side
    assert two_rates(0.5, 0.6, share=0.5).challenger == pytest.approx(388, abs=1)
    assert two_means(0.5, 1.0, share=0.5).challenger == 63
    differ = discordance(0.5, 0.5, correlation=0.0)
    assert (differ.wins, differ.losses) == (0.25, 0.25)
    assert discordance(0.6, 0.8, correlation=1.0).losses == pytest.approx(0.0, abs=0.01)


@settings(deadline=None)
@given(st.floats(0.05, 0.85), st.floats(0.01, 0.1), st.floats(0.01, 0.49))
def test_more_effect_and_more_balance_never_ask_for_more_rows(rate: float, gain: float, share: float) -> None:
    rows = two_rates(rate, rate + gain, share=share).rows
    assert two_rates(rate, rate + 1.3 * gain, share=share).rows <= rows
    assert two_rates(rate, rate + gain, share=share, power=0.9).rows >= rows
    assert two_rates(rate, rate + gain, share=share, level=0.99).rows >= rows
    means = [two_means(gain, 0.2, share=part).rows for part in (share, (share + 0.5) / 2, 0.5)]
    assert means[0] >= means[1] - 2 >= means[2] - 4
    assert two_means(gain, 0.2, share=1 - share).rows == pytest.approx(means[0], abs=2)
    alike = [paired_rate_rows(discordance(rate, rate + gain, correlation=c)) for c in (0.0, 0.5, 0.9)]
    assert alike == sorted(alike, reverse=True)
    assert alike[0] <= rows + 1


def looks(most: int) -> list[int]:
    return np.unique(np.geomspace(8, 1.4 * most, 50).astype(int)).tolist()


def share_ended(ends: np.ndarray, rows: int | None) -> float:
    assert rows is not None
    return float((ends <= rows).mean())


def refuse_far_off(ends: np.ndarray, half: int | None, most: int | None) -> None:
    """By `half` and `most` about as many have ended as they say, and they are not said much too large."""
    assert half is not None
    assert most is not None
    assert at_least(0.5, LOOKED_AT) <= share_ended(ends, half)
    assert at_least(0.9, LOOKED_AT) <= share_ended(ends, most)
    assert np.median(ends) >= 0.7 * half
    assert np.quantile(ends, 0.9) >= 0.7 * most


def discordant(differ: Discordance, rng: np.random.Generator, marks: list[int]) -> np.ndarray:
    """Wins, losses and ties seen at each look; shape (looks, 3)."""
    steps = np.diff([0, *marks])
    return np.cumsum(rng.multinomial(steps, [differ.wins, differ.losses, 1 - differ.share]), axis=0)


@pytest.mark.parametrize("differ", [discordance(0.75, 0.80, correlation=0.5), Discordance(wins=0.004, losses=0.001)])
def test_signs_looked_at_all_the_time_end_as_said(differ: Discordance) -> None:
    found = stopping_signs(differ)
    assert found.most is not None
    rng, marks, ends = np.random.default_rng(5), looks(found.most), []
    for _ in range(LOOKED_AT):
        seen = discordant(differ, rng, marks).tolist()
        better = (
            mark
            for mark, (wins, losses, _) in zip(marks, seen, strict=True)
            if SignSequence(wins=wins, losses=losses).standing() == "better"
        )
        ends.append(next(better, math.inf))
    refuse_far_off(np.array(ends), found.half, found.most)


def gains_end(differ: Discordance, rng: np.random.Generator, marks: list[int]) -> float:
    """The look at which the gains are surely above 0, infinite where they never are."""
    values = np.array([1.0, -1.0, 0.0])
    for mark, times in zip(marks, discordant(differ, rng, marks), strict=True):
        if BoundedSequence().update(values, times=times).surely_above(0.0):
            return mark
    return math.inf


def test_gains_looked_at_all_the_time_end_as_said() -> None:
    differ = discordance(0.6, 0.7, correlation=0.5)
    found = stopping_gains(differ)
    assert found.most is not None
    rng, marks = np.random.default_rng(6), looks(found.most)
    refuse_far_off(np.array([gains_end(differ, rng, marks) for _ in range(LOOKED_AT)]), found.half, found.most)


def sides_end(champion: float, challenger: float, each: int, rng: np.random.Generator, marks: list[int]) -> float:
    """The rows of both sides at which every challenger's row, less the mean of `each` champion's, is surely above 0."""
    sequence, seen = BoundedSequence(), 0
    for mark in marks:
        count = mark - seen
        seen = mark
        gaps = (rng.random(count) < challenger) - rng.binomial(each, champion, size=count) / each
        sequence = sequence.update(gaps)
        if sequence.surely_above(0.0):
            return mark * (each + 1)
    return math.inf


@pytest.mark.parametrize(("champion", "challenger", "each"), [(0.75, 0.85, 9), (0.5, 0.6, 1), (0.02, 0.04, 4)])
def test_two_sides_looked_at_all_the_time_end_as_said(champion: float, challenger: float, each: int) -> None:
    found = stopping_two_means(champion, challenger, share=1 / (each + 1))
    assert found.most is not None
    rng, marks = np.random.default_rng(7), looks(found.most // (each + 1))
    ends = [sides_end(champion, challenger, each, rng, marks) for _ in range(LOOKED_AT)]
    refuse_far_off(np.array(ends), found.half, found.most)


def test_sides_and_versions_that_do_not_differ_are_called_apart_at_most_alpha_of_the_time() -> None:
    rng, marks = np.random.default_rng(8), looks(3_000)
    sides = [math.isfinite(sides_end(0.75, 0.75, 9, rng, marks)) for _ in range(LOOKED_AT)]
    pairs = [math.isfinite(gains_end(Discordance(wins=0.1, losses=0.1), rng, marks)) for _ in range(LOOKED_AT)]
    # one direction of two
    assert np.mean(sides) <= at_most(0.025, LOOKED_AT)
    assert np.mean(pairs) <= at_most(0.025, LOOKED_AT)


@settings(deadline=None, max_examples=30)
@given(st.floats(0.05, 0.8), st.floats(0.02, 0.15), st.floats(0.01, 0.5))
def test_looking_whenever_asks_for_more_rows_and_a_larger_effect_for_fewer(
    rate: float, gain: float, share: float
) -> None:
    found = stopping_two_means(rate, rate + gain, share=share)
    larger = stopping_two_means(rate, rate + 1.5 * gain, share=share)
    assert found.half is not None
    assert found.most is not None
    assert larger.most is not None
    assert found.half <= found.most
    assert larger.most <= found.most
    assert found.most > two_rates(rate, rate + gain, share=share).rows
    half, most = found.sides(share)
    assert half is not None
    assert most is not None
    assert half.rows <= most.rows


def test_a_gain_below_every_bet_is_never_told() -> None:
    assert stopping_gains(Discordance(wins=0.3001, losses=0.3)).half is None
    assert stopping_gains(Discordance(wins=0.3001, losses=0.3)).sides(0.5) == (None, None)


def test_mistakes_are_named() -> None:
    with pytest.raises(ValueError, match="does not differ"):
        two_rates(0.5, 0.5, share=0.5)
    with pytest.raises(ValueError, match="share must lie between 0 and 1"):
        two_means(0.1, 1.0, share=1.0)
    with pytest.raises(ValueError, match=r"power must lie in \[0.5, 1\)"):
        paired_mean_rows(0.1, 1.0, power=0.2)
    with pytest.raises(ValueError, match="level must lie between 0 and 1"):
        two_rates(0.5, 0.6, share=0.5, level=1.0)
    with pytest.raises(ValueError, match=r"correlation must lie in \[0, 1\]"):
        discordance(0.5, 0.6, correlation=2.0)
    with pytest.raises(ValueError, match="there is none"):
        stopping_signs(Discordance(wins=0.1, losses=0.1))
