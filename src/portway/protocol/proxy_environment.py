"""The variables HTTPS_PROXY, ALL_PROXY and NO_PROXY, by the rules that curl and Go have in common. Pure."""

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

VARIABLES = ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")
"""In this order; links are TLS connections. HTTP_PROXY is not among them: it is for requests without TLS."""
_EXCEPTIONS = ("no_proxy", "NO_PROXY")


def proxy_variable(host: str, port: int, environ: Mapping[str, str]) -> str | None:
    """Return the name of the variable that names the proxy for `host:port`; None: connect directly.

    This machine is never reached through a proxy, whose `localhost` would be another one.
    """
    if _is_this_machine(host) or is_excepted(host, port, _first(environ, _EXCEPTIONS)[1]):
        return None
    return _first(environ, VARIABLES)[0] or None


def is_excepted(host: str, port: int, exceptions: str) -> bool:
    """Return whether a list as in NO_PROXY contains `host:port`.

    Its entries, separated by commas or spaces: `*`, an address, a network in CIDR notation, a name, which also matches all names below it, or
    `.name` and `*.name`, which match only those. A name or an address may have a port.
    """
    address, name = _address(host), host.lower().rstrip(".")
    return any(_matches(entry, address, name, port) for entry in exceptions.replace(",", " ").lower().split())


def _matches(entry: str, address: IPv4Address | IPv6Address | None, name: str, port: int) -> bool:
    if entry == "*":
        return True
    if "/" in entry:
        try:
            return address is not None and address in ip_network(entry, strict=False)
        except ValueError:
            return False
    entry, entry_port = _split_port(entry)
    if entry_port not in ("", str(port)):
        return False
    if address is not None:
        return _address(entry) == address
    entry = entry.removeprefix("*").rstrip(".")
    if not entry.strip("."):
        return False
    return name.endswith(entry if entry.startswith(".") else f".{entry}") or name == entry


def _split_port(entry: str) -> tuple[str, str]:
    """Return host and port of an entry; an IPv6 address has a port only behind brackets."""
    if entry.startswith("["):
        host, _, port = entry[1:].partition("]")
        return host, port.removeprefix(":")
    if entry.count(":") == 1:
        host, _, port = entry.partition(":")
        return host, port
    return entry, ""


def _first(environ: Mapping[str, str], names: tuple[str, ...]) -> tuple[str, str]:
    """Return the first of these variables that is not empty, with its value."""
    return next(((name, environ[name]) for name in names if environ.get(name, "").strip()), ("", ""))


def _is_this_machine(host: str) -> bool:
    address = _address(host)
    return host.lower().rstrip(".") == "localhost" if address is None else address.is_loopback


def _address(host: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(host.strip("[]"))
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
