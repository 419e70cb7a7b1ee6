import json
import re
from ipaddress import IPv4Address, ip_address, ip_network

import pytest

from tests.factories import event, upload
from tests.invented import BECH32, MAKERS, Invented, base32, base58, bech32_rest, luhn
from tests.leaks import half, leaks, look_alikes, structural, surviving
from tests.phone import anonymise, anonymise_text

FORMS = range(1, 98)
SEEDS = range(3)
ALL = [leak for seed in SEEDS for leak in (*leaks(seed), *structural(seed))]
TEXTS = [leak for seed in SEEDS for leak in leaks(seed)]
DOCUMENTATION = [ip_network(net) for net in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24")]


def as_the_phone_sends(payload):
    return anonymise(upload(events=[event("tool_result", payload)]))["events"][0]["payload"]


def written(value):
    """A payload as text, without the escapes of JSON as text inside JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def drawn(name):
    return [Invented(f"test {number}")[name] for number in range(20)]


# ------------------------------------------------------------------ the corpus


@pytest.mark.parametrize("wanted", ["develop", "report"])
def test_each_half_holds_every_form_and_every_structure(wanted):
    in_half = [leak for leak in (*leaks(), *structural()) if half(leak.template) == wanted]

    assert {leak.number for leak in in_half} == {None, *FORMS}
    assert {leak.kind for leak in in_half} >= {leak.kind for leak in structural()}


def test_no_template_stands_in_the_corpus_twice():
    templates = [leak.template for leak in (*leaks(), *structural())]

    assert len(set(templates)) == len(templates)


def test_a_template_stays_in_its_half():
    assert [half(template) for template in "abcdef"] == [
        *["develop"] * 3,
        *["report"] * 3,
    ]


def test_the_same_seed_makes_the_same_corpus_and_another_other_values():
    assert (leaks(5), structural(5)) == (leaks(5), structural(5))
    assert [leak.template for leak in leaks(5)] == [leak.template for leak in leaks(6)]
    assert len({leak.value for leak in leaks(5)} & {leak.value for leak in leaks(6)}) < 60


def test_every_secret_stands_in_its_leak():
    for leak in ALL:
        assert leak.secrets
        assert all(secret and secret in written(leak.value) for secret in leak.secrets)


def test_every_place_is_filled():
    assert [leak for leak in TEXTS if re.search(r"[{}]", leak.value)] == []


def test_prose_and_addresses_of_nobody_are_not_gated():
    judged = {leak.number: leak.judged for leak in leaks() if leak.judged != "gated"}

    assert judged == {
        **dict.fromkeys((48, 49, 79, 81), "reported"),
        **dict.fromkeys((17, 18), "free"),
    }


def test_there_are_seventeen_look_alikes():
    assert [look_alike.number for look_alike in look_alikes()] == list(range(1, 18))


# ------------------------------------------------------------------ what survives


def test_a_part_of_a_secret_gives_it_away():
    mail = next(leak for leak in leaks() if leak.number == 44)
    secret = mail.secrets[0]

    assert surviving(mail, f"write to {secret[:8]}<MAIL>") == mail.secrets
    assert surviving(mail, {"to": [{secret: 1}]}) == mail.secrets
    assert surviving(mail, f"write to {secret[:7]} <MAIL>") == ()


def test_a_number_gives_itself_away():
    place = next(leak for leak in structural() if leak.kind == "number")

    assert surviving(place, place.value) == place.secrets
    assert surviving(place, {"lat": None, "lon": None}) == ()


# ------------------------------------------------------------------ what the phone makes of it


@pytest.mark.parametrize("number", FORMS)
def test_the_phone_leaves_of_a_form_what_the_corpus_says(number):
    for leak in (leak for leak in TEXTS if leak.number == number):
        sent = anonymise_text(leak.value)

        assert surviving(leak, sent) == leak.left
        assert (sent == leak.value) == (leak.phone == "unchanged")


def test_the_phone_leaves_of_a_structure_what_the_corpus_says():
    for leak in (leak for leak in ALL if leak.number is None):
        sent = as_the_phone_sends(leak.value)

        assert surviving(leak, sent) == leak.left
        assert (sent == leak.value) == (leak.phone == "unchanged")


def test_tier_a_is_what_the_phone_strips_or_leaves_a_residue_of():
    assert {(leak.tier, leak.phone) for leak in ALL} == {
        ("A", "gone"),
        ("A", "residue"),
        ("B", "unchanged"),
    }


def test_the_phone_leaves_sixty_eight_forms_as_they_are():
    assert len({leak.number for leak in leaks() if leak.phone == "unchanged"}) == 68


# ------------------------------------------------------------------ invented, and well made


def test_addresses_are_set_aside_for_documentation():
    for quad in drawn("quad"):
        assert any(IPv4Address(quad) in net for net in DOCUMENTATION)
    for name in ("v6", "v6_full"):
        assert all(ip_address(found) in ip_network("2001:db8::/32") for found in drawn(name))


def test_link_local_addresses_are_addresses():
    assert all(ip_address(found).is_link_local for found in drawn("v6_link"))


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("peer", r"12D3KooW[1-9A-HJ-NP-Za-km-z]{44}"),
        ("peer_secp", r"16Uiu2HA[1-9A-HJ-NP-Za-km-z]{45}"),
        ("legacy_cid", r"Qm[1-9A-HJ-NP-Za-km-z]{44}"),
        ("cid", r"bafybei[a-z2-7]{52}"),
        ("ipns32", r"bafzaajaiaejc[a-z2-7]{52}"),
        ("ipns36", r"k51qzi5uqu5d[0-9a-z]{50}"),
        ("bitcoin", r"bc1q[02-9ac-hj-np-z]{38}"),
        ("taproot", r"bc1p[02-9ac-hj-np-z]{58}"),
        ("solana", r"[1-9A-HJ-NP-Za-km-z]{43,44}"),
        ("github", r"ghp_[0-9A-Za-z]{36}"),
        ("jwt", r"eyJ[\w-]{20,}\.eyJ[\w-]{10,}\.[\w-]{43}"),
        ("phone", r"\+1[0-9]{3}55501[0-9]{2}"),
        ("quad_octal", r"0[0-7]{3}(\.0[0-7]{3}){3}"),
    ],
)
def test_an_identifier_has_the_shape_of_a_real_one(name, pattern):
    assert all(re.fullmatch(pattern, found) for found in drawn(name))


def test_base58_and_base32_agree_with_published_examples():
    assert base58(b"Hello World!") == "2NEpo7TZRRrLZSi2U"
    assert base58(b"\0\0\x28\x7f\xb4\xcd") == "11233QC4"
    assert base32(b"yes mani !") == "bpfsxgidnmfxgsibb"


def test_a_bitcoin_address_has_the_checksum_of_its_version():
    for name, whole in (("bitcoin", 1), ("taproot", 0x2BC830A3)):
        assert {bech32_rest([BECH32.index(a) for a in found[3:]]) for found in drawn(name)} == {
            whole
        }


def test_a_published_address_has_that_checksum_too():
    published = "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4"

    assert bech32_rest([BECH32.index(a) for a in published[3:]]) == 1


def test_an_imei_has_its_check_digit():
    assert all(luhn(found[:-1]) == found for found in drawn("imei") + drawn("imei_number"))


@pytest.mark.parametrize("name", MAKERS)
def test_a_value_is_the_same_for_the_same_seed(name):
    assert drawn(name) == drawn(name)
