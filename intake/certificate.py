"""The certificate of an intake that serves TLS by itself, renewed where it lies."""

import logging
import ssl
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from cryptography.x509 import load_pem_x509_certificates

from loop.errors import CertificateError
from loop.values import utc_now

logger = logging.getLogger(__name__)


class Stamp(NamedTuple):
    """What changes where a file is written or replaced; all 0 where there is none."""

    inode: int = 0
    bytes: int = 0
    written_ns: int = 0


class Certificate:
    """A chain and its key, both PEM files, and the TLS context that serves them."""

    def __init__(self, chain: Path, key: Path) -> None:
        """Read both.

        Raises:
            CertificateError: They do not fit each other, cannot be read, or are out of date.
        """
        self._chain, self._key = chain, key
        self._stamps = self._look()
        self.ends = self._check()
        """When the first certificate of the chain is no longer valid."""
        self.context = self._load(_fresh())

    def renew(self) -> bool:
        """Serve what lies there now to whoever connects next, if it changed and can be served."""
        stamps = self._look()
        if stamps == self._stamps:
            return False
        self._stamps = stamps
        try:
            ends = self._check()
            self._load(self.context)
        except CertificateError as error:
            logger.error("the certificate of before stays: %s", error)  # noqa: TRY400 - says it all
            return False
        self.ends = ends
        logger.info("another certificate is served, until %s", ends)
        return True

    def _check(self) -> datetime:
        """When this chain ends, if it could be served now; nothing is changed."""
        self._load(_fresh())
        try:
            ends = load_pem_x509_certificates(self._chain.read_bytes())[0].not_valid_after_utc
        except (OSError, ValueError) as error:  # replaced at this very moment
            raise CertificateError(f"{self._chain}: {error}") from error
        if ends <= utc_now():
            raise CertificateError(f"{self._chain}: expected a valid certificate, ended {ends}")
        return ends

    def _load(self, context: ssl.SSLContext) -> ssl.SSLContext:
        try:
            context.load_cert_chain(self._chain, self._key)
        except OSError as error:  # ssl.SSLError is one
            raise CertificateError(f"{self._chain} with {self._key}: {error}") from error
        return context

    def _look(self) -> tuple[Stamp, Stamp]:
        return _stamp(self._chain), _stamp(self._key)


def _fresh() -> ssl.SSLContext:
    return ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)  # Python's own defaults: TLS 1.2 at least


def _stamp(path: Path) -> Stamp:
    try:
        found = path.stat()
    except OSError:
        return Stamp()
    return Stamp(found.st_ino, found.st_size, found.st_mtime_ns)
