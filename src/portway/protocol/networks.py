"""Networks of addresses, as operators write them, and whether an address is in one of them."""

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from portway.errors import ConfigError

NETWORKS_MAX = 256
"""Every new address is compared with each; a CDN has some twenty."""


class Networks:
    """A set of networks. `in` takes numeric hosts, as sockets and proxies tell them; what is none is in no network."""

    def __init__(self, networks: Iterable[str]) -> None:
        """Read networks as `read_networks` returns them."""
        self._networks = tuple(ip_network(network) for network in networks)
        self._known = lru_cache(maxsize=4096)(self._contains)
        """The same few proxies come again and again."""

    def __contains__(self, host: object) -> bool:
        return isinstance(host, str) and self._known(host)

    def __bool__(self) -> bool:
        return bool(self._networks)

    def _contains(self, host: str) -> bool:
        address = plain_address(host)
        return address is not None and any(address in network for network in self._networks)


def plain_address(host: str) -> IPv4Address | IPv6Address | None:
    """Return a numeric host as an address, without zone, and of IPv4 where it came in IPv6 form; None if it is none."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def read_networks(text: str) -> tuple[str, ...]:
    """Return the networks that a list names: `10.0.0.0/8, 192.0.2.7, 2001:db8::/32`.

    Raises:
        ConfigError: one of them is no network, or there are too many.
    """
    found = []
    for item in text.split(","):
        try:
            network: IPv4Network | IPv6Network = ip_network(item.strip())
        except ValueError as exc:
            raise ConfigError(f"expected networks like 10.0.0.0/8 or 192.0.2.7, got {item.strip()!r}: {exc}") from exc
        found.append(str(network))
    if len(found) > NETWORKS_MAX:
        raise ConfigError(f"expected at most {NETWORKS_MAX} networks, got {len(found)}")
    return tuple(found)
