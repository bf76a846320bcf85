"""Access rules of an http tunnel: what its agent asks the server to enforce, checked and prepared. Pure."""

import re
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Literal

from portway.errors import ConfigError, RefusedError
from portway.protocol.control.codes import INVALID_ACCESS
from portway.protocol.control.messages import AccessRules
from portway.protocol.networks import plain_address
from portway.protocol.password_hash import PasswordHash, parse_password_hash

PlainHttp = Literal["redirect", "serve", "refuse"]
"""What happens to a visitor's plain HTTP once the name has HTTPS."""

ADDRESSES_CACHED_MAX = 1024
"""Decisions about addresses that are remembered, about 100 kB for a tunnel with networks."""

_USER = re.compile(r"[^\x00-\x1f\x7f:]{1,64}")
"""RFC 7617 section 2: no colon and no control characters."""


class HttpAccess:
    """The access rules of one tunnel."""

    __slots__ = (
        *("_by_default", "_known_addresses", "_networks"),
        *("accepted", "client_ca", "hsts", "plain_http", "rejected", "restricts_addresses", "users"),
    )

    def __init__(self, rules: AccessRules) -> None:
        """Prepare `rules`, which were checked."""
        self.plain_http: PlainHttp = rules.plain_http
        self.hsts = b"" if rules.hsts_s is None else b"max-age=%d" % rules.hsts_s
        """Value of Strict-Transport-Security (RFC 6797); empty: the field is left to the origin."""
        self.client_ca = rules.client_ca
        """PEM certificates of the CAs that sign visitors' certificates; empty: no certificate is asked for."""
        self.users: dict[bytes, PasswordHash] = {name.encode(): parse_password_hash(text) for name, text in rules.users}
        """By name in UTF-8; without any, no password is asked for."""
        self.accepted: dict[bytes, None] = {}
        """Keyed hashes of credentials that were right; the code that checks passwords adds them, and bounds their number."""
        self.rejected: dict[bytes, None] = {}
        """The same for wrong ones."""
        networks = [(ip_network(text), True) for text in rules.allow_ip] + [(ip_network(text), False) for text in rules.deny_ip]
        self._networks = sorted(networks, key=lambda rule: -rule[0].prefixlen)
        self._by_default = not rules.allow_ip
        self.restricts_addresses = bool(networks)
        self._known_addresses: dict[str, bool] = {}

    def allows_address(self, host: str) -> bool:
        """Return whether a numeric host may use the tunnel: the smallest network that contains it decides.

        An address in none may, unless some are allowed explicitly.
        """
        known = self._known_addresses.get(host)
        if known is None:
            if len(self._known_addresses) >= ADDRESSES_CACHED_MAX:
                self._known_addresses.clear()
            known = self._known_addresses[host] = self._decide(host)
        return known

    def _decide(self, host: str) -> bool:
        address = plain_address(host)
        if address is None:
            return False
        return next((allowed for network, allowed in self._networks if address in network), self._by_default)


DEFAULT = HttpAccess(AccessRules())
"""The rules of a tunnel that asks for none."""


def check_access(rules: AccessRules) -> None:
    """Check that rules are valid.

    Raises:
        RefusedError: `invalid_access`, with what was expected.
    """
    names = set()
    for name, text in rules.users:
        if _USER.fullmatch(name) is None or name in names:
            raise _refused(f"invalid or repeated user name {name[:80]!a}", "Give names of 1 to 64 characters without a colon, each once.")
        names.add(name)
        try:
            parse_password_hash(text)
        except ConfigError as exc:
            raise _refused(f"user {name!a}: {exc}", "Set the password again with `portway passwd`.") from exc
    if rules.client_ca and rules.plain_http == "serve":
        raise _refused("visitors without TLS have no certificate", "Leave out --plain-http serve, or --client-ca.")
    allowed, denied = ({read_network(text) for text in texts} for texts in (rules.allow_ip, rules.deny_ip))
    if allowed & denied:
        raise _refused(f"the network {next(iter(allowed & denied))} is both allowed and denied", "Leave out one of the two.")


def read_network(text: str) -> IPv4Network | IPv6Network:
    """Return a network such as `10.0.0.0/8` or `192.0.2.7`.

    Raises:
        RefusedError: `invalid_access`.
    """
    try:
        return ip_network(text)
    except ValueError as exc:
        raise _refused(f"invalid network {text[:80]!a}", "Give networks like 10.0.0.0/8, 192.0.2.7 or 2001:db8::/32.") from exc


def must_be_enforced(rules: AccessRules | None) -> bool:
    """Return whether a tunnel must not be served by a server that ignores its rules."""
    return rules is not None and (rules.plain_http == "refuse" or bool(rules.users or rules.allow_ip or rules.deny_ip or rules.client_ca))


def is_local_name(host: str) -> bool:
    """Return whether a normalised host name always means the visitor's own machine (RFC 6761 section 6.3)."""
    return host == "localhost" or host.endswith(".localhost")


def _refused(reason: str, next_step: str) -> RefusedError:
    return RefusedError(INVALID_ACCESS, reason, next_step)
