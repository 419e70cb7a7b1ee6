"""The app that faces phones: it can write, never read, and shows no page."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from intake.deps import parts_behind
from intake.guard import Guard
from intake.origin import Origin
from intake.parts import Parts
from intake.refusals import Refused, answer_to, headers_of, reason_of
from intake.routes import router
from loop.errors import PrivacyError, SpoolError, TranscriptError

logger = logging.getLogger(__name__)


def create_app(parts: Parts) -> FastAPI:
    """The public app over these parts; they run while it does."""
    app = FastAPI(
        title="bloxloop intake", lifespan=_lifespan, openapi_url=None, docs_url=None, redoc_url=None
    )
    app.state.parts = parts
    app.add_middleware(Origin, proxies=list(parts.limits.proxies))
    app.add_middleware(Guard, metrics=parts.metrics)  # the last one added is the outermost
    app.include_router(router)
    for refusal in (Refused, TranscriptError, PrivacyError, SpoolError):
        app.add_exception_handler(refusal, _refuse)
    app.add_exception_handler(HTTPException, _not_found)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    with app.state.parts.running():
        yield


def _refuse(request: Request, error: Exception) -> JSONResponse:
    if isinstance(error, SpoolError):
        logger.error("an upload was turned away: %s", error)
    parts_behind(request).metrics.refused(reason_of(error))
    answer = answer_to(error)
    return JSONResponse({"error": answer.error}, answer.status, headers_of(answer))


def _not_found(_request: Request, _error: Exception) -> JSONResponse:
    """Another path, or another method on one of ours."""
    return JSONResponse({"error": "not_found"}, 404)
