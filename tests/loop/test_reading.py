import pytest

from loop.errors import DepotAway, StoreError, UnreadableError
from loop.reading import OF_DATA, reading


@pytest.mark.parametrize("kind", OF_DATA, ids=lambda kind: kind.__name__)
def test_what_data_makes_a_rule_raise_names_the_transcript_and_tells_nothing(kind, caplog):
    with pytest.raises(UnreadableError, match="some-id") as raised, reading("some-id"):
        raise kind("sunny")

    assert "sunny" not in str(raised.value) + caplog.text
    assert "some-id" in caplog.text


@pytest.mark.parametrize(
    "error", [OSError("disk"), StoreError("in use"), DepotAway("denied", "s3://b", "403")]
)
def test_a_disk_or_a_store_that_fails_is_no_transcripts_fault(error):
    with pytest.raises(type(error)), reading("some-id"):
        raise error
