"""What is sent, and what becomes known when."""

from datetime import UTC, datetime, timedelta

import msgspec
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from everloop.replay.feed import PaymentsFeed, requests_of
from everloop.replay.world import World, WorldPlan, plan_world

DELAY = timedelta(days=2)
HOUR = timedelta(hours=1)


@pytest.fixture(scope="module")
def plan() -> WorldPlan:
    opens_at = datetime(2025, 1, 6, tzinfo=UTC) + timedelta(days=3)
    return WorldPlan(
        seed=5,
        history_days=3,
        days=4,
        rows_per_day=4_000,
        delay=DELAY,
        change_at=opens_at + timedelta(days=1, hours=7),
    )


@pytest.fixture(scope="module")
def feed(plan: WorldPlan) -> PaymentsFeed:
    return World(plan).feed()


def hours(plan: WorldPlan) -> list[datetime]:
    return [plan.opens_at + number * HOUR for number in range(int((plan.ends_at - plan.opens_at) / HOUR))]


def test_hours_together_are_the_days(plan: WorldPlan, feed: PaymentsFeed) -> None:
    together = pl.concat([feed.rows(at, at + HOUR) for at in hours(plan)])
    assert_frame_equal(together, feed.rows(plan.opens_at, plan.ends_at))
    assert together["id"].n_unique() == together.height > 15_000


def test_nothing_that_is_known_later_is_sent(plan: WorldPlan, feed: PaymentsFeed) -> None:
    assert not {"Class", "action"} & set(feed.rows(plan.opens_at, plan.closes_at).columns)


def test_every_fraud_since_the_opening_is_told_once_and_not_before_it_is_due(
    plan: WorldPlan, feed: PaymentsFeed
) -> None:
    told = {}
    for at in hours(plan):
        for row in feed.outcomes(at, at + HOUR).iter_rows(named=True):
            assert row["id"] not in told
            assert row["Class"] == 1
            observed_at = datetime.fromisoformat(row["observed_at"])
            assert at <= observed_at < at + HOUR
            told[row["id"]] = observed_at
    truth = World(plan).payments.between(plan.opens_at, plan.closes_at).filter(pl.col("Class") == 1)
    assert set(told) == set(truth["id"])
    for row in truth.iter_rows(named=True):
        assert told[row["id"]] == plan.began_at + timedelta(seconds=row["Time"]) + DELAY


def test_requests_hold_the_rows_in_order(plan: WorldPlan, feed: PaymentsFeed) -> None:
    frame = feed.rows(plan.opens_at, plan.opens_at + 2 * HOUR)
    requests = requests_of(frame, rows_per_request=20)
    sent = [row for body in requests.bodies for row in msgspec.json.decode(body)["rows"]]
    assert sent == frame.to_dicts()
    assert pl.concat(requests.ids).to_list() == frame["id"].to_list()
    assert requests.rows == frame.height
    assert max(len(ids) for ids in requests.ids) == 20


def test_an_empty_hour_is_no_request(plan: WorldPlan, feed: PaymentsFeed) -> None:
    assert requests_of(feed.rows(plan.ends_at, plan.ends_at + HOUR), rows_per_request=20).bodies == []


@pytest.mark.parametrize("seed", range(20))
def test_the_hidden_date_follows_from_the_seed(seed: int) -> None:
    plan = plan_world(seed=seed, days=93, history_days=56, rows_per_day=100, drift=True)
    again = plan_world(seed=seed, days=93, history_days=56, rows_per_day=100, drift=True)
    assert plan == again
    assert plan.change_at is not None
    assert 23 <= plan.day_of(plan.change_at) < 28
    assert plan_world(seed=seed, days=93, history_days=56, rows_per_day=100, drift=False).change_at is None
