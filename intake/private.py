"""The app for operators, on a loopback port of its own: whether intake can work, and its counts."""

from fastapi import FastAPI
from fastapi.responses import JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST

from intake.deps import PartsDep
from intake.parts import Parts


def create_private_app(parts: Parts) -> FastAPI:
    """The operator's app over the parts of a running intake."""
    app = FastAPI(title="bloxloop intake, private", openapi_url=None, docs_url=None, redoc_url=None)
    app.state.parts = parts
    app.add_api_route("/ready", ready)
    app.add_api_route("/metrics", metrics)
    return app


def ready(parts: PartsDep) -> JSONResponse:
    """Whether every part can do its work now; 503 names those that cannot."""
    unready = parts.unready()
    return JSONResponse({"ready": not unready, "unready": unready}, 503 if unready else 200)


def metrics(parts: PartsDep) -> Response:
    """Every count, in Prometheus' text format."""
    return Response(parts.metrics.text(), media_type=CONTENT_TYPE_LATEST)
