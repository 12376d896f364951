from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from everloop.data import Decoder
from everloop.serving.frames import frame_of
from tests.serving.place import CONTRACT, row

DECODER = Decoder(CONTRACT)
ROWS = st.lists(
    st.builds(
        row,
        st.integers(0, 10_000),
        amount=st.one_of(st.integers(0, 2**53), st.floats(0, 1e300), st.none(), st.text(max_size=2)),
        visits=st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1)),
        country=st.one_of(st.none(), st.text(max_size=5)),
        paid_at=st.datetimes().map(lambda at: at.isoformat()),
    ),
    max_size=120,
)


@settings(max_examples=60, deadline=None)
@given(ROWS)
def test_a_frame_of_few_rows_is_the_one_of_its_slow_twin(rows):
    decoded = DECODER.decode(rows)
    assert_frame_equal(frame_of(decoded), decoded.frame)
