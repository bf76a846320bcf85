"""What counts as one source of connections, wherever they are counted or slowed down."""

import ipaddress


def source_of(host: str) -> str:
    """Return what counts as one source: an IPv4 address, or the /64 that one IPv6 customer has for himself."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.IPv6Network((address, 64), strict=False))
