import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from everloop.ids import routing_unit
from everloop.rollout import Exposure, Routing, assign, assign_many
from everloop.rollout.routing import share_limit

KEYS = st.lists(st.text(max_size=12), max_size=60)
SHARES = st.floats(0.0, 1.0)


def routing(*shares: float) -> Routing:
    challengers = tuple(
        Exposure(version=number + 2, share=share, mode="canary", salt=f"salt{number}")
        for number, share in enumerate(shares)
    )
    return Routing(model="fraud", revision=1, champion=1, challengers=challengers)


@given(KEYS, st.lists(SHARES, max_size=3))
def test_many_keys_are_assigned_as_each_alone(keys, shares):
    one = routing(*shares)
    assert assign_many(one, keys) == [assign(one, key) for key in keys]


@given(KEYS, SHARES, SHARES)
def test_a_growing_share_only_adds_keys(keys, one, two):
    low, high = sorted((one, two))
    before = {key for key in keys if assign(routing(low), key).side == "challenger"}
    after = {key for key in keys if assign(routing(high), key).side == "challenger"}
    assert before <= after


@given(KEYS)
def test_all_means_all_and_none_means_none(keys):
    assert all(one.version == 2 for one in assign_many(routing(1.0), keys))
    assert all(one.version == 1 for one in assign_many(routing(0.0), keys))


@given(st.text(max_size=20), SHARES)
def test_the_share_is_compared_exactly(key, share):
    exposed = assign(routing(share), key).side == "challenger"
    assert exposed == (routing_unit("salt0", key) < share_limit(share))
    assert share_limit(1.0) == 1 << 64
    assert share_limit(0.0) == 0


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5])
def test_a_step_exposes_its_share(share):
    answers = assign_many(routing(share), [f"card{number}" for number in range(20_000)])
    exposed = np.mean([one.side == "challenger" for one in answers])
    assert abs(exposed - share) < 5 * np.sqrt(share * (1 - share) / 20_000)
    assert {one.propensity for one in answers} == {share, 1 - share}


def test_propensities_of_several_challengers_are_the_shares_they_get():
    answers = assign_many(routing(0.2, 0.5), [f"card{number}" for number in range(20_000)])
    for version, expected in ((2, 0.2), (3, 0.4), (1, 0.4)):
        got = [one for one in answers if one.version == version]
        assert abs(len(got) / 20_000 - expected) < 0.02
        assert got[0].propensity == pytest.approx(expected)


def test_what_cannot_be_routed_is_refused():
    with pytest.raises(ValueError, match="share"):
        Exposure(version=2, share=1.4, mode="canary", salt="s")
    with pytest.raises(ValueError, match="shadow"):
        Exposure(version=2, share=0.1, mode="shadow", salt="s")
    with pytest.raises(ValueError, match="no champion"):
        assign(Routing(model="fraud", revision=0), "k")


def test_loaded_holds_the_previous_champion_too():
    one = Routing(
        model="fraud", revision=3, champion=2, previous=1,
        challengers=(Exposure(version=3, share=0.0, mode="shadow", salt="s"),),
    )  # fmt: skip
    assert one.live == (2, 3)
    assert one.loaded == (2, 3, 1)
    assert [one.exposure(version) for version in (1, 2, 3)] == [0.0, 1.0, 0.0]
