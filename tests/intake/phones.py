"""Phones that upload as fast as they are answered, and a ledger of every answer."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count
from typing import Any

import httpx

from loop.values import Digest, digest_json
from tests.factories import upload


class Phones:
    """Uploads of ever new ids; one that got no 200 is sent again, as its user would do."""

    def __init__(
        self, made: Callable[[int], dict[str, Any]] = upload, pause_s: float = 0.0
    ) -> None:
        """Phones whose uploads are made by number, and which pause after each answer."""
        self._made, self._pause_s = made, pause_s
        self.acknowledged: dict[str, Digest] = {}
        """The ledger: upload ids that were answered 200, and the digest of what was sent."""
        self.unanswered: list[dict[str, Any]] = []
        """Sent, and answered otherwise or not at all; next in line."""
        self.statuses: Counter[int] = Counter()
        self._numbers = count(1)
        self._over = False

    def upload_to(self, url: str) -> None:
        """One phone on one kept connection, until that breaks."""
        with httpx.Client(timeout=120) as client:
            while not self._over and self._post(client, url):
                time.sleep(self._pause_s)

    @contextmanager
    def uploading(self, url: str, phones: int) -> Iterator[None]:
        """So many at once, until the block ends, or the service."""
        self._over = False
        with ThreadPoolExecutor(phones) as pool:
            working: list[Future[None]] = [pool.submit(self.upload_to, url) for _ in range(phones)]
            try:
                yield
            finally:
                self._over = True
        for worker in working:
            worker.result()

    def _post(self, client: httpx.Client, url: str) -> bool:
        sent = self._next()
        try:
            status = client.post(f"{url}/transcripts", json=sent).status_code
        except httpx.TransportError:
            self.unanswered.append(sent)
            return False
        self.statuses[status] += 1
        if status == 200:
            self.acknowledged[sent["upload_id"]] = digest_json(sent)
        else:
            self.unanswered.append(sent)
        return True

    def _next(self) -> dict[str, Any]:
        try:
            return self.unanswered.pop(0)
        except IndexError:
            return self._made(next(self._numbers))
