"""Intake that serves TLS by itself, on a real socket."""

import socket
import ssl
import subprocess
import sys

import httpx
import pytest

from tests.factories import upload
from tests.intake.certificates import write_certificate
from tests.intake.served import connected, free_port, measured, rest_of, served
from tests.processes import until


@pytest.fixture
def certificate(tmp_path):
    """A certificate for localhost and its key."""
    return write_certificate(tmp_path)


def served_with(certificate, private_port=None, **settings):
    chain, key = certificate
    options = ["--certfile", str(chain), "--keyfile", str(key)]
    return served(chain.parent, private_port, options, **settings)


@pytest.fixture
def port(certificate):
    with served_with(certificate) as (url, _process):
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


@pytest.mark.parametrize("begun", [b"", b"\x16\x03\x01\x02\x00\x01"], ids=["nothing", "begun"])
def test_a_handshake_that_never_ends_is_cut_off(certificate, begun):
    with served_with(certificate, header_seconds=0.3) as (url, _process), connected(url) as line:
        line.settimeout(40)  # Python's own deadline is a minute
        line.sendall(begun)

        assert rest_of(line) == b""


def test_headers_that_never_end_are_cut_off_over_tls_too(certificate):
    private = free_port()
    trusted = ssl.create_default_context(cafile=certificate[0])
    with (
        served_with(certificate, private, header_seconds=0.3) as (url, _process),
        connected(url) as line,
        trusted.wrap_socket(line, server_hostname="localhost") as spoken,
    ):
        spoken.sendall(b"POST /trans")

        assert rest_of(spoken) == b""
        assert 'intake_refused_total{reason="slow_header"} 1.0' in measured(private)


def certificate_seen(port):
    return ssl.get_server_certificate(("127.0.0.1", port))


def expiry_told(private):
    name = "intake_certificate_expires_timestamp_seconds "
    (line,) = [line for line in measured(private) if line.startswith(name)]
    return float(line.removeprefix(name))


def test_a_renewed_certificate_is_served_without_a_restart_and_its_end_is_told(certificate):
    private = free_port()
    with served_with(certificate, private) as (url, _process):
        before = certificate_seen(httpx.URL(url).port), expiry_told(private)
        chain, _key = write_certificate(certificate[0].parent, days=90)
        until(lambda: certificate_seen(httpx.URL(url).port) == chain.read_text())
        until(lambda: expiry_told(private) > before[1] + 59 * 24 * 3600)

    assert before[0] != chain.read_text()


def refused_start(*options):
    command = [sys.executable, "-m", "intake", *map(str, options)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


def test_a_certificate_without_its_key_is_not_served(certificate):
    status, said = refused_start("--certfile", certificate[0])

    assert status == 2
    assert "--certfile and --keyfile go together" in said


def test_a_certificate_that_has_ended_is_not_served(tmp_path):
    chain, key = write_certificate(tmp_path, days=-1)
    status, said = refused_start("--certfile", chain, "--keyfile", key)

    assert status == 2
    assert "expected a valid certificate, ended" in said
