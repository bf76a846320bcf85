"""Reads the target that a client asks for; every protocol uses this."""

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address

from portway.errors import PeerError
from portway.forward.interfaces import Target
from portway.protocol.names import split_authority

CACHED_MAX = 1024
"""Cached targets, at most 0.5 MB: clients request the same ones again and again, and parsing takes 5 to 8 µs."""


@lru_cache(CACHED_MAX)
def target_of_authority(authority: bytes) -> Target:
    """Return the target of `host:port`, with an IPv6 address in brackets.

    Raises:
        PeerError: invalid, or without a port.
    """
    host, port = split_authority(authority)
    if port is None:
        raise PeerError(f"no port in {authority[:80]!r}: expected host:port")
    return Target(_canonical(host), port)


@lru_cache(CACHED_MAX)
def target_of_url(authority: bytes, default_port: int) -> Target:
    """Return the target of a URL's authority, without userinfo.

    Raises:
        PeerError: invalid.
    """
    host, port = split_authority(authority)
    return Target(_canonical(host), default_port if port is None else port)


@lru_cache(CACHED_MAX)
def target_of(host: bytes, port: int) -> Target:
    """Return the target of a name or an address without brackets.

    Raises:
        PeerError: invalid.
    """
    if not 0 < port <= 65535:
        raise PeerError(f"invalid port {port}: expected 1 to 65535")
    name, extra = split_authority(b"[" + host + b"]" if b":" in host else host)
    if extra is not None:
        raise PeerError(f"invalid host {host[:80]!r}: expected a name or an address without a port")
    return Target(_canonical(name), port)


def _canonical(host: str) -> str:
    """Return a normalised host without brackets, an address in its shortest form."""
    if host.startswith("["):
        return str(IPv6Address(host[1:-1]))
    try:
        return str(IPv4Address(host))
    except ValueError:
        return host
