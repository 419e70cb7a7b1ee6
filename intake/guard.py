"""The last net around the public app: a bug is answered and counted, and its message kept by none.

An exception's text may hold what a phone sent; servers log it. So what nobody expected ends here,
and the log gets its type and place alone.
"""

import logging
from pathlib import Path
from traceback import extract_tb

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from intake.metrics import Metrics
from intake.refusals import ANSWERS, BUG, headers_of

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
            logger.error("a bug ended a request: %s", _place_of(error))  # noqa: TRY400 - no text
            if not begun:
                answer = ANSWERS[BUG]
                told = JSONResponse({"error": answer.error}, answer.status, headers_of(answer))
                await told(scope, receive, send)


def _place_of(error: Exception) -> str:
    """An error's type and the line that raised it, and nothing that it says.

    >>> try:
    ...     int("203.0.113.9")
    ... except ValueError as error:
    ...     _place_of(error).split(":")[0]
    'ValueError at <doctest intake.guard._place_of[0]>'
    """
    raised = extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} at {Path(raised.filename).name}:{raised.lineno}"
