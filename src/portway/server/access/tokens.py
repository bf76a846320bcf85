"""What a token allows: its grants, its end, and the answer to one claim."""

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

PROTOCOLS = ("http", "tcp")
"""Kinds of tunnels, in the order in which they are shown."""

TUNNELS_MAX = 64
"""Tunnels of one token unless it says otherwise: more than a person needs, and a bound on what one secret can pin."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,62}", re.ASCII)
_PATTERN = re.compile(r"[a-z0-9*_-]{1,63}(\.[a-z0-9*_-]{1,63})*", re.ASCII)
_PATTERN_CHARS_MAX = 253


@dataclass(frozen=True, slots=True, kw_only=True)
class Grants:
    """What a token's agents may claim, and until when."""

    hosts: tuple[str, ...] = ("*",)
    """Patterns; `*` stands for any characters within one label. Without a dot: names below the server's domain."""
    ports: tuple[PortRange, ...] = ()
    """Public tcp ports; none means every port that the server gives out."""
    protocols: tuple[str, ...] = PROTOCOLS
    tunnels_max: int = TUNNELS_MAX
    """Names and ports held at once, over all sessions of the token."""
    expires_at: float | None = None
    """Seconds since 1970 (`clock.wall`); None means never."""
    policy: Policy = UNLIMITED
    """What each of its relays may do on the server, and what they share, over all tunnels and sessions of the token."""

    def __post_init__(self) -> None:
        """Refuse grants that nobody could mean.

        Raises:
            ConfigError: a pattern, protocol or number is not one.
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

    def allows_port(self, port: int) -> bool:
        """Return whether a public tcp port may be claimed."""
        return not self.ports or any(port in ports for ports in self.ports)


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRecord:
    """A token as the server keeps it: everything but the secret."""

    id: str
    """What an agent says at login; not secret."""
    name: str
    """What a person calls it; unique among the tokens that are not revoked."""
    verifier: ScramVerifier = field(repr=False)
    """Checks a proof of the secret; useless for making one."""
    grants: Grants = Grants()
    created_at: float = 0.0
    """Seconds since 1970 (`clock.wall`)."""
    revoked_at: float | None = None


@dataclass(frozen=True, slots=True)
class RequestedAddress:
    """A claim with its address worked out: a normalised full `host` for http, a `port` for tcp."""

    kind: Literal["http", "tcp"]
    host: str = ""
    port: int = 0
    """0 when the server chooses; it then chooses among what `Grants.allows_port`."""


def check_usable(token: TokenRecord, now: float) -> None:
    """Return when the token may be used at `now` (`clock.wall`).

    Raises:
        RefusedError: `token_revoked`, `token_expired`.
    """
    again = "Ask the server's operator for a new join string (`portway token create`), then run `portway join`."
    if token.revoked_at is not None:
        raise RefusedError(codes.TOKEN_REVOKED, f"token {token.name} was revoked", again)
    if token.grants.expires_at is not None and token.grants.expires_at <= now:
        raise RefusedError(codes.TOKEN_EXPIRED, f"token {token.name} has expired", again)


def may_claim(token: TokenRecord, wanted: RequestedAddress, *, domain: str, held: int, now: float) -> None:
    """Return when the token may have what its agent wants.

    `held` is how many names and ports the token has already, without the wanted one itself: an agent that comes back
    for its own name must not be stopped by it.

    Raises:
        RefusedError: which grant is missing, and how the operator would give it.
    """
    check_usable(token, now)
    grants = token.grants
    if wanted.kind not in grants.protocols:
        raise RefusedError(
            codes.PROTOCOL_NOT_ALLOWED,
            f"token {token.name} allows {', '.join(grants.protocols)} tunnels only",
            f"The server's operator can make a token with `--protocols {wanted.kind}`.",
        )
    if wanted.kind == "http" and not grants.allows_host(wanted.host, domain):
        raise RefusedError(
            codes.HOST_NOT_ALLOWED,
            f"token {token.name} does not allow the host {wanted.host}, only {', '.join(grants.hosts) or 'none'}",
            f"Ask for a name that it allows, or the operator for a token with `--hosts {wanted.host}`.",
        )
    if wanted.kind == "tcp" and wanted.port and not grants.allows_port(wanted.port):
        raise RefusedError(
            codes.PORT_NOT_ALLOWED,
            f"token {token.name} does not allow port {wanted.port}, only {', '.join(map(str, grants.ports))}",
            f"Ask for a port that it allows, or the operator for a token with `--ports {wanted.port}`.",
        )
    if held >= grants.tunnels_max:
        raise RefusedError(
            codes.TOO_MANY_TUNNELS,
            f"token {token.name} holds {format_count(held, 'tunnel')} already, of {grants.tunnels_max}",
            "Stop one of them, or ask the operator for a token with a higher `--max-tunnels`.",
        )


def check_token_name(name: str) -> str:
    """Return `name` when a token may be called so.

    Raises:
        ConfigError: it may not.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(f"NAME: expected 1 to 63 letters, digits or . _ @ -, beginning with a letter or digit, got {name!r}")
    return name


def new_credentials(random_bytes: Callable[[int], bytes]) -> tuple[str, str]:
    """Return a fresh token id (60 bits, readable) and its secret (256 bits), both safe in a URL."""
    secret = base64.urlsafe_b64encode(random_bytes(32)).rstrip(b"=").decode()
    token_id = base64.b32encode(random_bytes(8))[:12].decode().lower()
    return token_id, secret


def _matches(pattern: str, host: str) -> bool:
    """Return whether a pattern covers a host, label by label, so that `*` never reaches across a dot."""
    wanted, labels = pattern.split("."), host.split(".")
    if len(wanted) != len(labels):
        return False
    return all(_label_matches(piece, label) for piece, label in zip(wanted, labels, strict=True))


def _label_matches(pattern: str, label: str) -> bool:
    """Return whether `*` in the pattern can stand for what the label has more; linear, so no pattern is an attack."""
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
