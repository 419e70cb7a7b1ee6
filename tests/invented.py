"""Invented identifiers: nobody's, but with the structure and checksums that validators look at.

Addresses are those set aside for documentation, domains for examples, telephone numbers for films.
"""

import zlib
from base64 import b16encode, b32encode, b64encode, urlsafe_b64encode
from collections.abc import Callable
from datetime import UTC, datetime
from ipaddress import IPv4Address
from random import Random
from urllib.parse import quote
from uuid import UUID

DIGITS = "0123456789"
HEX = DIGITS + "abcdef"
LETTERS = "abcdefghijklmnopqrstuvwxyz"
BASE36 = DIGITS + LETTERS
BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
BASE62 = DIGITS + LETTERS.upper() + LETTERS
BECH32 = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
FULL_WIDTH = str.maketrans(DIGITS, "".join(chr(0xFF10 + digit) for digit in range(10)))
NETWORKS_V4 = ("192.0.2", "198.51.100", "203.0.113")
FIRST = ("Marit", "Tobias", "Ingrid", "Anders", "Leona", "Rashid", "Yvette", "Koji", "Paula")
LAST = ("Nordvik", "Castellan", "Brandsma", "Okonjo", "Lindqvist", "Farrow", "Tanabe", "Weiland")
STREETS = ("Heron Lane", "Quarry Road", "Mill Street", "Linden Avenue", "Old Harbour Street")
COLOURS = ("Amber", "Cobalt", "Indigo", "Scarlet", "Umber", "Viridian")
BEASTS = ("Badger", "Cormorant", "Gecko", "Lynx", "Otter", "Wombat")
FOREIGN = ("海辺の家", "Дачный", "Gästehütte", "바다집", "شبكتنا")
FEW_SEED_WORDS = (
    "about", "anchor", "apple", "arctic", "autumn", "bamboo", "bubble", "cactus", "copper",
    "desert", "dragon", "eagle", "engine", "fabric", "fossil", "galaxy", "guitar", "hammer",
    "hockey", "island", "jelly", "jungle", "kitchen", "lemon", "mango", "moon", "mushroom",
    "ocean", "orbit", "oyster", "piano", "puzzle", "rabbit", "ribbon", "salmon", "spider",
    "sunset", "talent", "tiger", "tornado", "trophy", "umbrella", "valley", "velvet", "wheat",
    "whisper", "winter", "zebra",
)  # fmt: skip
"""Hook: a part of BIP-39's English list, until the whole of it is at hand; no checksum is right."""


class Invented(dict[str, str]):
    """Values by name, each made when it is first asked for; the same for the same seed."""

    def __init__(self, seed: str) -> None:
        self.rng = Random(seed)

    def __missing__(self, name: str) -> str:
        self[name] = made = MAKERS[name](self)
        return made

    def among(self, alphabet: str, length: int) -> str:
        return "".join(self.rng.choices(alphabet, k=length))

    def hex(self, length: int) -> str:
        """Lower-case hex that is neither a number nor a word."""
        found = self.among(HEX, length)
        while found.isdigit() or found.isalpha():
            found = self.among(HEX, length)
        return found

    def date(self, pattern: str) -> str:
        """The one instant of these values, written this way."""
        return datetime.fromtimestamp(int(self["epoch"]), UTC).strftime(pattern)


# ------------------------------------------------------------------ encodings


def base(number: int, alphabet: str) -> str:
    """A whole number in the digits of an alphabet.

    >>> base(255, HEX)
    'ff'
    """
    more, last = divmod(number, len(alphabet))
    return (base(more, alphabet) if more else "") + alphabet[last]


def base58(data: bytes) -> str:
    """Bytes as Bitcoin and libp2p write them: a leading zero byte is a 1."""
    zeros = len(data) - len(data.lstrip(b"\0"))
    return "1" * zeros + base(int.from_bytes(data), BASE58)


def base32(data: bytes) -> str:
    """Multibase `b`."""
    return "b" + b32encode(data).decode().rstrip("=").lower()


def bech32(version: int, program: bytes) -> str:
    """A Bitcoin address of a witness program.

    Source:
        BIP-173 and, from version 1 on, BIP-350.
    """
    bits = "".join(f"{byte:08b}" for byte in program)
    groups = [int(bits[at : at + 5].ljust(5, "0"), 2) for at in range(0, len(bits), 5)]
    data = [version, *groups]
    rest = bech32_rest([*data, 0, 0, 0, 0, 0, 0]) ^ (0x2BC830A3 if version else 1)
    check = [rest >> 5 * (5 - place) & 31 for place in range(6)]
    return "bc1" + "".join(BECH32[value] for value in [*data, *check])


def bech32_rest(values: list[int]) -> int:
    """The checksum's remainder of values behind the prefix `bc`: 1, or BIP-350's, when whole."""
    rest = 1
    for value in [3, 3, 0, 2, 3, *values]:
        top, rest = rest >> 25, (rest & 0x1FFFFFF) << 5 ^ value
        for place, term in enumerate((0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)):
            rest ^= term if top >> place & 1 else 0
    return rest


def luhn(digits: str) -> str:
    """The digits with the one that makes their sum right.

    >>> luhn("7992739871")
    '79927398713'
    """
    doubled = [int(digit) * (2 - place % 2) for place, digit in enumerate(reversed(digits))]
    return digits + str(-sum(value // 10 + value % 10 for value in doubled) % 10)


# ------------------------------------------------------------------ one maker for each name


def _multihash(of: Invented) -> bytes:
    return b"\x12\x20" + of.rng.randbytes(32)


def _ed25519(of: Invented) -> bytes:
    """A public key in libp2p's envelope, as an identity multihash."""
    return b"\x00\x24\x08\x01\x12\x20" + of.rng.randbytes(32)


def _secp256k1(of: Invented) -> bytes:
    return b"\x00\x25\x08\x02\x12\x21\x02" + of.rng.randbytes(32)


def _solana(of: Invented) -> str:
    return base58(bytes([of.rng.randrange(16, 256)]) + of.rng.randbytes(31))


def _github(of: Invented) -> str:
    """A token whose last six characters are the checksum of the others."""
    body = of.among(BASE62, 30)
    return "ghp_" + body + base(zlib.crc32(body.encode()), BASE62).rjust(6, "0")


def _jwt(of: Invented) -> str:
    parts = (b'{"alg":"HS256","typ":"JWT"}', b'{"sub":"%d"}' % of.rng.randrange(10**9, 10**10))
    return ".".join(_url64(part) for part in (*parts, of.rng.randbytes(32)))


def _url64(data: bytes) -> str:
    return urlsafe_b64encode(data).decode().rstrip("=")


def _b64(data: bytes) -> str:
    return b64encode(data).decode()


def _octets(of: Invented) -> list[str]:
    return of["quad"].split(".")


def _octal(octet: str) -> str:
    return f"0{int(octet):03o}"


def _link_local(of: Invented) -> str:
    """Made from the hardware address, as many systems do."""
    a, b, c, d, e, f = of["mac"].split(":")
    return f"fe80::{int(a, 16) ^ 2:x}{b}:{c}ff:fe{d}:{e}{f}"


def _degrees(value: str, sides: str) -> str:
    size = abs(float(value))
    minutes = size % 1 * 60
    side = sides[float(value) < 0]
    return f"{int(size)}°{int(minutes):02d}'{int(minutes % 1 * 60):02d}\"{side}"


MAKERS: dict[str, Callable[[Invented], str]] = {
    "quad": lambda of: f"{of.rng.choice(NETWORKS_V4)}.{of.rng.randrange(2, 254)}",
    "quad_head": lambda of: ".".join(_octets(of)[:2]) + ".",
    "quad_rest": lambda of: ".".join(_octets(of)[2:]),
    "quad_integer": lambda of: str(int(IPv4Address(of["quad"]))),
    "quad_hex": lambda of: f"{int(IPv4Address(of['quad'])):08x}",
    "quad_octal": lambda of: ".".join(map(_octal, _octets(of))),
    "quad_dashed": lambda of: of["quad"].replace(".", "-"),
    "quad_reversed": lambda of: ".".join(reversed(_octets(of))),
    "quad_masked": lambda of: ".".join([*_octets(of)[:3], "x"]),
    "quad_spaced": lambda of: of["quad"].replace(".", " . "),
    "quad_wide": lambda of: ".".join([_octets(of)[0].translate(FULL_WIDTH), *_octets(of)[1:]]),
    "quad_ideographic": lambda of: of["quad"].replace(".", "\u3002"),
    "quad_zero_width": lambda of: ".\u200b".join(of["quad"].rsplit(".", 1)),
    "quad_percent": lambda of: of["quad"].replace(".", "%2E"),
    "quad_bracketed": lambda of: of["quad"].replace(".", "[.]"),
    "quad_ascii_hex": lambda of: b16encode(of["quad"].encode()).decode().lower(),
    "quad_and_ssid_b64": lambda of: _b64(f"{of['quad']} {of['network']}".encode()),
    "groups": lambda of: ":".join(of.hex(4) for _ in range(4)),
    "v6_full": lambda of: f"2001:0db8:{of.hex(4)}:{of.hex(4)}:{of['groups']}",
    "v6": lambda of: f"2001:db8::{of.rng.randrange(0x10, 0x10000):x}",
    "v6_mapped": lambda of: f"{of['quad_hex'][:4]}:{of['quad_hex'][4:]}",
    "v6_net32": lambda of: f"3fff:{of.rng.randrange(0x100, 0x1000):x}",  # RFC 9637
    "v6_net48": lambda of: f"2001:db8:{of.hex(4)}",
    "v6_net56": lambda of: f"2001:db8:{of.hex(4)}:{of.rng.randrange(16, 256):x}00",
    "v6_link": _link_local,
    "mac": lambda of: ":".join(
        ["02", *(of.among(HEX, 2) for _ in range(5))]
    ),  # locally administered
    "mac_upper": lambda of: of["mac"].upper(),
    "mac_dashed": lambda of: of["mac"].replace(":", "-"),
    "mac_bare": lambda of: of["mac"].replace(":", ""),
    "mac_dotted": lambda of: ".".join(of["mac_bare"][at : at + 4] for at in (0, 4, 8)),
    "mac_underscored": lambda of: of["mac"].replace(":", "_"),
    "mac_head": lambda of: of["mac_dashed"][:8],
    "mac_rest": lambda of: of["mac_dashed"][8:],
    "mac_tail": lambda of: of["mac_bare"][6:],
    "peer": lambda of: base58(_ed25519(of)),
    "peer_head": lambda of: of["peer"][:20],
    "peer_rest": lambda of: of["peer"][20:],
    "peer_tail": lambda of: of["peer"][-6:],
    "peer_secp": lambda of: base58(_secp256k1(of)),
    "ipns36": lambda of: "k" + base(int.from_bytes(b"\x01\x72" + _ed25519(of)), BASE36),
    "ipns32": lambda of: base32(b"\x01\x72" + _ed25519(of)),
    "cid": lambda of: base32(b"\x01\x70" + _multihash(of)),
    "legacy_cid": lambda of: base58(_multihash(of)),
    "label": lambda of: "box" + of.among(BASE36, 9),
    "first": lambda of: of.rng.choice(FIRST),
    "last": lambda of: of.rng.choice(LAST),
    "user": lambda of: of["first"].lower(),
    "street": lambda of: f"{of.rng.randrange(2, 200)} {of.rng.choice(STREETS)}",
    "domain": lambda of: of.rng.choice(("example.org", "example.net", "mail.example.com")),
    "mail": lambda of: f"{of['user']}.{of['last'].lower()}@{of['domain']}",
    "mail_head": lambda of: of["mail"][: of["mail"].index("@") + 1],
    "mail_rest": lambda of: of["domain"],
    "mail_spoken": lambda of: of["mail"].replace(".", " dot ").replace("@", " at "),
    "area": lambda of: of.rng.choice(("202", "312", "415", "646", "718")),
    "line": lambda of: f"01{of.rng.randrange(100):02d}",  # 555-01xx belongs to nobody
    "phone": lambda of: f"+1{of['area']}555{of['line']}",
    "ethereum": lambda of: "0x" + of.hex(40),
    "bitcoin": lambda of: bech32(0, of.rng.randbytes(20)),
    "taproot": lambda of: bech32(1, of.rng.randbytes(32)),
    "solana": _solana,
    "seed_words": lambda of: " ".join(of.rng.sample(FEW_SEED_WORDS, 12)),
    "jwt": _jwt,
    "aws": lambda of: "AKIA" + of.among("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", 16),
    "github": _github,
    "hugging_face": lambda of: "hf_" + of.among(BASE62[10:], 34),
    "pem_body": lambda of: _b64(of.rng.randbytes(48)),
    "wireguard": lambda of: _b64(of.rng.randbytes(32)),
    "hex64": lambda of: of.hex(64),
    "passphrase": lambda of: of["beast"].lower() + of.among(BASE62, 8),
    "latitude": lambda of: f"{of.rng.uniform(-60, 60):.4f}1",
    "longitude": lambda of: f"{of.rng.uniform(-170, 170):.4f}1",
    "latitude_dms": lambda of: _degrees(of["latitude"], "NS"),
    "longitude_dms": lambda of: _degrees(of["longitude"], "EW"),
    "home_percent": lambda of: quote(f"/home/{of['user']}/", safe=""),
    "colour": lambda of: of.rng.choice(COLOURS),
    "beast": lambda of: of.rng.choice(BEASTS),
    "digit": lambda of: str(of.rng.randrange(10, 100)),
    "network": lambda of: f"{of['colour']}{of['beast']}{of['digit']}",
    "foreign": lambda of: of.rng.choice(FOREIGN) + of["digit"],
    "epoch": lambda of: str(of.rng.randrange(1_700_000_000, 1_780_000_000)),
    "epoch_ms": lambda of: f"{of['epoch']}{of.rng.randrange(1000):03d}",
    "date": lambda of: of.date("%Y-%m-%d"),
    "clock": lambda of: of.date("%H:%M:%S"),
    "syslog_day": lambda of: of.date("%b %e"),
    "http_day": lambda of: of.date("%a, %d %b %Y"),
    "serial": lambda of: of.hex(16),
    "uuid": lambda of: str(UUID(int=of.rng.getrandbits(128), version=4)),
    "imei": lambda of: luhn("00" + of.among(DIGITS, 12)),  # 00 begins test devices
    "imei_number": lambda of: luhn("10" + of.among(DIGITS, 12)),  # a number begins with no zero
}
