"""uvicorn's HTTP/1.1 with deadlines: no connection is held open by a slow client (ADR 10)."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import h11
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Deadlines:
    """Seconds for the parts of one request, each from where the last one ended."""

    header: float
    """From the first byte, or a new connection, to the end of the headers."""
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
        on_slow_header: Callable[[], None],
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._deadlines, self._on_slow_header = deadlines, on_slow_header
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
            self._on_slow_header()
        self.transport.abort()


def protocol_with(
    deadlines: Deadlines, on_slow_header: Callable[[], None]
) -> type[asyncio.Protocol]:
    """What uvicorn takes as its `http` protocol."""
    made = partial(DeadlineProtocol, deadlines=deadlines, on_slow_header=on_slow_header)
    return cast("type[asyncio.Protocol]", made)
