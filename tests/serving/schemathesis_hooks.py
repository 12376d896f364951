"""What Schemathesis has to know of the endpoint beside its description."""

from datetime import UTC, datetime

import schemathesis
from hypothesis import strategies as st
from schemathesis.core.parameters import ParameterLocation

# JSON Schema has no words for "from 1970 to a day ahead"; the description says it in its own
schemathesis.openapi.format(
    "date-time",
    st.integers(0, 1_750_000_000).map(lambda at_s: datetime.fromtimestamp(at_s, UTC).isoformat()),
)


@schemathesis.check
def bad_rows_are_told(ctx, response, case):
    """A body that breaks its schema is refused, or (of several rows) the bad ones stand in `errors`."""
    body = None if case.meta is None else case.meta.components.get(ParameterLocation.BODY)
    if body is not None and body.mode.is_negative and response.status_code == 200:
        assert response.json()["errors"], "a body that breaks its schema was taken"
