"""Tokens: grants, expiry, and the check of one claim."""

import base64
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from portway.config.values import PortRange
from portway.engine.policy import UNLIMITED, Policy
from portway.errors import ConfigError, RefusedError
from portway.protocol.control import codes
from portway.protocol.scram import ScramVerifier
from portway.protocol.units import format_count

PROTOCOLS = ("http", "tcp", "tls")
"""Protocols of tunnels, in display order. A grant of http covers tls: both publish host names."""

DEFAULT_PROTOCOLS = ("http", "tcp")
"""All of them: without tls, older versions can read the token."""

TUNNELS_MAX = 64
"""Default limit of tunnels per token: more than a person needs, and a bound on what one secret can occupy."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,62}", re.ASCII)
_PATTERN = re.compile(r"[a-z0-9*_-]{1,63}(\.[a-z0-9*_-]{1,63})*", re.ASCII)
_PATTERN_CHARS_MAX = 253


@dataclass(frozen=True, slots=True, kw_only=True)
class Grants:
    """What a token's agents may claim, and until when."""

    hosts: tuple[str, ...] = ("*",)
    """Patterns; `*` matches any characters within one label. Without a dot: names below the server's domain."""
    ports: tuple[PortRange, ...] = ()
    """Public tcp ports; empty means every port that the server assigns."""
    protocols: tuple[str, ...] = DEFAULT_PROTOCOLS
    tunnels_max: int = TUNNELS_MAX
    """Names and ports at a time, over all sessions of the token."""
    expires_at: float | None = None
    """Seconds since 1970 (`clock.wall`); None means never."""
    policy: Policy = UNLIMITED
    """Limits of each relay, and limits that all relays of the token share, over all its tunnels and sessions."""

    def __post_init__(self) -> None:
        """Reject invalid grants.

        Raises:
            ConfigError: a pattern, protocol or number is invalid.
        """
        for pattern in self.hosts:
            if len(pattern) > _PATTERN_CHARS_MAX or not _PATTERN.fullmatch(pattern):
                raise ConfigError(f"hosts: expected patterns like app, dev-* or *.example.org in lower case, got {pattern!r}")
        for protocol in self.protocols:
            if protocol not in PROTOCOLS:
                raise ConfigError(f"protocols: expected some of {', '.join(PROTOCOLS)}, got {protocol!r}")
        if not self.protocols:
            raise ConfigError(f"protocols: expected at least one of {', '.join(PROTOCOLS)}")
        if self.tunnels_max < 1:
            raise ConfigError(f"max tunnels: expected at least 1, got {self.tunnels_max}")

    def allows_host(self, host: str, domain: str) -> bool:
        """Return whether a normalised host may be claimed on a server of this (normalised) domain."""
        return any(_matches(pattern if "." in pattern else f"{pattern}.{domain}", host) for pattern in self.hosts)

    def allows_protocol(self, protocol: str) -> bool:
        """Return whether tunnels of this protocol may be claimed."""
        return protocol in self.protocols or (protocol == "tls" and "http" in self.protocols)

    def lists_host(self, host: str, domain: str) -> bool:
        """Return whether a pattern without `*` is exactly this host: the operator reserves it for the token."""
        return any("*" not in pattern and host == (pattern if "." in pattern else f"{pattern}.{domain}") for pattern in self.hosts)

    def allows_port(self, port: int) -> bool:
        """Return whether a public tcp port may be claimed."""
        return not self.ports or any(port in ports for ports in self.ports)


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRecord:
    """A token as the server stores it: everything but the secret."""

    id: str
    """Sent by agents at login; not secret."""
    name: str
    """Chosen by the operator; unique among the tokens that are not revoked."""
    verifier: ScramVerifier = field(repr=False)
    """Checks a proof of the secret, but cannot create one."""
    grants: Grants = Grants()
    created_at: float = 0.0
    """Seconds since 1970 (`clock.wall`)."""
    revoked_at: float | None = None


@dataclass(frozen=True, slots=True)
class RequestedAddress:
    """The resolved address of a claim: a normalised full `host` for http and tls, a `port` for tcp."""

    protocol: Literal["http", "tcp", "tls"]
    host: str = ""
    port: int = 0
    """0: the server chooses one that `Grants.allows_port` accepts."""


def check_usable(token: TokenRecord, now: float) -> None:
    """Check that the token is usable at `now` (`clock.wall`).

    Raises:
        RefusedError: `token_revoked`, `token_expired`.
    """
    next_step = "Ask the server's operator for a new join string (`portway token create`), then run `portway join`."
    if token.revoked_at is not None:
        raise RefusedError(codes.TOKEN_REVOKED, f"token {token.name} was revoked", next_step)
    if token.grants.expires_at is not None and token.grants.expires_at <= now:
        raise RefusedError(codes.TOKEN_EXPIRED, f"token {token.name} has expired", next_step)


def may_claim(token: TokenRecord, requested: RequestedAddress, *, domain: str, held: int, now: float) -> None:
    """Check that the token allows a requested address.

    `held` is the number of names and ports that the token has, without the requested one: an agent that reclaims its own
    name must not exceed the limit by it.

    Raises:
        RefusedError: names the missing grant, and how the operator can add it.
    """
    check_usable(token, now)
    grants = token.grants
    if not grants.allows_protocol(requested.protocol):
        raise RefusedError(
            codes.PROTOCOL_NOT_ALLOWED,
            f"token {token.name} allows {', '.join(grants.protocols)} tunnels only",
            f"Ask the server's operator for a token with `--protocols {requested.protocol}`.",
        )
    if requested.protocol != "tcp" and not grants.allows_host(requested.host, domain):
        raise RefusedError(
            codes.HOST_NOT_ALLOWED,
            f"token {token.name} does not allow the host {requested.host}, only {', '.join(grants.hosts) or 'none'}",
            f"Request a name that it allows, or ask the operator for a token with `--hosts {requested.host}`.",
        )
    if requested.protocol == "tcp" and requested.port and not grants.allows_port(requested.port):
        raise RefusedError(
            codes.PORT_NOT_ALLOWED,
            f"token {token.name} does not allow port {requested.port}, only {', '.join(map(str, grants.ports))}",
            f"Request a port that it allows, or ask the operator for a token with `--ports {requested.port}`.",
        )
    if held >= grants.tunnels_max:
        raise RefusedError(
            codes.TOO_MANY_TUNNELS,
            f"token {token.name} has {format_count(held, 'tunnel')} already, of at most {grants.tunnels_max}",
            "Stop one of them, or ask the operator for a token with a higher `--max-tunnels`.",
        )


def check_token_name(name: str) -> str:
    """Return `name` if it is a valid token name.

    Raises:
        ConfigError: it is not.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(f"NAME: expected 1 to 63 letters, digits or . _ @ -, beginning with a letter or digit, got {name!r}")
    return name


def new_credentials(random_bytes: Callable[[int], bytes]) -> tuple[str, str]:
    """Return a new token id (60 bits, readable) and its secret (256 bits), both safe in a URL."""
    secret = base64.urlsafe_b64encode(random_bytes(32)).rstrip(b"=").decode()
    token_id = base64.b32encode(random_bytes(8))[:12].decode().lower()
    return token_id, secret


def _matches(pattern: str, host: str) -> bool:
    """Return whether a pattern matches a host, label by label, so that `*` never matches a dot."""
    patterns, labels = pattern.split("."), host.split(".")
    if len(patterns) != len(labels):
        return False
    return all(_label_matches(one, label) for one, label in zip(patterns, labels, strict=True))


def _label_matches(pattern: str, label: str) -> bool:
    """Return whether a pattern matches one label. Linear, so that no pattern is an attack."""
    head, *pieces = pattern.split("*")
    if not pieces:
        return pattern == label
    *middle, tail = pieces
    if not label.startswith(head) or not label.endswith(tail) or len(label) < len(head) + len(tail):
        return False
    rest = label[len(head) : len(label) - len(tail)]
    for piece in middle:
        at = rest.find(piece)
        if at < 0:
            return False
        rest = rest[at + len(piece) :]
    return True
