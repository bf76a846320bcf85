"""What counts as one source of connections, wherever they are counted or slowed down."""

import ipaddress
from functools import lru_cache

KNOWN_MAX = 4096
"""IPv6 addresses whose source is remembered, about 1 MB: working one out takes 8 µs."""


def source_key(host: str) -> str:
    """Return what counts as one source: an IPv4 address, or the /64 that one IPv6 customer has for himself.

    `host` is numeric, as a socket tells it; anything else is a source of its own.
    """
    return _source_of(host) if ":" in host else host


@lru_cache(KNOWN_MAX)
def _source_of(host: str) -> str:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.IPv6Network((address, 64), strict=False))
