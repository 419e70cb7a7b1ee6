"""How intake is served: deadlines, a door that closes before the end, a second port on loopback."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from types import FrameType

import uvicorn
from fastapi import FastAPI

from intake.app import create_app
from intake.certificate import Certificate
from intake.deadlines import DeadlineLoop, Deadlines, protocol_with
from intake.guard import tell_no_text
from intake.parts import Limits, Parts
from intake.private import create_private_app

LOOPBACK = "127.0.0.1"
ALWAYS = [("X-Content-Type-Options", "nosniff"), ("Cache-Control", "no-store")]
HSTS = [("Strict-Transport-Security", "max-age=31536000")]
TICKS_A_LOOK = 10
"""Once a second, whether another certificate lies there."""
FOR_THE_ANSWER_S = 5.0
"""On top of the body's deadline: to check a body, sync it and answer."""


@dataclass(frozen=True)
class Listening:
    """Where intake listens; with a certificate it speaks TLS there by itself."""

    host: str
    port: int
    private_port: int
    certificate: Certificate | None = None


def serve(parts: Parts, where: Listening) -> None:
    """Serve phones until a signal, and on loopback their operator."""
    threading.excepthook = tell_no_text
    server = DrainingServer(_public(parts, where), parts, where.certificate)
    with _beside(create_private_app(parts), where.private_port):
        server.run()


class DrainingServer(uvicorn.Server):
    """At the first signal refuses new uploads and finishes those under way; then ends."""

    def __init__(
        self, config: uvicorn.Config, parts: Parts, certificate: Certificate | None
    ) -> None:
        super().__init__(config)
        self._door, self._metrics, self._certificate = parts.door, parts.metrics, certificate
        if certificate:
            parts.metrics.certificate_ends(certificate.ends)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Close the door; a second signal ends it as uvicorn does."""
        if self._door.closed:
            super().handle_exit(sig, frame)
        self._door.closed = True

    async def on_tick(self, counter: int) -> bool:
        """Whether it is over: ten times a second."""
        if self._door.closed and not self._door.inside:
            self.should_exit = True
        if self._certificate and counter % TICKS_A_LOOK == 0 and self._certificate.renew():
            self._metrics.certificate_ends(self._certificate.ends)
        return await super().on_tick(counter)


def _public(parts: Parts, where: Listening) -> uvicorn.Config:
    tls = where.certificate
    return uvicorn.Config(
        create_app(parts),
        host=where.host,
        port=where.port,
        http=protocol_with(deadlines_of(parts.limits), parts.metrics.refused),
        loop=partial(DeadlineLoop, parts.limits.header_seconds),  # type: ignore[arg-type]
        ws="none",
        access_log=False,  # it would keep addresses
        server_header=False,
        proxy_headers=False,  # the app's own middleware reads them
        timeout_graceful_shutdown=15,
        ssl_context_factory=(lambda _config, _default: tls.context) if tls else None,
        headers=[*ALWAYS, *(HSTS if tls else [])],
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
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, name="private")
    thread.start()
    try:
        yield
    finally:
        server.should_exit = True
        thread.join()
