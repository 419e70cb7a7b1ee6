import pytest
from starlette.datastructures import Headers

from labeller.loopback import refusal

OURS = {"host": "127.0.0.1:8020"}


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.1:8020", "localhost:9", "[::1]:8020", "LOCALHOST"]
)
def test_a_loopback_host_comes_in(host):
    assert refusal("GET", Headers({"host": host})) is None


@pytest.mark.parametrize(
    "host",
    ["", "evil.example", "evil.example:8020", "127.0.0.1.evil.example", "localhost@evil.example",
     "127.0.0.1:8020\n", "localhost:", "[::1", "127.0.0.2"],
)  # fmt: skip
def test_any_other_host_is_refused_even_for_reading(host):
    why = refusal("GET", Headers({"host": host}))

    assert why is not None
    assert why.startswith("Host: expected")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"origin": "http://127.0.0.1:8020"},
        {"origin": "http://127.0.0.1:8020", "sec-fetch-site": "same-origin"},
        {"sec-fetch-site": "none"},
    ],
)
def test_our_own_pages_and_programs_may_write(headers):
    assert refusal("POST", Headers(OURS | headers)) is None


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:9999"},
        {"origin": "http://localhost:8020"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"origin": "http://127.0.0.1:8020", "sec-fetch-site": "cross-site"},
    ],
)
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_another_page_may_not_write(method, headers):
    assert refusal(method, Headers(OURS | headers)) is not None


def test_another_page_may_still_link_here():
    assert refusal("GET", Headers(OURS | {"sec-fetch-site": "cross-site"})) is None
