"""Decodes PROXY protocol headers from proxies in front: version 1 (text), and version 2 (see `proxy_header`).

Source: https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt, section 2.1 for the line, 2.2 for the bytes.
"""

import re
from ipaddress import AddressValueError, IPv4Address, IPv6Address

from portway.errors import PeerError
from portway.protocol.proxy_header import Address, ProxyHeader, decode

LINE_BYTES_MAX = 107
"""Longest header of version 1, with CR LF (specification, section 2.1)."""

V2_BYTES_MAX = 4096
"""Longest accepted header of version 2: addresses take 232 bytes at most, load balancers add TLVs."""

_LINE_START = b"PROXY "
_LINE = re.compile(
    rb"PROXY (?:(TCP[46]) ([0-9A-Fa-f:.]+) ([0-9A-Fa-f:.]+) (0|[1-9][0-9]{0,4}) (0|[1-9][0-9]{0,4})|UNKNOWN(?: [ -~]*)?)\r\n"
)
_PORT_MAX = 65535


def decode_inbound(data: bytes) -> tuple[ProxyHeader, int] | None:
    """Return the header and its length in bytes; None while it is incomplete, in which case all of `data` belongs to it.

    Raises:
        PeerError: neither version, or an invalid header; as early as possible.
    """
    if not _LINE_START.startswith(data[: len(_LINE_START)]):
        return decode(data, V2_BYTES_MAX)
    end = data.find(b"\r\n", 0, LINE_BYTES_MAX) + 2
    if end < 2:
        if len(data) >= LINE_BYTES_MAX:
            raise PeerError(f"PROXY line of more than {LINE_BYTES_MAX} bytes")
        return None
    line = _LINE.fullmatch(data[:end])
    if line is None:
        raise PeerError(f"invalid PROXY line {ascii(data[: end - 2])[1:]}: expected PROXY TCP4 or TCP6 with two addresses and two ports")
    kind, *ends = (part.decode("ascii") if part is not None else "" for part in line.groups())
    if not kind:
        return ProxyHeader(local=False), end
    source, destination = (_end(kind, host, port) for host, port in zip(ends[:2], ends[2:], strict=True))
    return ProxyHeader(local=False, source=source, destination=destination), end


def _end(kind: str, host: str, port: str) -> Address:
    """Return one end of a connection."""
    try:
        address = IPv4Address(host) if kind == "TCP4" else IPv6Address(host)
    except AddressValueError:
        raise PeerError(f"PROXY line with {host!r}: invalid address for {kind}") from None
    if int(port) > _PORT_MAX:
        raise PeerError(f"PROXY line with invalid port {port}: expected 0 to {_PORT_MAX}")
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address), int(port)
