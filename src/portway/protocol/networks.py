"""Sets of IP networks, as written in settings, and membership tests."""

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from portway.errors import ConfigError

NETWORKS_MAX = 256
"""Each new address is compared with all of them; a CDN has about twenty."""


class Networks:
    """A set of networks. `in` accepts numeric hosts, as sockets and proxies report them; anything else is not a member."""

    def __init__(self, networks: Iterable[str]) -> None:
        """Create the set from networks as `read_networks` returns them."""
        self._networks = tuple(ip_network(network) for network in networks)
        self._known = lru_cache(maxsize=4096)(self._contains)
        """Cached, because the same few proxies connect repeatedly."""

    def __contains__(self, host: object) -> bool:
        return isinstance(host, str) and self._known(host)

    def __bool__(self) -> bool:
        return bool(self._networks)

    def _contains(self, host: str) -> bool:
        address = plain_address(host)
        return address is not None and any(address in network for network in self._networks)


def plain_address(host: str) -> IPv4Address | IPv6Address | None:
    """Return a numeric host as an address, without zone and with IPv4-mapped IPv6 as IPv4; None if it is not numeric."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def read_networks(text: str) -> tuple[str, ...]:
    """Return the networks of a comma-separated list: `10.0.0.0/8, 192.0.2.7, 2001:db8::/32`.

    Raises:
        ConfigError: an invalid network, or too many.
    """
    found = []
    for item in text.split(","):
        try:
            network: IPv4Network | IPv6Network = ip_network(item.strip())
        except ValueError as exc:
            raise ConfigError(f"invalid network {item.strip()!r} ({exc}): expected networks like 10.0.0.0/8 or 192.0.2.7") from exc
        found.append(str(network))
    if len(found) > NETWORKS_MAX:
        raise ConfigError(f"too many networks ({len(found)}): expected at most {NETWORKS_MAX}")
    return tuple(found)
