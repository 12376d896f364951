from __future__ import annotations

import json

import numpy as np
import pytest

from everloop.stats import OnlineBudget, RateDetector, binomial_drop_p, overdispersion

TEN_YEARS = OnlineBudget.of(count=1, per_days=3650).windows_per_alarm(1.0)


def days_to_alarm(rng: np.random.Generator, *, fallen: float, per_day: int, reference: int = 200) -> int:
    """Days from the drop to the alarm, 99 for none, after twenty quiet days; recall is 0.82 before."""
    detector = RateDetector.start(
        expected_successes=rng.binomial(reference, 0.82), expected_n=reference, threshold=TEN_YEARS
    )
    for day in range(60):
        n = rng.poisson(per_day)
        detector = detector.update(rng.binomial(n, 0.82 if day < 20 else fallen), n)
        if detector.alarmed:
            return day - 19
    return 99


@pytest.mark.parametrize(("fallen", "per_day", "days"), [(0.52, 10, 9), (0.52, 20, 5), (0.52, 30, 4), (0.67, 30, 14)])
def test_a_lasting_drop_is_found_within_days_at_one_false_alarm_in_ten_years(
    fallen: float, per_day: int, days: int
) -> None:
    rng = np.random.default_rng(per_day)
    waits = [days_to_alarm(rng, fallen=fallen, per_day=per_day) for _ in range(40)]
    assert np.median(waits) <= days
    assert min(waits) >= 1


@pytest.mark.parametrize("rate", [0.5, 0.82, 0.95])
@pytest.mark.parametrize("reference", [60, 400])
def test_false_alarms_keep_to_their_rate(rate: float, reference: int) -> None:
    # At one in 100 windows, so that a simulation can count them; the bound is the same at any threshold.
    rng = np.random.default_rng(reference)
    alarms = windows = 0
    for _ in range(40):
        detector = RateDetector.start(
            expected_successes=rng.binomial(reference, rate), expected_n=reference, threshold=100
        )
        for n in rng.poisson(15, size=150).tolist():
            detector = detector.update(rng.binomial(n, rate), n)
            windows += 1
            if detector.alarmed:
                alarms += 1
                detector = detector.restarted()
    assert alarms / windows <= 0.01


@pytest.mark.parametrize(("n", "reference"), [(20, 60), (200, 400), (30, 5000)])
def test_the_p_value_of_one_window_is_honest(n: int, reference: int) -> None:
    rng = np.random.default_rng(n)
    for rate in (0.4, 0.8):
        pairs = zip(rng.binomial(n, rate, 800).tolist(), rng.binomial(reference, rate, 800).tolist(), strict=True)
        small = [binomial_drop_p(s, n, expected_successes=e, expected_n=reference) <= 0.05 for s, e in pairs]
        assert np.mean(small) <= 0.075


def test_a_collapse_shows_in_one_window() -> None:
    assert binomial_drop_p(4, 20, expected_successes=160, expected_n=200) < 1e-5
    assert binomial_drop_p(16, 20, expected_successes=160, expected_n=200) > 0.3
    assert binomial_drop_p(0, 0, expected_successes=160, expected_n=200) == 1
    # The same share over few expected positives says less.
    assert binomial_drop_p(4, 20, expected_successes=8, expected_n=10) > 1e-3


def test_rings_count_for_fewer_than_they_are() -> None:
    rng = np.random.default_rng(3)
    n = np.full(200, 20)
    assert overdispersion(rng.binomial(20, 0.8, 200), n) == pytest.approx(1.0, abs=0.35)
    ringed = overdispersion(4 * rng.binomial(5, 0.8, 200), n)
    assert ringed == pytest.approx(4.0, rel=0.3)
    assert binomial_drop_p(8, 20, expected_successes=160, expected_n=200, dispersion=ringed) > binomial_drop_p(
        8, 20, expected_successes=160, expected_n=200
    )
    assert overdispersion([1, 2], [3, 4]) == 1
    assert overdispersion([0] * 9, [4] * 9) == 1


def test_the_detector_goes_through_json() -> None:
    fresh = RateDetector.start(expected_successes=40, expected_n=50, threshold=1000)
    used = fresh.update(3, 10).update(0, 0)
    for detector in (fresh, used):
        assert RateDetector.from_dict(json.loads(json.dumps(detector.to_dict()))) == detector
    assert used.windows == 1


def test_its_verdict_has_three_answers() -> None:
    fresh = RateDetector.start(expected_successes=160, expected_n=200, threshold=TEN_YEARS)
    assert fresh.verdict().is_undecided
    assert fresh.update(16, 20).verdict().is_passed
    fallen = fresh.update(10, 40).verdict(what="recall")
    assert fallen.is_failed
    assert fallen.sentence.startswith("recall dropped below its expected 0.79")


def test_mistakes_are_named() -> None:
    with pytest.raises(ValueError, match="threshold be ≥ 1"):
        RateDetector.start(expected_successes=4, expected_n=5, threshold=0.5)
    with pytest.raises(ValueError, match=r"\[0, 5\], got 6"):
        RateDetector.start(expected_successes=4, expected_n=5, threshold=9).update(6, 5)
    with pytest.raises(ValueError, match="got 6 of 5"):
        binomial_drop_p(6, 5, expected_successes=1, expected_n=2)
