"""Runs the labeller on this machine only: `python -m labeller --port 8020`."""

import argparse

import uvicorn

from labeller.app import create_app
from loop.places import get_places


def main() -> None:
    """Serve until stopped."""
    parser = argparse.ArgumentParser(prog="labeller", description=__doc__)
    parser.add_argument("--port", type=int, default=8020)
    port = parser.parse_args().port
    uvicorn.run(
        create_app(get_places()),
        host="127.0.0.1",
        port=port,
        ws="none",
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=5,
    )


if __name__ == "__main__":
    main()
