"""Only this machine's own pages and programs may ask: until people sign in, this is the door.

A page elsewhere can point its name at 127.0.0.1 (so the Host must be a loopback name) and can make
a browser post here (so Origin and Sec-Fetch-Site must say that the request came from these pages).
"""

import re

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_LOOPBACK = re.compile(r"(?:127\.0\.0\.1|localhost|\[::1\])(?::[0-9]{1,5})?", re.ASCII)
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}
"""On every answer."""


def refusal(method: str, headers: Headers) -> str | None:
    """Why a request may not come in, as a sentence; None: it may."""
    host = headers.get("host", "")
    if _LOOPBACK.fullmatch(host.lower()) is None:
        return f"Host: expected 127.0.0.1, localhost or [::1], got {host!r:.80}"
    if method in _SAFE:
        return None
    if (origin := headers.get("origin")) is not None and origin.lower() != f"http://{host}".lower():
        return f"Origin: expected http://{host}, got {origin!r:.80}"
    if (site := headers.get("sec-fetch-site", "none")) not in ("same-origin", "none"):
        return f"Sec-Fetch-Site: expected same-origin, got {site!r:.80}"
    return None


def _caching(scope: Scope) -> dict[str, str]:
    """Transcripts stay out of caches; the page's own files are asked for again, by their ETag."""
    own_file = scope.get("path", "").startswith("/static/")
    return {"Cache-Control": "no-cache" if own_file else "no-store"}


class LoopbackOnly:
    """ASGI: refuses with 403 what `refusal` names, and puts `HEADERS` on every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or hand it on."""

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS | _caching(scope))
            await send(message)

        answer = self.app
        if scope["type"] == "http" and (why := refusal(scope["method"], Headers(scope=scope))):
            answer = JSONResponse({"error": "refused", "detail": why, "fields": {}}, 403)
        await answer(scope, receive, send_guarded)
