"""Serves the release repository to devices: model bytes with Range, manifests, and the pointer.

Read-only, and only what devices need: the journal, which names people, stays inside.
`python -m deployments.releases --port N` on the loopback address.
"""

import argparse
import re
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from loop.repository import POINTER
from loop.settings import get_settings

NAME = re.compile(r"(?!\.)[A-Za-z0-9._-]+")
"""Hidden names are uploads under way."""
FOREVER = {"Cache-Control": "public, max-age=31536000, immutable"}
BRIEFLY = {"Cache-Control": "public, max-age=60, must-revalidate"}


def create_app(root: Path) -> Starlette:
    """An app that serves the release repository in a folder."""

    def pointer(request: Request) -> Response:
        # read whole: the file may be replaced between a look at its size and its last byte
        data = _file(root, POINTER).read_bytes()
        return Response(data, media_type="application/json", headers=BRIEFLY)

    def written_once(request: Request) -> Response:
        return FileResponse(_file(root, request.scope["path"].removeprefix("/")), headers=FOREVER)

    return Starlette(
        routes=[
            Route(f"/{POINTER}", pointer),
            Route("/manifests/{name}", written_once),
            Route("/models/{version}/{name}", written_once),
            Route("/health", lambda request: JSONResponse({"status": "ok"})),
        ]
    )


def _file(root: Path, key: str) -> Path:
    path = root / key
    plain = all(NAME.fullmatch(part) for part in key.split("/"))
    if not plain or not path.is_file() or path.is_symlink():
        raise HTTPException(404)
    return path


def main() -> None:
    """Serve the repository of this machine's settings until stopped."""
    parser = argparse.ArgumentParser(description="Serve the release repository.")
    parser.add_argument("--port", type=int, required=True)
    arguments = parser.parse_args()
    app = create_app(get_settings().releases_root)
    uvicorn.run(app, host="127.0.0.1", port=arguments.port, log_level="warning")


if __name__ == "__main__":
    main()
