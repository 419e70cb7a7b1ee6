"""The labeller's application: pages and API for the people of this machine."""

from getpass import getuser

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.staticfiles import StaticFiles

from labeller import pages, routes
from labeller.loopback import LoopbackOnly
from loop.errors import LabelError, NotFound, UnreadableError
from loop.places import Places


def create_app(places: Places, *, person: str | None = None) -> FastAPI:
    """The application on these places.

    Args:
        places: Where transcripts and labels are.
        person: Who judges here; None: the operating-system user, until people can sign in.
    """
    app = FastAPI(title="bloxloop labeller", docs_url=None, redoc_url=None)
    app.state.places = places
    app.state.person = person or getuser()
    app.include_router(routes.router)
    app.include_router(pages.router)
    app.mount("/static", StaticFiles(directory=pages.HERE / "static"), name="static")
    app.add_middleware(LoopbackOnly)
    app.add_exception_handler(NotFound, _not_found)
    app.add_exception_handler(UnreadableError, _unreadable)
    app.add_exception_handler(LabelError, _label_invalid)
    app.add_exception_handler(RequestValidationError, _request_invalid)
    return app


def _answer(status: int, error: str, detail: str, fields: dict[str, str]) -> JSONResponse:
    return JSONResponse({"error": error, "detail": detail, "fields": fields}, status)


def _not_found(_request: Request, error: Exception) -> JSONResponse:
    return _answer(404, "not_found", str(error), {})


def _unreadable(request: Request, error: Exception) -> Response:
    """A page for who reads pages: it leads on to the next session."""
    if request.url.path.startswith("/api/") or not isinstance(error, UnreadableError):
        return _answer(422, "unreadable", str(error), {})
    return pages.show_unreadable(request, error)


def _label_invalid(_request: Request, error: Exception) -> JSONResponse:
    problems = error.problems if isinstance(error, LabelError) else {}
    return _answer(422, "label_invalid", str(error), problems)


def _request_invalid(_request: Request, error: Exception) -> JSONResponse:
    faults = error.errors() if isinstance(error, RequestValidationError) else ()
    fields = {str((*fault["loc"], "body")[1]): str(fault["msg"]) for fault in faults}
    return _answer(422, "request_invalid", "; ".join(fields.values()), fields)
