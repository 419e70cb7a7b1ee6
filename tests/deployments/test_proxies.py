"""What the files for reverse proxies say."""

import re
from pathlib import Path

import pytest

from loop.settings import Settings

FOLDER = Path(__file__).parents[2] / "deployments"
NGINX, CADDY = (FOLDER / "nginx.conf").read_text(), (FOLDER / "Caddyfile").read_text()
INTAKE, SUPPORT = "127.0.0.1:8010", "127.0.0.1:8000"


def test_nginx_hands_uploads_to_intake_and_everything_of_support_to_support():
    routes = dict(re.findall(r"location (?:= )?(\S+) +\{ proxy_pass http://(\w+);", NGINX))
    servers = dict(re.findall(r"upstream (\w+) \{\s+server (\S+);", NGINX))

    assert {path: servers[name] for path, name in routes.items()} == {
        "/transcripts": INTAKE,
        "/health": INTAKE,
        "/diagnostics": SUPPORT,
        "/admin": SUPPORT,
    }


def test_caddy_hands_uploads_to_intake_and_everything_of_support_to_support():
    paths = dict(re.findall(r"@(\w+) path (.+)", CADDY))
    servers = dict(re.findall(r"handle @(\w+) \{\s+reverse_proxy (\S+)", CADDY))

    assert {path: servers[name] for name, found in paths.items() for path in found.split()} == {
        "/transcripts": INTAKE,
        "/health": INTAKE,
        "/diagnostics": SUPPORT,
        "/admin": SUPPORT,
        "/admin/*": SUPPORT,
    }


def test_intake_is_where_the_proxies_look_for_it():
    assert Settings.model_fields["intake_url"].default == f"http://{INTAKE}"


def test_the_log_of_nginx_holds_no_address_header_query_or_body():
    (form,) = re.findall(r"log_format intake '(.+)';", NGINX)
    logs = re.findall(r"(?m)^\s*access_log (.+);", NGINX)

    assert set(re.findall(r"\$\w+", form)) == {
        "$time_iso8601",
        "$request_method",
        "$intake_route",
        "$status",
        "$request_length",
        "$request_time",
    }
    assert logs == ["off", "/var/log/nginx/intake-access.log intake"]
    assert re.findall(r"error_log \S+ (\w+);", NGINX) == ["crit", "crit"]


@pytest.mark.parametrize(
    "field", ["request>remote_ip", "request>remote_port", "request>client_ip", "request>headers"]
)
def test_every_log_of_caddy_deletes_what_names_a_phone(field):
    assert f"{field} delete" in CADDY
    assert CADDY.count("import scrubbed") == len(re.findall(r"(?m)^\tlog ", CADDY)) == 2


def test_nginx_replaces_what_a_client_says_of_itself():
    assert "proxy_set_header X-Forwarded-For $remote_addr;" in NGINX
    assert "proxy_set_header X-Forwarded-Proto $scheme;" in NGINX


def test_nginx_keeps_bodies_in_memory():
    sizes = dict(re.findall(r"client_(max_body|body_buffer)_size +(\S+);", NGINX))

    assert sizes == {"max_body": "512k", "body_buffer": "512k"}


def test_a_body_that_drips_meets_intakes_own_deadline_behind_either_proxy():
    """Nginx has a deadline between two reads of a body, and none for all of it."""
    (upload,) = re.findall(r"location = /transcripts \{(.+)\}", NGINX)

    assert "proxy_request_buffering off;" in upload
    assert "proxy_request_buffering on" not in NGINX
    assert "request_buffers" not in CADDY
    assert Settings().body_seconds < int(*re.findall(r"read_body (\d+)s", CADDY)) < 15
