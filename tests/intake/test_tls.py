"""Intake that serves TLS by itself, on a real socket."""

import socket
import ssl
import subprocess
import sys

import httpx
import pytest

from tests.conftest import needs_program
from tests.factories import upload
from tests.intake.served import connected, rest_of, served


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate for localhost and its key."""
    folder = tmp_path_factory.mktemp("tls")
    asked = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost"]
    named = ["-addext", "subjectAltName=DNS:localhost"]
    files = ["-keyout", folder / "key.pem", "-out", folder / "cert.pem"]
    command = [needs_program("openssl"), *asked, *named, *files]
    subprocess.run(command, check=True, capture_output=True)
    return folder / "cert.pem", folder / "key.pem"


@pytest.fixture
def port(tmp_path, certificate):
    cert, key = certificate
    options = ["--certfile", str(cert), "--keyfile", str(key)]
    with served(tmp_path, options=options) as (url, _process):
        yield httpx.URL(url).port


def test_an_upload_over_tls_is_taken_and_the_answer_asks_for_tls_only(port, certificate):
    trusted = ssl.create_default_context(cafile=certificate[0])
    url = f"https://localhost:{port}/transcripts"
    answer = httpx.post(url, json=upload(), verify=trusted)

    assert (answer.status_code, answer.json()) == (200, {})
    assert "max-age" in answer.headers["Strict-Transport-Security"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "Server" not in answer.headers


def test_what_is_sent_without_tls_to_that_port_gets_no_answer(port):
    with connected(f"http://127.0.0.1:{port}") as line:
        line.sendall(b"POST /transcripts HTTP/1.1\r\nHost: localhost\r\n\r\n")

        assert b"HTTP" not in rest_of(line)


def version_spoken(port, oldest, newest):
    """The TLS version that a client between these two gets; None where the server hangs up."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")  # or the client itself would refuse the old ones
    context.minimum_version, context.maximum_version = oldest, newest
    with socket.create_connection(("127.0.0.1", port)) as line:
        try:
            with context.wrap_socket(line) as spoken:
                return spoken.version()
        except ssl.SSLError:
            return None


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_tls_older_than_1_2_is_refused(port):
    known = ssl.TLSVersion

    assert version_spoken(port, known.TLSv1, known.TLSv1_1) is None
    assert version_spoken(port, known.TLSv1, known.TLSv1_2) == "TLSv1.2"
    assert version_spoken(port, known.TLSv1, known.TLSv1_3) == "TLSv1.3"


def test_a_certificate_without_its_key_is_not_served(certificate):
    command = [sys.executable, "-m", "intake", "--certfile", str(certificate[0])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 2
    assert "--certfile and --keyfile go together" in done.stderr
