"""Creates the fields that describe a visitor to an origin; the only source of these fields (threats H2)."""

import re
from collections.abc import Sequence

from portway.protocol.http1.fields import Field
from portway.protocol.networks import plain_address

_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_IPV4 = re.compile(rf"{_OCTET}(?:\.{_OCTET}){{3}}", re.ASCII)
"""The canonical form of IPv4 addresses, as reported by the kernel; a match costs a fifth of `ip_address`."""


def forwarded_fields(addresses: Sequence[str], host: bytes, scheme: str, port: bytes = b"") -> list[Field]:
    """Return X-Forwarded-For, -Host, -Proto, -Port if there is one, and Forwarded (RFC 7239).

    `addresses` are numeric: the visitor's, then those of proxies. `host` is a Host value that `normalise_host` has accepted,
    `scheme` is `http` or `https`.
    """
    nodes = [visitor_address(address) for address in addresses]
    quoted = host.replace(b"\\", b"\\\\").replace(b'"', b'\\"')
    first, *others = [f'for="[{node}]"' if ":" in node else f"for={node}" for node in nodes]
    fields = [
        (b"X-Forwarded-For", ", ".join(nodes).encode("ascii")),
        (b"X-Forwarded-Host", host),
        (b"X-Forwarded-Proto", scheme.encode("ascii")),
    ]
    if port:
        fields.append((b"X-Forwarded-Port", port))
    element = b'%b;host="%b";proto=%b' % (first.encode("ascii"), quoted, scheme.encode("ascii"))
    fields.append((b"Forwarded", b", ".join([element, *(node.encode("ascii") for node in others)])))
    return fields


def request_start(now_s: float) -> bytes:
    """Return the line of X-Request-Start: the time at the edge, in microseconds since 1970, in the format of load balancers.

    An origin with a correct clock can compute from it how long the request was in transit. A line and not a field, because it is
    the only one that differs for every request.
    """
    return b"X-Request-Start: t=%d\r\n" % (now_s * 1e6)


def visitor_address(visitor_host: str) -> str:
    """Return an address without zone; an IPv4-mapped IPv6 address is returned as IPv4."""
    if _IPV4.fullmatch(visitor_host) is not None:
        return visitor_host
    address = plain_address(visitor_host)
    return "unknown" if address is None else str(address)
