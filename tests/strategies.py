"""Hypothesis strategies that several tests share."""

from typing import get_args

from hypothesis import strategies as st

from loop.upload import EventType
from tests.factories import upload

texts = st.text(max_size=40)
"""Any text that UTF-8 can hold, NUL among it."""
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(10**18), 10**18)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts
)
json_values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
payloads = json_values.filter(lambda value: not isinstance(value, list))
event_types = st.sampled_from(get_args(EventType))
times = st.from_regex(r"\+[0-9]{1,9}(\.[0-9]{1,9})?s", fullmatch=True)
events = st.fixed_dictionaries(
    {"type": event_types, "relative_ts": times}, optional={"payload": payloads}
)
uploads = st.builds(
    upload,
    st.integers(0, 10**12 - 1),
    events=st.lists(events, min_size=1, max_size=12),
    user_prompt=st.text(max_size=200),
    user_comment=st.text(max_size=200),
    user_rating=st.sampled_from((-1, 0, 1)),
    scenario_id=st.sampled_from(("disconnected", "not-earning", "cannot-join-pool", "freeform")),
)
"""Valid uploads of schema 1, with payloads that no device would send."""
