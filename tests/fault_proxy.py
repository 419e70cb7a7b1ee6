"""An HTTP proxy before an object store that fails as asked, and writes down what it was asked for.

moto keeps a body without comparing it with its checksum, and looks at a condition and writes in two
steps. So the proxy compares, and lets one request through at a time.
"""

import asyncio
import base64
import hashlib
import json
from collections.abc import Coroutine
from fnmatch import fnmatchcase
from pathlib import Path
from threading import Thread
from typing import Any, Literal, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

Full = Literal["full", "over_quota", "over_bucket_quota"]
Refusal = Full | Literal["error_500", "refused", "denied", "skewed", "no_bucket", "conflict"]
Fault = Refusal | Literal["down", "slow", "hang", "half", "lost"]
"""Refuses connections; answers with an error; answers late, never, half, or not at all although the
store did what it was asked."""
REFUSALS: dict[Refusal, tuple[int, str]] = {
    "error_500": (500, "InternalError"),
    "refused": (400, "InvalidRequest"),
    "denied": (403, "AccessDenied"),
    "skewed": (403, "RequestTimeTooSkewed"),
    "no_bucket": (404, "NoSuchBucket"),
    "conflict": (409, "ConditionalRequestConflict"),
    # as MinIO, Ceph and again MinIO say it
    "full": (507, "XMinioStorageFull"),
    "over_quota": (403, "QuotaExceeded"),
    "over_bucket_quota": (400, "XMinioAdminBucketQuotaExceeded"),
}


class Asked(NamedTuple):
    """One request, as it came."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    head: bytes
    body: bytes

    @property
    def action(self) -> str:
        """The permission that Amazon would ask for."""
        if "/" not in self.path.strip("/"):
            return "s3:ListBucket" if self.method in ("GET", "HEAD") else "s3:OnBucket"
        return {"PUT": "s3:PutObject", "POST": "s3:PutObject", "DELETE": "s3:DeleteObject"}.get(
            self.method, "s3:GetObject"
        )

    def is_whole(self) -> bool:
        """Whether the body has the sha256 that its sender promised, if any."""
        promised = self.headers.get("x-amz-checksum-sha256")
        return promised in (None, base64.b64encode(hashlib.sha256(self.body).digest()).decode())


class Policy:
    """A policy as files of Amazon's have it: what is not allowed is denied."""

    def __init__(self, file: Path, bucket: str) -> None:
        text = file.read_text().replace("BUCKET", bucket)
        self._statements: list[dict[str, Any]] = json.loads(text)["Statement"]

    def allows(self, asked: Asked) -> bool:
        return any(self._fits(statement, asked) for statement in self._statements)

    def _fits(self, statement: dict[str, Any], asked: Asked) -> bool:
        assert statement["Effect"] == "Allow"
        absent = statement.get("Condition", {}).get("Null", {})
        return (
            asked.action == statement["Action"]
            and fnmatchcase(f"arn:aws:s3:::{asked.path.strip('/')}", statement["Resource"])
            and all(
                (name.removeprefix("s3:") not in asked.headers) == (wanted == "true")
                for name, wanted in absent.items()
            )
        )


class FaultProxy:
    """Listens on a port of its own, in a thread of its own; how it fails may change at any time.

    `once` holds the faults of the next requests, each for one of them.
    """

    def __init__(self, store: tuple[str, int]) -> None:
        self.store = store
        self.fault: Fault | None = None
        self.once: list[Fault | None] = []
        self.late_s = 2.0
        self.policy: Policy | None = None
        self.asked: list[Asked] = []
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, name="fault proxy", daemon=True)
        self._server: asyncio.Server | None = None
        self._port = 0
        self._one_at_a_time = asyncio.Lock()
        self._serving: set[asyncio.Task[None] | None] = set()

    def start(self) -> None:
        self._thread.start()
        self._run(self._listen())

    def stop(self) -> None:
        self.fault = None
        self._run(self._leave())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def fail(self, fault: Fault | None) -> None:
        """Fail like this from now on; None: pass everything on."""
        self.fault = fault
        self._run(self._close() if fault == "down" else self._listen())

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _listen(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)
            self._port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _leave(self) -> None:
        await self._close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        self._serving.add(task)  # asyncio itself forgets it once its client has left
        try:
            asked = await _read(reader, writer)
            self.asked.append(asked)
            writer.write(await self._answer(asked))
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):  # the client went away
            return
        finally:
            self._serving.discard(task)
            writer.close()

    async def _answer(self, asked: Asked) -> bytes:
        fault = self.once.pop(0) if self.once else self.fault
        while fault == "hang":
            await asyncio.sleep(0.01)
            if self.fault != "hang":
                return b""
        if fault in REFUSALS:
            return _refusal(*REFUSALS[fault])
        if fault == "slow":
            await asyncio.sleep(self.late_s)
        answer = await self._passed(asked)
        kept = {"half": len(answer) // 2, "lost": 0}.get(fault or "", len(answer))
        return answer[:kept]

    async def _passed(self, asked: Asked) -> bytes:
        if self.policy and not self.policy.allows(asked):
            return _refusal(403, "AccessDenied")
        if not asked.is_whole():
            return _refusal(400, "BadDigest")
        async with self._one_at_a_time:
            return await self._forward(asked)

    async def _forward(self, asked: Asked) -> bytes:
        reader, writer = await asyncio.open_connection(*self.store)
        try:
            writer.write(asked.head + asked.body)
            await writer.drain()
            return await reader.read()
        finally:
            writer.close()


async def _read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Asked:
    head = await reader.readuntil(b"\r\n\r\n")
    first, *rest = head.decode("latin-1").strip().split("\r\n")
    method, target, _version = first.split(" ")
    headers = {
        name.lower(): value.strip() for name, _, value in (one.partition(":") for one in rest)
    }
    if headers.pop("expect", None):
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    headers["connection"] = "close"
    told = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    where = urlsplit(target)
    query = parse_qs(where.query, keep_blank_values=True)
    again = f"{first}\r\n{told}\r\n".encode("latin-1")
    return Asked(method, unquote(where.path), query, headers, again, body)


def _refusal(status: int, code: str) -> bytes:
    body = f"<Error><Code>{code}</Code><Message>as asked</Message></Error>".encode()
    head = f"HTTP/1.1 {status} {code}\r\nContent-Type: application/xml\r\n"
    return f"{head}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body
