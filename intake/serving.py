"""How intake is served: deadlines, a door that closes before the end, a second port on loopback."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Thread
from types import FrameType

import uvicorn
from fastapi import FastAPI

from intake.app import create_app
from intake.deadlines import Deadlines, protocol_with
from intake.door import Door
from intake.parts import Limits, Parts
from intake.private import create_private_app

LOOPBACK = "127.0.0.1"
ALWAYS = [("X-Content-Type-Options", "nosniff"), ("Cache-Control", "no-store")]
HSTS = [("Strict-Transport-Security", "max-age=31536000")]
FOR_THE_ANSWER_S = 5.0
"""On top of the body's deadline: to check a body, sync it and answer."""


@dataclass(frozen=True)
class Listening:
    """Where intake listens; with a certificate and its key it speaks TLS there by itself."""

    host: str
    port: int
    private_port: int
    certfile: str | None = None
    keyfile: str | None = None


def serve(parts: Parts, where: Listening) -> None:
    """Serve phones until a signal, and on loopback their operator."""
    server = DrainingServer(_public(parts, where), parts.door)
    with _beside(create_private_app(parts), where.private_port):
        server.run()


class DrainingServer(uvicorn.Server):
    """At the first signal refuses new uploads and finishes those under way; then ends."""

    def __init__(self, config: uvicorn.Config, door: Door) -> None:
        super().__init__(config)
        self._door = door

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Close the door; a second signal ends it as uvicorn does."""
        if self._door.closed:
            super().handle_exit(sig, frame)
        self._door.closed = True

    async def on_tick(self, counter: int) -> bool:
        """Whether it is over: several times a second."""
        if self._door.closed and not self._door.inside:
            self.should_exit = True
        return await super().on_tick(counter)


def _public(parts: Parts, where: Listening) -> uvicorn.Config:
    return uvicorn.Config(
        create_app(parts),
        host=where.host,
        port=where.port,
        http=protocol_with(deadlines_of(parts.limits), parts.metrics.slow_header),
        ws="none",
        access_log=False,  # it would keep addresses
        server_header=False,
        proxy_headers=False,  # the app's own middleware reads them
        timeout_graceful_shutdown=15,
        ssl_certfile=where.certfile,  # Python's own defaults: TLS 1.2 at least
        ssl_keyfile=where.keyfile,
        headers=[*ALWAYS, *(HSTS if where.certfile else [])],
    )


def deadlines_of(limits: Limits) -> Deadlines:
    """The connection's deadlines around the app's own."""
    return Deadlines(limits.header_seconds, limits.body_seconds + FOR_THE_ANSWER_S)


@contextmanager
def _beside(app: FastAPI, port: int) -> Iterator[None]:
    """Serve another app on loopback, in a thread, for as long as the block lasts."""
    config = uvicorn.Config(
        app, host=LOOPBACK, port=port, access_log=False, log_level="warning", server_header=False
    )
    server = uvicorn.Server(config)
    listening = config.bind_socket()  # here, because a taken port must end the program
    thread = Thread(target=server.run, kwargs={"sockets": [listening]}, name="private")
    thread.start()
    try:
        yield
    finally:
        server.should_exit = True
        thread.join()
