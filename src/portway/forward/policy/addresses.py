"""Classifies addresses that a proxy connects to only on request: private, local, reserved, or an IPv4 address embedded in IPv6. Pure.

IPv4: the special-purpose registry of IANA (RFC 6890). IPv6: only 2000::/3 is assigned for global use (RFC 4291), so everything else is special,
except IPv4 addresses behind NAT64 (RFC 6052), which are judged as what they embed.
"""

from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import NamedTuple

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

METADATA = "a metadata service"
"""These services give credentials to any program of the machine, so `--allow-private` does not include them."""

OWN = "an address of this machine"

_CACHED_MAX = 4096
"""Classified addresses, about 1 MB."""


class SpecialNetwork(NamedTuple):
    """A network of special addresses."""

    network: Network
    kind: str
    """With its article, for "NAME is …": `a private address`."""


def _table(*rows: tuple[str, str]) -> tuple[SpecialNetwork, ...]:
    """Return the networks of a table, the smallest ones first, so that the first match is the most specific."""
    found = [SpecialNetwork(ip_network(network), kind) for kind, networks in rows for network in networks.split()]
    return tuple(sorted(found, key=lambda special: -special.network.prefixlen))


_IPV4 = _table(
    # Clouds: most of them; Azure's host agent; Alibaba; Oracle; tasks of AWS ECS and pods of EKS.
    (METADATA, "169.254.169.254 168.63.129.16 100.100.100.200 192.0.0.192 169.254.170.2 169.254.170.23"),
    ("an unspecified address", "0.0.0.0/8"),  # Linux connects 0.0.0.0 to this machine
    ("a private address", "10.0.0.0/8 172.16.0.0/12 192.168.0.0/16"),
    ("an address shared by a provider's customers (CGNAT)", "100.64.0.0/10"),
    ("a loopback address", "127.0.0.0/8"),
    ("a link-local address", "169.254.0.0/16"),
    ("an address for protocols", "192.0.0.0/24"),
    ("an address for documentation", "192.0.2.0/24 198.51.100.0/24 203.0.113.0/24"),
    ("an address of a 6to4 relay", "192.88.99.0/24"),
    ("an address for benchmarks", "198.18.0.0/15"),
    ("a multicast address", "224.0.0.0/4"),
    ("a broadcast address", "255.255.255.255"),
    ("a reserved address", "240.0.0.0/4"),
)

_IPV6 = _table(
    (METADATA, "fd00:ec2::254 fd00:ec2::23 fd20:ce::254 fd00:42::42"),  # AWS, EKS, Google, Scaleway
    ("an unspecified address", "::/128"),
    ("a loopback address", "::1/128"),
    ("an IPv4-compatible address", "::/96"),
    ("an IPv4-translated address", "::ffff:0:0:0/96"),
    ("an address of a local NAT64", "64:ff9b:1::/48"),
    ("an address that discards data", "100::/64 100:0:0:1::/64"),
    ("an address for protocols", "2001::/23"),
    ("a Teredo address", "2001::/32"),
    ("an address for documentation", "2001:db8::/32 3fff::/20"),
    ("a 6to4 address", "2002::/16"),
    ("a private address", "fc00::/7"),
    ("a link-local address", "fe80::/10"),
    ("a site-local address", "fec0::/10"),
    ("a multicast address", "ff00::/8"),
    ("a reserved address", "::/3 4000::/2 8000::/1"),
)

_NAT64 = IPv6Network("64:ff9b::/96")
_ISATAP = frozenset({0x00005EFE, 0x02005EFE})
"""Upper half of an interface identifier that embeds an IPv4 address (RFC 5214 section 6.1)."""


def canonical_address(address: Address) -> Address:
    """Return the address that the kernel connects to: an IPv4-mapped one is IPv4, and a zone does not matter to a judgement."""
    if isinstance(address, IPv4Address):
        return address
    return address.ipv4_mapped or (IPv6Address(int(address)) if address.scope_id else address)


def embedded_ipv4(address: Address) -> IPv4Address | None:
    """Return the IPv4 address that a translator makes of `address`: NAT64, or ISATAP; None for any other."""
    if isinstance(address, IPv4Address):
        return None
    bits = int(address)
    if address in _NAT64 or (bits >> 32) & 0xFFFFFFFF in _ISATAP:
        return IPv4Address(bits & 0xFFFFFFFF)
    return None


@lru_cache(_CACHED_MAX)
def special_network(address: Address) -> SpecialNetwork | None:
    """Return the smallest special network that contains a canonical address; None for an address of the internet."""
    if isinstance(address, IPv4Address):
        return _smallest(_IPV4, address)
    inner = embedded_ipv4(address)
    special = None if address in _NAT64 else _smallest(_IPV6, address)
    if special is None and inner is not None:
        found = _smallest(_IPV4, inner)
        if found is not None:
            prefix = (int(address) >> 32 << 32) | int(found.network.network_address)
            special = SpecialNetwork(IPv6Network((prefix, 96 + found.network.prefixlen)), found.kind)
    return special


def read_address(host: str) -> Address | None:
    """Return the address of a numeric host in its canonical form, None for a name."""
    try:
        return canonical_address(ip_address(host))
    except ValueError:
        return None


def _smallest(table: tuple[SpecialNetwork, ...], address: Address) -> SpecialNetwork | None:
    return next((special for special in table if address in special.network), None)
