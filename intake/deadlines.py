"""uvicorn's HTTP/1.1 and TLS with deadlines: no slow client holds a connection open (ADR 10)."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import h11
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from intake.refusals import ANSWERS, SLOW_HEADER, Answer


@dataclass(frozen=True)
class Deadlines:
    """Seconds for the parts of one request, each from where the last one ended."""

    header: float
    """From the first byte, or a new connection, to the end of the headers; before them as long for
    the TLS handshake."""
    exchange: float
    """From there to the last byte of body and answer; longer than the app's own body deadline."""


class DeadlineProtocol(H11Protocol):
    """Closes a connection whose headers, or whose whole request, take too long."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        deadlines: Deadlines,
        on_refused: Callable[[str], None],
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._deadlines, self._on_refused = deadlines, on_refused
        self._timer: asyncio.TimerHandle | None = None
        self._in_header = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client is there: its headers are due."""
        super().connection_made(transport)
        self._expect_header()

    def data_received(self, data: bytes) -> None:
        """More bytes; only an end of something moves a deadline."""
        super().data_received(data)
        self._look()

    def send_400_response(self, msg: str) -> None:
        """What is no sound HTTP gets the contract's body too, unless an answer has begun."""
        if self.conn.our_state not in {h11.IDLE, h11.SEND_RESPONSE}:
            self.transport.abort()
            return
        if self.conn.our_state is h11.IDLE:
            self._on_refused("framing")  # in the middle of a body, the app counts who left
        self._answer(ANSWERS["framing"])
        self.transport.close()

    def on_response_complete(self) -> None:
        """Answered; what is left of the body is still due."""
        self._cancel()
        super().on_response_complete()
        self._look()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        self._cancel()
        super().connection_lost(exc)

    def _look(self) -> None:
        """Where in a request the client is now, and which deadline that means."""
        if self.conn.their_state is h11.IDLE:
            self._look_between()
        elif self._in_header or self._timer is None:
            self._in_header = False
            self._arm(self._deadlines.exchange)

    def _look_between(self) -> None:
        begun = bool(self.conn.trailing_data[0])
        if begun and not self._in_header:
            self._expect_header()
        elif not begun:
            self._in_header = False
            self._cancel()  # uvicorn's own keep-alive deadline runs

    def _expect_header(self) -> None:
        self._in_header = True
        self._arm(self._deadlines.header)

    def _arm(self, seconds: float) -> None:
        self._cancel()
        self._timer = self.loop.call_later(seconds, self._too_late)

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_late(self) -> None:
        if self._in_header:
            self._on_refused(SLOW_HEADER)
        self.transport.abort()

    def _answer(self, answer: Answer) -> None:
        body = json.dumps({"error": answer.error}).encode()
        headers = [
            *self.server_state.default_headers,
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
        ]
        head = h11.Response(status_code=answer.status, headers=headers, reason=b"Refused")
        for event in (head, h11.Data(data=body), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")


class DeadlineLoop(asyncio.SelectorEventLoop):
    """An event loop whose servers drop a client that does not finish, or not end, its TLS.

    Python would wait a minute for a handshake and half of one for a goodbye; uvicorn has no way to
    say otherwise.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds

    async def create_server(self, *args: Any, **more: Any) -> asyncio.Server:
        """Python's own server, with these deadlines where it is to speak TLS."""
        if more.get("ssl"):
            more |= {"ssl_handshake_timeout": self._seconds, "ssl_shutdown_timeout": self._seconds}
        return await super().create_server(*args, **more)


def protocol_with(
    deadlines: Deadlines, on_refused: Callable[[str], None]
) -> type[asyncio.Protocol]:
    """What uvicorn takes as its `http` protocol."""
    made = partial(DeadlineProtocol, deadlines=deadlines, on_refused=on_refused)
    return cast("type[asyncio.Protocol]", made)
