"""Real nginx and Caddy by their files, before a running intake: what their logs tell of a phone."""

import os
import ssl
import subprocess
from contextlib import contextmanager

import httpx
import pytest

from tests.conftest import needs_program
from tests.deployments.test_proxies import CADDY, INTAKE, NGINX, SUPPORT
from tests.factories import upload
from tests.intake.certificates import write_certificate
from tests.intake.served import connected, free_port, served
from tests.processes import until

PHONE = "127.9.8.7"
MARKS = ["planted", PHONE]
SITE = "ai-training.example.org"
LETS_ENCRYPT = f"/etc/letsencrypt/live/{SITE}"


def nginx(folder, port, text):
    """The command of an nginx by its file, on other ports and in a folder of its own."""
    changes = {
        "    listen [::]:443 ssl http2;\n": "",
        "    listen [::]:80;\n": "",
        "listen 443 ": f"listen {port} ",
        "listen 80;": f"listen {free_port()};",
        f"{LETS_ENCRYPT}/fullchain.pem": f"{folder}/chain.pem",
        f"{LETS_ENCRYPT}/privkey.pem": f"{folder}/key.pem",
        "/var/log/nginx": str(folder),
    }
    around = f"daemon off; pid {folder}/pid; error_log {folder}/main-error.log; events {{}}\n"
    (folder / "nginx.conf").write_text(f"{around}http {{\n{replaced(text, changes)}\n}}\n")
    program = needs_program("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    return [program, "-p", str(folder), "-c", str(folder / "nginx.conf")]


def caddy(folder, port, text):
    """Likewise a Caddy, which writes its log where errors go."""
    tls = f"tls {folder}/chain.pem {folder}/key.pem"
    changes = {
        "\n{\n": "\n{\n\tadmin off\n\tauto_https disable_redirects\n",
        f"\n{SITE} {{\n": f"\nhttps://localhost:{port} {{\n\t{tls}\n",
    }
    (folder / "Caddyfile").write_text(replaced(text, changes))
    return [needs_program("caddy"), "run", "--config", str(folder / "Caddyfile")]


def replaced(text, pairs):
    for old, new in pairs.items():
        assert old in text
        text = text.replace(old, new)
    return text


@contextmanager
def proxied(folder, command, port):
    """A proxy that runs, and the URL where phones reach it."""
    url, homes = f"https://localhost:{port}", {"HOME": folder, "XDG_DATA_HOME": folder}
    with (folder / "stderr.log").open("wb") as log:
        process = subprocess.Popen(command, env=os.environ | homes, stdout=log, stderr=log)
    try:
        until(lambda: process.poll() is not None or listens(url))
        yield url
    finally:
        process.terminate()
        process.wait()


def listens(url):
    try:
        connected(url).close()
    except ConnectionRefusedError:
        return False
    return True


def asked(url, chain):
    """The answers to a phone with the mark in path, query, header and body."""
    trusted = ssl.create_default_context(cafile=chain)
    from_afar = httpx.HTTPTransport(local_address=PHONE, verify=trusted)
    with httpx.Client(base_url=url, transport=from_afar, headers={"X-Planted": "planted"}) as phone:
        kept = phone.post("/transcripts?planted", json=upload(user_comment="planted"))
        others = [phone.get(path) for path in ("/planted", "/diagnostics?planted")]
    return [answer.status_code for answer in (kept, *others)]


def marks_logged(folder, proxy, text):
    """Those of the marks that are in the logs of a proxy by this text."""
    chain, _key = write_certificate(folder)
    (folder / "home").mkdir()
    port = free_port()
    with served(folder / "home", proxies="127.0.0.1") as (url, _process):
        places = {INTAKE: url.removeprefix("http://"), SUPPORT: f"127.0.0.1:{free_port()}"}
        with proxied(folder, proxy(folder, port, replaced(text, places)), port) as front:
            assert asked(front, chain) == [200, 404, 502]
    said = "".join(path.read_text() for path in folder.glob("*.log"))
    assert "POST" in said
    return [mark for mark in MARKS if mark in said]


@pytest.mark.parametrize(("proxy", "text"), [(nginx, NGINX), (caddy, CADDY)])
def test_no_log_of_a_proxy_names_a_phone_or_what_it_sent(tmp_path, proxy, text):
    assert marks_logged(tmp_path, proxy, text) == []


@pytest.mark.parametrize(
    ("proxy", "text"),
    [
        (nginx, replaced(NGINX, {"access.log intake;": "access.log combined;"})),
        (caddy, replaced(CADDY, {"import scrubbed": ""})),
    ],
)
def test_without_its_scrubbing_the_same_log_names_both(tmp_path, proxy, text):
    assert marks_logged(tmp_path, proxy, text) == MARKS
