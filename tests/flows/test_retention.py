"""The flow that deletes what is older than its period, and the page that it leaves."""

from datetime import timedelta

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from prefect.client.schemas.sorting import ArtifactSort

from flows.retention import retention
from loop.ingest import ingest_uploads
from loop.report import retention_markdown
from loop.retention import find_due
from loop.upload import Record
from loop.values import digest_bytes, utc_now
from tests.factories import upload


@pytest.fixture
def old(places):
    """An object that is due."""
    day = utc_now().date() - timedelta(days=31)
    data = Record(received=day, privacy="1", redacted={}, upload=upload()).to_bytes()
    places.depot.put(key := f"raw/{upload()['upload_id']}/{digest_bytes(data)}.json", data)
    ingest_uploads(places)
    return key


def pages():
    """The texts of the page, the newest first."""
    asked = ArtifactFilter(key=ArtifactFilterKey(any_=["retention"]))
    with get_client(sync_client=True) as client:
        found = client.read_artifacts(artifact_filter=asked, sort=ArtifactSort.CREATED_DESC)
    return [str(artifact.data) for artifact in found]


def test_a_dry_run_shows_what_would_go_and_a_run_deletes_it(places, old):
    due = find_due(places, utc_now())
    retention(dry_run=True)
    there = list(places.depot.keys("raw/"))
    retention()

    assert due.raw == (old,)
    assert there == [old]
    assert pages()[:2] == [retention_markdown(due, dry_run=now) for now in (False, True)]
    assert list(places.depot.keys("raw/")) == []
