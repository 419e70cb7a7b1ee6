"""Whose word counts on where an upload comes from, and whether it was readable on its way."""

import pytest
from fastapi.testclient import TestClient

from intake.app import create_app
from intake.origin import prefix_of
from intake.parts import make_parts
from tests.factories import upload
from tests.intake.served import NEAR, settings_in

FAR, OTHER, PROXY = "203.0.113.7", "198.51.100.7", "10.1.2.3"
TLS, PLAIN = {"X-Forwarded-Proto": "https"}, {"X-Forwarded-Proto": "http"}


@pytest.fixture
def status_of(tmp_path):
    """What an upload gets, by where it comes from; each network may send one."""
    settings = settings_in(tmp_path, proxies=f"{PROXY},127.0.0.2", uploads_per_source=1)
    app = create_app(make_parts(settings))

    def ask(peer, headers=None, scheme="http"):
        client = TestClient(app, client=(peer, 1), base_url=f"{scheme}://intake")
        return client.post("/transcripts", json=upload(), headers=headers).status_code

    with TestClient(app, client=NEAR):
        yield ask


def forwarded(*hosts, proto="https"):
    return {"X-Forwarded-For": ", ".join(hosts), "X-Forwarded-Proto": proto}


def test_without_tls_only_this_machine_is_heard(status_of):
    assert status_of("127.0.0.1") == 200
    assert status_of(FAR) == 403
    assert status_of(FAR, scheme="https") == 200


def test_a_refusal_for_want_of_tls_says_so_and_reads_no_body(tmp_path):
    app = create_app(make_parts(settings_in(tmp_path)))
    with TestClient(app, client=(FAR, 1)) as client:
        answer = client.post("/transcripts", content=b" " * 10_000_000)

    assert answer.json() == {"error": "tls_required"}
    assert answer.headers["Connection"] == "close"


def test_a_configured_proxy_is_believed_that_its_client_used_tls(status_of):
    assert status_of(PROXY, forwarded(FAR)) == 200
    assert status_of(PROXY, forwarded(OTHER, proto="http")) == 403


def test_a_configured_proxy_that_does_not_say_is_not_taken_for_this_machine(status_of):
    assert status_of(PROXY) == 403
    assert status_of("127.0.0.2") == 403
    assert status_of("127.0.0.2", forwarded(FAR)) == 200


def test_nobody_else_is_believed(status_of):
    assert status_of(FAR, forwarded("127.0.0.1")) == 403
    assert status_of(FAR, TLS) == 403


def test_who_writes_other_addresses_before_his_own_is_charged_all_the_same(status_of):
    """A proxy appends; what stands before its own word is the client's invention."""
    answers = [status_of(PROXY, forwarded(f"192.0.2.{n}", FAR)) for n in range(3)]

    assert answers == [200, 429, 429]


def test_a_header_of_somebody_who_is_no_proxy_changes_no_charge(status_of):
    answers = [status_of("127.0.0.1", forwarded(f"192.0.{n}.1")) for n in range(3)]

    assert answers == [200, 429, 429]


def test_a_network_is_charged_whatever_address_of_it_is_used(status_of):
    ipv4 = [status_of(f"203.0.113.{n}", scheme="https") for n in (1, 200)]
    ipv6 = [status_of(f"2001:db8:0:1::{n}", scheme="https") for n in ("1", "ffff")]

    assert ipv4 == ipv6 == [200, 429]
    assert status_of("2001:db8:0:2::1", scheme="https") == 200


def test_an_ipv4_address_written_as_ipv6_is_the_same_network():
    assert prefix_of("::ffff:203.0.113.7") == prefix_of("203.0.113.99") == "203.0.113.0/24"


@pytest.mark.parametrize("host", ["", "testclient", "1.2.3", "unix:"])
def test_what_is_no_address_is_one_network(host):
    assert prefix_of(host) == "unknown"


@pytest.mark.parametrize("proxies", ["*", "everybody", "10.0.0.1/8"])
def test_a_list_of_proxies_that_is_not_exact_is_refused(tmp_path, proxies):
    with pytest.raises(ValueError, match=r"."):
        make_parts(settings_in(tmp_path, proxies=proxies))
