"""The last net around the public app: a bug is answered and counted, and its message kept by none.

An exception's text may hold what a phone sent; servers log it. So what nobody expected ends here,
and the log gets its type and place alone.
"""

import logging
from threading import ExceptHookArgs

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from intake.metrics import Metrics
from intake.refusals import ANSWERS, BUG, headers_of
from loop.reading import place_of

logger = logging.getLogger(__name__)


class Guard:
    """Wraps an app whose unexpected errors must not reach the server that runs it."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on; where that fails before an answer, give one."""
        begun = False

        async def sending(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, sending)
        except Exception as error:  # noqa: BLE001 - whoever else caught it would log its text
            self._metrics.refused(BUG)
            logger.error("a bug ended a request: %s", place_of(error))  # noqa: TRY400 - no text
            if not begun:
                answer = ANSWERS[BUG]
                told = JSONResponse({"error": answer.error}, answer.status, headers_of(answer))
                await told(scope, receive, send)


def tell_no_text(ended: ExceptHookArgs) -> None:
    """What a thread's end by a bug leaves in the log; Python's own hook prints the whole error."""
    name = ended.thread.name if ended.thread else "unknown"
    place = place_of(ended.exc_value) if ended.exc_value else ended.exc_type.__name__
    logger.error("a bug ended the thread %s: %s", name, place)
