"""Making the depot that a setting names: a folder on this machine, or a bucket."""

from pathlib import Path

from loop.depot import Depot, FolderDepot
from loop.settings import S3, Settings


def open_depot(place: Path | str, settings: Settings) -> Depot:
    """The depot in a folder or at s3://bucket/prefix; nothing is asked yet."""
    return FolderDepot(place) if isinstance(place, Path) else _in_bucket(place, settings)


def _in_bucket(place: str, settings: Settings) -> Depot:
    from loop.s3_depot import Bucket, S3Depot

    name, _, prefix = place.removeprefix(S3).partition("/")
    bucket = Bucket(
        name=name,
        prefix=f"{prefix}/" if prefix else "",
        endpoint=settings.s3_endpoint or None,
        seconds=settings.s3_seconds,
    )
    return S3Depot(bucket, settings.copies / name / prefix)
