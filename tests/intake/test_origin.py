"""Whose word counts on where an upload comes from, and whether it was readable on its way."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address, IPv6Address

import pytest
from fastapi import Request
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st

from intake.app import create_app
from intake.origin import Origin, network_of, prefix_of
from intake.parts import make_parts
from loop.settings import Settings
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


# ------------------------------------------------------------------ any header


PROXIES = (PROXY, "10.9.0.0/16", "2001:db8:ffff::1")
TRUSTED = st.sampled_from([PROXY, "10.9.1.2", "10.9.255.255", "2001:db8:ffff::1"])
FOREIGN = st.sampled_from([FAR, "10.1.2.4", "10.10.0.1", "2001:db8:ffff::2", "fe80::1%eth0", "::1"])
GARBAGE = st.sampled_from(
    ["", " ", "unknown", "_hidden", "[::1", "1.2.3.4.5", "*", "\xff", "a" * 300]
)
ODD = GARBAGE | st.text(st.characters(max_codepoint=255, exclude_characters="\r\n,"), max_size=20)
hops = st.lists(TRUSTED | FOREIGN | ODD, max_size=5)


async def nothing(*_messages):
    raise AssertionError("nobody reads or answers here")


def network(peer, *lines):
    """The network that is charged for a request with these X-Forwarded-For lines."""
    found = []

    async def inside(scope, _receive, _send):
        found.append(network_of(Request(scope)))

    told = [(b"x-forwarded-for", ", ".join(line).encode("latin-1")) for line in lines]
    scope = {"type": "http", "client": (peer, 1), "headers": told, "scheme": "http", "path": "/"}
    asyncio.run(Origin(inside, list(PROXIES))(scope, nothing, nothing))
    return found[0]


@given(FOREIGN | ODD, st.lists(hops, max_size=3))
def test_who_is_no_proxy_is_charged_for_its_own_network_whatever_it_writes(peer, lines):
    assert network(peer, *lines) == prefix_of(peer)


@given(TRUSTED, FOREIGN, st.lists(TRUSTED, min_size=1, max_size=3), st.lists(hops, max_size=3))
def test_no_hop_before_the_last_foreign_one_is_believed(peer, last, behind, forged):
    """Every trusted hop wrote who spoke to it; the first that is not trusted is who is charged."""
    assert network(peer, *forged, [last]) == prefix_of(last)
    assert network(peer, *forged, [last, *behind]) == prefix_of(last)
    assert network(peer, *forged, [last], behind) == prefix_of(last)


@given(TRUSTED | FOREIGN | ODD, st.lists(hops, max_size=3))
def test_whatever_stands_in_a_header_there_is_one_network_to_charge(peer, lines):
    found = network(peer, *lines)

    assert found == "unknown" or found.endswith(("/24", "/64"))


@given(st.integers(0, 2**32 - 1).map(IPv4Address))
def test_an_ipv4_address_is_the_same_network_in_either_form(address):
    mapped = IPv6Address(f"::ffff:{address}")

    assert prefix_of(str(address)) == prefix_of(str(mapped)) == prefix_of(mapped.exploded)
    assert prefix_of(str(address)) == f"{IPv4Address(int(address) & ~0xFF)}/24"


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_all_addresses_of_a_64_are_one_network_and_those_of_another_are_not(net, one, other):
    first, second = (str(IPv6Address(net << 64 | host)) for host in (one, other))
    beside = str(IPv6Address((net ^ 1) << 64 | one))
    if IPv6Address(first).ipv4_mapped or IPv6Address(second).ipv4_mapped:
        return

    assert prefix_of(first) == prefix_of(second) != prefix_of(beside)


@given(st.lists(ODD | FOREIGN, max_size=4))
def test_no_header_is_a_server_error(phone, hosts):
    told = [("X-Forwarded-Proto", "https")] + [("X-Forwarded-For", host) for host in hosts]
    raw = [(name.encode(), value.encode("latin-1")) for name, value in told]

    assert phone.post("/transcripts", content=b"{}", headers=raw).status_code in (403, 415)


@pytest.fixture(scope="module")
def phone(tmp_path_factory):
    settings = settings_in(tmp_path_factory.mktemp("origin"), proxies=",".join(PROXIES))
    with TestClient(create_app(make_parts(settings)), client=(PROXY, 1)) as client:
        yield client


def test_an_address_may_come_with_its_port(status_of):
    assert status_of(PROXY, forwarded(f"{FAR}:4711")) == 200
    assert status_of(PROXY, forwarded(f"{FAR}:4712")) == 429
    assert status_of(PROXY, forwarded("[2001:db8::1]:4711")) == 200
    assert status_of(PROXY, forwarded("2001:db8::2")) == 429


# ------------------------------------------------------------------ many at once


def test_of_a_burst_from_one_64_exactly_the_allowed_are_taken_and_each_is_charged_once(tmp_path):
    parts = make_parts(settings_in(tmp_path, uploads_per_source=40))
    app = create_app(parts)

    def send(number):
        client = TestClient(app, client=(f"2001:db8::{number:x}", 1), base_url="https://intake")
        sent = {"json": upload(number)} if number % 2 else {"content": b"{"}
        return client.post("/transcripts", **sent).status_code

    with TestClient(app, client=NEAR), ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(send, range(100)))
        others = TestClient(app, client=("2001:db8:0:1::1", 1), base_url="https://intake")
        other = others.post("/transcripts", json=upload(1000)).status_code

    assert len(answers) - answers.count(429) == 40
    assert set(answers) <= {200, 415, 429}
    assert other == 200


def test_of_a_flood_of_near_duplicates_from_one_24_a_hundred_a_day_are_taken(tmp_path):
    few = {"uploads_per_source": Settings().uploads_per_source}
    app = create_app(make_parts(settings_in(tmp_path, **few)))
    with TestClient(app, client=NEAR):
        answers = [
            TestClient(app, client=(f"203.0.113.{n % 256}", 1), base_url="https://intake")
            .post("/transcripts", json=upload(n, user_comment=f"again {n}"))
            .status_code
            for n in range(150)
        ]

    assert answers == [200] * 100 + [429] * 50
