"""Patterns of targets, as `--allow` and `--block` take them: `host[:ports]`, `*.suffix`, a network, or `re:` with a regular expression. Pure."""

import re
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import TypeAlias

from portway.config.values import PORT_MAX, PortRange
from portway.errors import ConfigError, PeerError
from portway.forward.policy.addresses import Address, Network
from portway.forward.policy.regexes import Expression
from portway.protocol.names import normalise_host

EXPECTED = "expected HOST, *.SUFFIX or a network, each with optional :PORTS, or re:EXPRESSION"

PATTERN_CHARS_MAX = 4096

ENTRIES_OF_PORTS_MAX = 64
"""Ranges of ports in one pattern."""

_BRACKETED = re.compile(r"\[(?P<address>[^\[\]]*)\](?P<ports>:.*)?")
_NUMERIC_LABEL = re.compile(r"[0-9]+|0x[0-9a-f]*")


@dataclass(frozen=True, slots=True)
class Ports:
    """Ports of a pattern; without ranges, all."""

    ranges: tuple[PortRange, ...] = ()

    def __contains__(self, port: object) -> bool:
        return not self.ranges or any(port in one for one in self.ranges)


@dataclass(frozen=True, slots=True)
class HostPattern:
    """One name."""

    text: str
    host: str
    """Normalised."""
    ports: Ports


@dataclass(frozen=True, slots=True)
class SuffixPattern:
    """All names below a suffix, or every target."""

    text: str
    suffix: str
    """With its leading dot; empty: every name and every address."""
    ports: Ports


@dataclass(frozen=True, slots=True)
class NetworkPattern:
    """All addresses of a network, wherever they come from: given by the client, or the result of a name."""

    text: str
    network: Network
    ports: Ports

    def matches(self, address: Address, port: int) -> bool:
        """Return whether a canonical address with a port is in the pattern."""
        return address in self.network and port in self.ports


@dataclass(frozen=True, slots=True)
class RegexPattern:
    """Targets whose `host:port` an expression matches."""

    text: str
    expression: Expression


Pattern: TypeAlias = HostPattern | SuffixPattern | NetworkPattern | RegexPattern


def read_pattern(text: str) -> Pattern:
    """Return a pattern.

    Raises:
        ConfigError: it is invalid.
    """
    if len(text) > PATTERN_CHARS_MAX:
        raise ConfigError(f"pattern too long ({len(text)} characters): expected at most {PATTERN_CHARS_MAX}")
    if text.startswith("re:"):
        return RegexPattern(text, Expression(text.removeprefix("re:")))
    host, ports = _split(text)
    if host == "*":
        return SuffixPattern(text, "", ports)
    if host.startswith("*."):
        return SuffixPattern(text, "." + _name(text, host.removeprefix("*.")), ports)
    if "/" in host or ":" in host or _is_numeric(host):
        return NetworkPattern(text, _network(text, host), ports)
    return HostPattern(text, _name(text, host), ports)


def read_patterns(text: str) -> tuple[Pattern, ...]:
    """Return the patterns of a setting, one per line: expressions and lists of ports contain commas.

    Raises:
        ConfigError: one of them is invalid.
    """
    return tuple(read_pattern(line.strip()) for line in text.splitlines() if line.strip())


def unanchored_pattern(expression: str) -> RegexPattern:
    """Return a pattern for an expression that may match any part of `host:port`, as in a file of http-tunnel.

    Raises:
        ConfigError: it is invalid.
    """
    return RegexPattern(expression, Expression(expression, whole=False))


def format_target(host: str, port: int) -> str:
    """Return `host:port` as expressions see it, with an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _split(text: str) -> tuple[str, Ports]:
    """Split a pattern into its host and its ports."""
    bracketed = _BRACKETED.fullmatch(text)
    if bracketed is not None and ":" in bracketed["address"]:
        return bracketed["address"], _ports(text, bracketed["ports"])
    if text.count(":") > 1:
        return text, Ports()  # an IPv6 address or network without ports
    host, colon, ports = text.partition(":")
    return host, _ports(text, colon + ports)


def _ports(text: str, ports: str | None) -> Ports:
    if not ports:
        return Ports()
    items = ports.removeprefix(":").split(",")
    if len(items) > ENTRIES_OF_PORTS_MAX:
        raise ConfigError(f"invalid pattern {text[:80]!a}: too many ports: expected at most {ENTRIES_OF_PORTS_MAX} ranges")
    try:
        return Ports(tuple(PortRange.parse(item.strip()) for item in items))
    except ConfigError as exc:
        raise ConfigError(f"invalid pattern {text[:80]!a}: expected ports from 1 to {PORT_MAX} like 443 or 80,8000-8099") from exc


def _network(text: str, host: str) -> Network:
    try:
        if "%" in host:
            raise ValueError("zones are not supported")
        return _unmapped(ip_network(host))
    except ValueError as exc:
        hint = f"; did you mean {ip_network(host, strict=False)}?" if "host bits" in str(exc) else ""
        raise ConfigError(f"invalid pattern {text[:80]!a}: invalid address or network: expected 10.0.0.0/8 or 192.0.2.7{hint}") from exc


def _unmapped(network: Network) -> Network:
    """Return a network of IPv4-mapped addresses as one of IPv4, which is how addresses are judged."""
    if isinstance(network, IPv6Network) and network.prefixlen >= 96 and network.network_address.ipv4_mapped is not None:
        return IPv4Network((int(network.network_address) & 0xFFFFFFFF, network.prefixlen - 96))
    return network


def _name(text: str, name: str) -> str:
    if not name.isascii():
        raise ConfigError(f"invalid pattern {text[:80]!a}: expected the ASCII form of the name{_ascii_form(name)}")
    try:
        if "/" in name or ":" in name or _is_numeric(name):
            raise PeerError(name)
        return normalise_host(name)
    except PeerError as exc:
        raise ConfigError(f"invalid pattern {text[:80]!a}: {EXPECTED}") from exc


def _is_numeric(host: str) -> bool:
    """Return whether every resolver takes `host` for an address, in whatever spelling: its last label is a number."""
    return _NUMERIC_LABEL.fullmatch(host.lower().removesuffix(".").rpartition(".")[2]) is not None


def _ascii_form(name: str) -> str:
    try:
        return ", {}".format(name.encode("idna").decode("ascii"))
    except UnicodeError:
        return ""
