"""A real S3 server in this process, behind a proxy that can fail, with credentials of its own."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import boto3
import pytest
from moto.server import ThreadedMotoServer

from loop.settings import Settings
from tests.fault_proxy import FaultProxy

BUCKET = "loop-tests"
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "planted-id",
    "AWS_SECRET_ACCESS_KEY": "planted-secret",
    "AWS_DEFAULT_REGION": "eu-north-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": "/dev/null",
    "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
    "NO_PROXY": "127.0.0.1",
}
"""Nobody's; and those of whoever runs the tests are never looked at."""


@dataclass(frozen=True)
class ObjectStore:
    """The proxy, and a client that goes past it: to look at the bucket, to spoil what is there."""

    proxy: FaultProxy
    behind: Any

    def new_place(self) -> str:
        """A place of its own in the bucket, as LOOP_DEPOT."""
        return f"s3://{BUCKET}/{uuid4().hex}"

    def settings(self, **more: Any) -> dict[str, Any]:
        """What names this store to a depot."""
        return {"s3_endpoint": self.proxy.url, "s3_seconds": 20, **more}

    def objects(self, place: str) -> dict[str, bytes]:
        """Everything that lies at a place, by key."""
        prefix = place.removeprefix(f"s3://{BUCKET}/") + "/"
        pages = self.behind.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
        keys = [one["Key"] for page in pages for one in page.get("Contents", ())]
        return {key.removeprefix(prefix): self._read(key) for key in keys}

    def versions(self, place: str) -> int:
        """How many objects were ever written at a place: the bucket keeps all versions."""
        prefix = place.removeprefix(f"s3://{BUCKET}/") + "/"
        listed = self.behind.get_paginator("list_object_versions")
        pages = listed.paginate(Bucket=BUCKET, Prefix=prefix)
        return sum(len(page.get("Versions", ())) for page in pages)

    def _read(self, key: str) -> bytes:
        return bytes(self.behind.get_object(Bucket=BUCKET, Key=key)["Body"].read())


@contextmanager
def running_store() -> Iterator[ObjectStore]:
    """An object store that lasts as long as the block; its bucket keeps every version."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # it would tell of every request
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    proxy = FaultProxy(server.get_host_and_port())
    proxy.start()
    with pytest.MonkeyPatch.context() as environment:
        for name, value in CREDENTIALS.items():
            environment.setenv(name, value)
        host, port = server.get_host_and_port()
        behind = boto3.client("s3", endpoint_url=f"http://{host}:{port}")
        where = {"LocationConstraint": CREDENTIALS["AWS_DEFAULT_REGION"]}
        behind.create_bucket(Bucket=BUCKET, CreateBucketConfiguration=where)
        behind.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
        yield ObjectStore(proxy, behind)
    proxy.stop()
    server.stop()


def settings_for(store: ObjectStore, home: Any, place: str) -> Settings:
    """Settings of a loop whose depot lies at a place of this store."""
    return Settings(home=home, depot=place, **store.settings())
