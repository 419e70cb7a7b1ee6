"""The table of identifiers: how each looks, and the checks that tell it from its look-alikes."""

import re
from collections.abc import Callable, Iterable, Iterator
from functools import cache, cached_property, lru_cache
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from loop.errors import FactsError
from loop.plain import Span
from loop.sieve import Sieve
from loop.values import Json, Value
from loop.written import read_written

TABLE = Path(__file__).parent / "data/privacy_rules.yaml"
_AFTER_VERSION = re.compile(r" oid\b|-(?:alpha|beta|dev|pre|rc)")
_CAMEL = re.compile(r"(?<=[a-z])(?=size\b)")
_NUMBER = re.compile(r"[0-9]+")
_KNOT = re.compile(r"(?<=[A-Za-z])(?=[0-9])|(?<=[0-9])(?=[A-Za-z])")
_DAY = re.compile(r"(?:19|20)[0-9]{2}-[0-9]{2}-[0-9]{2}")
HIGHEST_VERSION = 100
"""A letter before four numbers under this makes them a version, as in v1.2.3.4."""
MIN_GROUP = 3
"""Digits between two dots of a telephone number; a version has fewer."""
LEAST_DIGITS = 10
"""A number of fewer digits may be a day, a postal code or a measure."""

Check = Literal[
    "has_digit",
    "ipv4",
    "ipv4_glued",
    "ipv4_masked",
    "ipv6",
    "jumbled",
    "knotted",
    "mac_other",
    "mail",
    "mail_in_words",
    "mixed",
    "network_name",
    "no_measure",
    "octets",
    "own_host",
    "password",
    "personal_name",
    "phone",
    "phone_abroad",
    "phone_at_home",
    "phone_said",
    "seed_words",
]


class Rule(Value):
    """One kind of identifier, how it looks, and what must and must not look like it."""

    id: str
    tier: Literal["A", "B"]
    placeholder: str
    joins: bool = False
    pattern: str
    group: int = 0
    check: Check | None = None
    hits: Annotated[tuple[str, ...], Field(min_length=1)]
    clean: Annotated[tuple[str, ...], Field(min_length=1)]

    @cached_property
    def compiled(self) -> re.Pattern[str]:
        """The pattern with ASCII word boundaries, as the phone's JavaScript has them."""
        return re.compile(self.pattern, re.ASCII)

    def matches(self, text: str) -> Iterator[re.Match[str]]:
        """The identifiers in a text, each with its context."""
        check = _CHECKS[self.check] if self.check else bool
        return filter(check, self.compiled.finditer(text))

    def found(self, text: str) -> Iterator[Span]:
        """Where the identifiers stand in a text."""
        return (Span(*match.span(self.group)) for match in self.matches(text))


Finding = tuple[Span, Rule]


class Named(Value):
    """What the key in front of a value tells, whatever the value looks like."""

    keys: frozenset[str]
    placeholder: str
    hits: Annotated[tuple[dict[str, Json], ...], Field(min_length=1)]
    clean: Annotated[tuple[dict[str, Json], ...], Field(min_length=1)]
    """Objects."""


class Numbers(Named):
    """Numbers that identify somebody by the key they stand under, however that is written."""

    id: str
    ranges: tuple[tuple[float, float], ...]
    beside: frozenset[str] = frozenset()
    """One of these keys must stand in the same object; empty: none need."""

    def tell(self, key: str, number: float, siblings: frozenset[str]) -> bool:
        """Whether this number under this key does."""
        near = not self.beside or not self.beside.isdisjoint(siblings)
        return near and key.lower() in self.keys and any(a <= number <= b for a, b in self.ranges)


class Rules(Value):
    """The whole table."""

    rules: tuple[Rule, ...]
    numbers: tuple[Numbers, ...]
    network_key: Named
    known_ipv4: frozenset[str]
    version_words: frozenset[str]
    measured: frozenset[str]
    units: frozenset[str]
    built: frozenset[str]
    not_names: frozenset[str]
    not_passwords: frozenset[str]
    shared_users: frozenset[str]
    protocol_hosts: frozenset[str]
    units_of_systemd: frozenset[str]
    key_words: frozenset[str]
    own_hosts: tuple[str, ...]

    @cached_property
    def sieve(self) -> Sieve:
        """Every pattern at once."""
        return Sieve([rule.pattern for rule in self.rules])

    def likely(self, text: str) -> list[Rule]:
        """The rules that may find something in a text, in the order of the table."""
        return [self.rules[number] for number in self.sieve.named(text)]

    @cached_property
    def telling(self) -> frozenset[str]:
        """The keys that may tell of any value; those of numbers in lower case."""
        return self.network_key.keys.union(*(one.keys for one in self.numbers))


@cache
def rules() -> Rules:
    """Today's rules."""
    return read_written(TABLE, Rules, FactsError)


@lru_cache(4096)
def introduces(key: str) -> bool:
    """Whether a key says what its text is, so that both are to be read together."""
    return any(word in key.lower() for word in rules().key_words)


def findings(text: str) -> Iterator[Finding]:
    """Everything that any rule finds."""
    return ((span, rule) for rule in rules().likely(text) for span in rule.found(text))


def apart(found: Iterable[Finding]) -> Iterator[Finding]:
    """Findings in their order; of two that overlap, the first."""
    done = 0
    for span, rule in sorted(found, key=lambda one: one[0]):
        if span.start >= done:
            yield span, rule
            done = span.end


# --- checks --------------------------------------------------------------------------------------


def _are_octets(match: re.Match[str]) -> bool:
    return all(int(number) <= 255 for number in _NUMBER.findall(match.group())[:4])


def _is_ipv4(match: re.Match[str]) -> bool:
    quad = match.group()
    padded = any(len(octet) > 1 and octet[0] == "0" for octet in quad.split("."))
    if padded or quad in rules().known_ipv4 or not _are_octets(match):
        return False  # the phone does not take padded octets for an address; tier B does
    return not (_is_version(match) or _identifies_nobody(quad))


def _is_ipv4_glued(match: re.Match[str]) -> bool:
    """An address, unless it is a version, nobody's, or a prerelease."""
    if not _is_ipv4(match) or _AFTER_VERSION.match(match.string, match.end()):
        return False
    return max(map(int, match.group().split("."))) >= HIGHEST_VERSION


def _is_ipv4_masked(match: re.Match[str]) -> bool:
    return _are_octets(match) and not _is_version(match)


def _identifies_nobody(quad: str) -> bool:
    address = IPv4Address(".".join(str(int(octet)) for octet in quad.split(".")))
    return address.is_loopback or address.is_unspecified


def _is_version(match: re.Match[str]) -> bool:
    follows = not rules().version_words.isdisjoint(_words_before(match)[-1:])
    return follows or bool(_AFTER_VERSION.match(match.string, match.end()))


def _words_before(match: re.Match[str]) -> list[str]:
    """The last words in front of a match, in lower case and without punctuation."""
    before = match.string[max(0, match.start() - 24) : match.start()].lower()
    return [word.strip(":=,;([\"'") for word in _CAMEL.sub(" ", before).split()]


def _is_no_measure(match: re.Match[str]) -> bool:
    """A number that nothing around it calls a size, a place in memory or a count."""
    after = match.string[match.end() : match.end() + 12].lower().split()
    measured = not rules().measured.isdisjoint(_words_before(match)[-2:])
    return not measured and rules().units.isdisjoint(after[:1])


def _is_ipv6(match: re.Match[str]) -> bool:
    try:
        address = IPv6Address(match.group())
    except ValueError:
        return False
    return not (address.is_reserved or address.is_loopback)


def _is_mac(match: re.Match[str]) -> bool:
    """Digits alone are a number, letters alone a word; six pairs are neither."""
    if "_" in match.group():
        return True
    if not rules().built.isdisjoint(_words_before(match)[-1:]):
        return False
    digits = sum(one.isdigit() for one in match.group())
    return 0 < digits < sum(one.isalnum() for one in match.group())


def _is_jumbled(match: re.Match[str]) -> bool:
    """Letters of both cases and digits, as random characters have and words have not."""
    text = match.group(match.lastindex or 0)
    return all(any(map(kind, text)) for kind in (str.isdigit, str.isupper, str.islower))


def _is_knotted(match: re.Match[str]) -> bool:
    """Digits right beside letters, twice at least: random characters, not a name with a number."""
    return len(_KNOT.findall(match.group(match.lastindex or 0))) > 1


def _is_mixed(match: re.Match[str]) -> bool:
    """No word: a digit among letters, or capitals elsewhere than in front."""
    text = match.group(1)
    digits = sum(map(str.isdigit, text))
    return 0 < digits < len(text) or not (
        digits or text.islower() or text.isupper() or text.istitle()
    )


def _are_seed_words(match: re.Match[str]) -> bool:
    """Twelve words in a row of the list that wallets choose theirs from."""
    known = [word in seed_list() for word in re.findall("[a-z]+", match.group())]
    return any(all(known[at : at + 12]) for at in range(len(known) - 11))


@cache
def seed_list() -> frozenset[str]:
    """The 2048 English words of BIP-39."""
    from mnemonic import Mnemonic

    return frozenset(Mnemonic("english").wordlist)


def _is_mail(match: re.Match[str]) -> bool:
    """No unit of systemd and no account of git."""
    name, _, domain = match.group().partition("@")
    unit = domain.rpartition(".")[2] in rules().units_of_systemd
    method = "-" in name and domain in rules().protocol_hosts
    return not (unit or method or name == "git")


def _is_phone(match: re.Match[str]) -> bool:
    """One dot and no other mark make a decimal number; few digits may measure something."""
    said = match.group()
    if [one for one in said[1:] if not one.isdigit()] == ["."]:
        return False
    return sum(map(str.isdigit, said)) >= LEAST_DIGITS or _is_no_measure(match)


def _is_phone_said(match: re.Match[str]) -> bool:
    """No day and no version, of which a dot parts one or two digits."""
    said = match.group(1)
    version = "." in said and min(map(len, _NUMBER.findall(said))) < MIN_GROUP
    return not (version or _DAY.match(said)) and _is_no_measure(match)


def _is_phone_at_home(match: re.Match[str]) -> bool:
    digits = sum(map(str.isdigit, match.group()))
    return digits >= LEAST_DIGITS and _is_no_measure(match)


def _is_phone_abroad(match: re.Match[str]) -> bool:
    """A number that somebody may have, by the numbering plan of its country code."""
    digits = "".join(filter(str.isdigit, match.group()))
    parts = ((int(digits[2:end]), digits[end:]) for end in (3, 4, 5))
    plans = ((_plan(code), number) for code, number in parts)
    known = any(plan.fullmatch(n) or plan.fullmatch(n.removeprefix("0")) for plan, n in plans)
    return known and _is_no_measure(match)


@cache
def _plan(code: int) -> re.Pattern[str]:
    """The numbers that the first region with a country code gives to homes and mobiles.

    The library's own question costs a hundred times as much, and a text may hold thousands.
    """
    from phonenumbers import COUNTRY_CODE_TO_REGION_CODE, PhoneMetadata

    region = COUNTRY_CODE_TO_REGION_CODE.get(code, [""])[0]
    known = PhoneMetadata.metadata_for_region(region, None)
    kinds = (known.fixed_line, known.mobile) if known else ()
    given = (kind.national_number_pattern for kind in kinds if kind)
    return re.compile("|".join(pattern for pattern in given if pattern) or r"(?!)")


def _is_mail_in_words(match: re.Match[str]) -> bool:
    """Somebody spelt out the dot, too, or at least put the at in brackets."""
    return bool(re.search(r" dot |[(\[](?:dot|at)[)\]]", match.group()))


def _is_network_name(match: re.Match[str]) -> bool:
    return match.group(1).lower() not in rules().not_names


def _is_password(match: re.Match[str]) -> bool:
    said = next(group for group in match.groups() if group is not None)
    return said.lower() not in rules().not_passwords


def _is_personal_name(match: re.Match[str]) -> bool:
    return match.group(1) not in rules().shared_users


def _is_foreign_host(match: re.Match[str]) -> bool:
    return not match.group(1).lower().endswith(rules().own_hosts)


def _has_digit(match: re.Match[str]) -> bool:
    return any(map(str.isdigit, match.group(1)))


_CHECKS: dict[Check, Callable[[re.Match[str]], bool]] = {
    "has_digit": _has_digit,
    "ipv4": _is_ipv4,
    "ipv4_glued": _is_ipv4_glued,
    "ipv4_masked": _is_ipv4_masked,
    "ipv6": _is_ipv6,
    "jumbled": _is_jumbled,
    "knotted": _is_knotted,
    "mac_other": _is_mac,
    "mail": _is_mail,
    "mail_in_words": _is_mail_in_words,
    "mixed": _is_mixed,
    "network_name": _is_network_name,
    "no_measure": _is_no_measure,
    "octets": _are_octets,
    "own_host": _is_foreign_host,
    "password": _is_password,
    "personal_name": _is_personal_name,
    "phone": _is_phone,
    "phone_abroad": _is_phone_abroad,
    "phone_at_home": _is_phone_at_home,
    "phone_said": _is_phone_said,
    "seed_words": _are_seed_words,
}
