"""`python -m intake --port N --private-port M`: serve phones, and on loopback their operator."""

import argparse
import logging
from pathlib import Path

from intake.certificate import Certificate
from intake.parts import make_parts
from intake.serving import LOOPBACK, Listening, serve
from loop.errors import CertificateError
from loop.settings import get_settings


def main() -> None:
    """Serve until stopped; uploads under way are finished first."""
    parser = argparse.ArgumentParser(prog="python -m intake", description=__doc__)
    parser.add_argument("--host", default=LOOPBACK)
    parser.add_argument("--port", type=int, default=8010)
    parser.add_argument("--private-port", type=int, default=8011, help="/ready and /metrics")
    parser.add_argument("--certfile", type=Path, help="serve TLS by itself, with this PEM chain")
    parser.add_argument("--keyfile", type=Path, help="the key of that certificate")
    sent = parser.parse_args()
    if bool(sent.certfile) != bool(sent.keyfile):
        parser.error("--certfile and --keyfile go together")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        tls = Certificate(sent.certfile, sent.keyfile) if sent.certfile else None
    except CertificateError as error:
        parser.error(str(error))
    serve(make_parts(get_settings()), Listening(sent.host, sent.port, sent.private_port, tls))


if __name__ == "__main__":
    main()
