import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from deployments.releases import create_app
from tests.candidates import serving
from tests.processes import until

MODEL = bytes(range(256)) * 1000


@pytest.fixture
def root(tmp_path):
    for key, data in (
        ("ai-manifest.json", b'{"pointer": 1}\n'),
        ("manifests/ai-manifest.1.json", b'{"pointer": 1}\n'),
        ("models/v1/model.gguf", MODEL),
        ("models/v1/.new-upload", b"half"),
        ("journal/1.json", b'{"made_by": "ada"}'),
        ("repository.json", b"{}"),
    ):
        (tmp_path / key).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / key).write_bytes(data)
    return tmp_path


@pytest.fixture
def client(root):
    with serving(create_app(root)) as url, httpx.Client(base_url=url, trust_env=False) as client:
        yield client


def test_a_model_is_served_whole_for_a_year(client):
    answer = client.get("/models/v1/model.gguf")

    assert answer.content == MODEL
    assert answer.headers["Content-Length"] == str(len(MODEL))
    assert answer.headers["Accept-Ranges"] == "bytes"
    assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [("0-0", 0, 1), ("100-199", 100, 200), ("255990-", 255_990, 256_000), ("-5", 255_995, 256_000)],
)
def test_a_part_of_a_model_is_served_as_206(client, asked, start, end):
    answer = client.get("/models/v1/model.gguf", headers={"Range": f"bytes={asked}"})

    assert answer.status_code == 206
    assert answer.content == MODEL[start:end]
    assert answer.headers["Content-Range"] == f"bytes {start}-{end - 1}/{len(MODEL)}"


def test_a_part_beyond_the_end_is_416(client):
    answer = client.get("/models/v1/model.gguf", headers={"Range": "bytes=256000-"})

    assert answer.status_code == 416


def test_head_tells_the_size_without_the_bytes(client):
    answer = client.head("/models/v1/model.gguf")

    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["Content-Length"] == str(len(MODEL))


def test_the_pointer_may_be_cached_for_a_minute_only(client):
    answer = client.get("/ai-manifest.json")

    assert answer.json() == {"pointer": 1}
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Cache-Control"] == "public, max-age=60, must-revalidate"


def test_a_numbered_manifest_is_served(client):
    assert client.get("/manifests/ai-manifest.1.json").json() == {"pointer": 1}


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/journal/1.json",
        "/repository.json",
        "/models/v1/.new-upload",
        "/models/v1",
        "/models/v1/other.gguf",
        "/models/v1/..%2f..%2frepository.json",
        "/models/%2e%2e/repository.json",
        "/manifests/..%2frepository.json",
        "/docs",
    ],
)
def test_nothing_but_what_devices_need_is_served(client, path):
    assert client.get(path).status_code == 404


def test_a_link_that_leads_elsewhere_is_not_followed(client, root):
    (root / "models/v1/link.gguf").symlink_to(root / "repository.json")

    assert client.get("/models/v1/link.gguf").status_code == 404


@pytest.mark.parametrize("method", ["PUT", "POST", "DELETE", "PATCH"])
def test_nobody_can_write(client, root, method):
    answer = client.request(method, "/models/v1/model.gguf", content=b"x")

    assert answer.status_code == 405
    assert (root / "models/v1/model.gguf").read_bytes() == MODEL


def test_an_empty_repository_is_healthy_and_has_no_pointer(tmp_path):
    with serving(create_app(tmp_path)) as url:
        health, pointer = (
            httpx.get(f"{url}/{path}", trust_env=False) for path in ("health", "ai-manifest.json")
        )

    assert (health.status_code, pointer.status_code) == (200, 404)


def test_the_program_serves_the_repository_of_its_settings(root):
    port = free_port()
    command = [sys.executable, "-m", "deployments.releases", "--port", str(port)]
    environment = {**os.environ, "LOOP_RELEASES": str(root)}
    with subprocess.Popen(command, env=environment, cwd=Path(__file__).parents[2]) as child:
        try:
            answer = until(lambda: answered(f"http://127.0.0.1:{port}/ai-manifest.json"))
        finally:
            child.send_signal(signal.SIGINT)

    assert json.loads(answer) == {"pointer": 1}


def test_releases_in_a_bucket_are_not_served_from_here_and_it_says_what_to_do():
    command = [sys.executable, "-m", "deployments.releases", "--port", str(free_port())]
    environment = {**os.environ, "LOOP_RELEASES": "s3://releases/blox"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert "LOOP_RELEASES=s3://releases/blox: expected a folder" in done.stderr


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def answered(url: str) -> bytes:
    try:
        return httpx.get(url, trust_env=False).content
    except httpx.TransportError:
        return b""
