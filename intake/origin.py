"""Where a request comes from, and whether nobody on its way could read it."""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from fastapi import Request
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

UNKNOWN = "unknown"
PREFIX = {4: 24, 6: 64}
"""What one subscriber may hold of the address space: a limit by full address limits nobody."""


class Origin:
    """ASGI middleware: believes what configured proxies say of a client, and nobody else."""

    def __init__(self, app: ASGIApp, proxies: list[str]) -> None:
        self._inside = ProxyHeadersMiddleware(app, trusted_hosts=proxies)  # type: ignore[arg-type]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Note who is at the other end of the connection, before a proxy's word replaces it."""
        if scope["type"] == "http":
            peer = (scope.get("client") or ("",))[0]
            near = is_loopback(peer) and peer not in self._inside.trusted_hosts
            scope["state"] = {**scope.get("state", {}), "near": near}
        await self._inside(scope, receive, send)  # type: ignore[arg-type]


def is_confidential(request: Request) -> bool:
    """TLS, here or at a configured proxy that says so; or a program on this very machine."""
    return request.url.scheme == "https" or bool(request.state.near)


def network_of(request: Request) -> str:
    """The /24 or /64 that a request comes from."""
    return prefix_of(request.client.host if request.client else "")


def prefix_of(host: str) -> str:
    """The network around an address.

    >>> prefix_of("203.0.113.77"), prefix_of("::ffff:203.0.113.9"), prefix_of("2001:db8::1")
    ('203.0.113.0/24', '203.0.113.0/24', '2001:db8::/64')
    """
    address = _address(host)
    if address is None:
        return UNKNOWN
    return str(ip_network((int(address), PREFIX[address.version]), strict=False))


def is_loopback(host: str) -> bool:
    """Whether an address is this machine's own."""
    address = _address(host)
    return address is not None and address.is_loopback


def _address(host: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
