"""A set of patterns, prepared so that most targets cost a few lookups. Pure."""

from collections.abc import Iterable
from functools import lru_cache

from portway.forward.policy.addresses import Address, SpecialNetwork, embedded_ipv4, read_address
from portway.forward.policy.patterns import (
    HostPattern,
    NetworkPattern,
    Pattern,
    RegexPattern,
    SuffixPattern,
    format_target,
)

_CACHED_MAX = 4096
"""Remembered decisions about targets, about 1 MB: an expression costs some microseconds, a hundred of them half a millisecond."""


class PatternSet:
    """Patterns of `--allow` or of `--block`."""

    def __init__(self, patterns: Iterable[Pattern] = ()) -> None:
        """Prepare the patterns."""
        self._hosts: dict[str, list[HostPattern]] = {}
        self._suffixes: dict[str, list[SuffixPattern]] = {}
        self._networks: list[NetworkPattern] = []
        self._expressions: list[RegexPattern] = []
        self._count = 0
        for pattern in patterns:
            self._add(pattern)
        self._match_name = lru_cache(_CACHED_MAX)(self._find)

    def __len__(self) -> int:
        return self._count

    @property
    def has_networks(self) -> bool:
        """Whether an address may match that no name did."""
        return bool(self._networks)

    def match_target(self, host: str, port: int) -> Pattern | None:
        """Return a pattern that matches what a client asked for, before any resolution."""
        return self._match_name(host, port) if self._count else None

    def match_address(self, address: Address, port: int) -> NetworkPattern | None:
        """Return a pattern with a network that contains a canonical address, or the IPv4 address embedded in it."""
        if not self._networks:
            return None
        inner = embedded_ipv4(address)
        for pattern in self._networks:
            if pattern.matches(address, port) or (inner is not None and pattern.matches(inner, port)):
                return pattern
        return None

    def names_special(self, address: Address, port: int, special: SpecialNetwork) -> bool:
        """Return whether a pattern names special addresses explicitly: its network lies within theirs.

        0.0.0.0/0 contains every private address, but names none.
        """
        return any(
            pattern.matches(address, port)
            and pattern.network.version == special.network.version
            and pattern.network.prefixlen >= special.network.prefixlen
            for pattern in self._networks
        )

    def _add(self, pattern: Pattern) -> None:
        self._count += 1
        if isinstance(pattern, HostPattern):
            self._hosts.setdefault(pattern.host, []).append(pattern)
        elif isinstance(pattern, SuffixPattern):
            self._suffixes.setdefault(pattern.suffix, []).append(pattern)
        elif isinstance(pattern, NetworkPattern):
            self._networks.append(pattern)
        else:
            self._expressions.append(pattern)

    def _find(self, host: str, port: int) -> Pattern | None:
        for pattern in self._hosts.get(host, ()):
            if port in pattern.ports:
                return pattern
        address = read_address(host)
        for suffix in ("",) if address is not None else suffixes_of(host):
            for found in self._suffixes.get(suffix, ()):
                if port in found.ports:
                    return found
        if self._expressions:
            text = format_target(host, port)
            for candidate in self._expressions:
                if candidate.expression.matches(text):
                    return candidate
        return None if address is None else self.match_address(address, port)


def suffixes_of(host: str) -> Iterable[str]:
    """Yield the proper suffixes of a name with their leading dots, the longest first, and the empty one last."""
    at = host.find(".")
    while at != -1:
        yield host[at:]
        at = host.find(".", at + 1)
    yield ""
