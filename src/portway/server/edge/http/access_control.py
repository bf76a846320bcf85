"""Decides whether a request may reach its tunnel, before a stream is opened: HTTPS first, then the tunnel's own rules."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import NamedTuple

from portway.protocol.http1.fields import Field
from portway.protocol.http_access import DEFAULT, is_local_name
from portway.server.edge.http.head_cache import CachedRequest
from portway.server.edge.http.settings import HttpEdgeSettings
from portway.server.tunnels.lease import Lease

RECHECK_S = 1.0
"""How long a connection over plain HTTP is served before the name is looked up again: it may have got a certificate meanwhile."""

CHALLENGE_PATH = "/.well-known/acme-challenge/"
_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,128}")
"""RFC 8555 section 8.3: base64url without padding."""


def no_challenge(_name: str, _token: str) -> bytes | None:
    """Return None: no order is pending."""
    return None


@dataclass(frozen=True, slots=True)
class PublicHttps:
    """What the HTTP edge needs to know of the server's HTTPS."""

    port: int
    """The port in https URLs, as visitors see it."""
    has_certificate: Callable[[str], bool]
    """Whether visitors can be sent to https for a normalised host name; never blocks."""
    http_challenge: Callable[[str, str], bytes | None] = no_challenge
    """Returns the response to an HTTP-01 challenge for a name and a token, None without a pending order; never blocks."""


class Refusal(NamedTuple):
    """A response in the origin's place."""

    code: str
    detail: str = ""
    fields: tuple[Field, ...] = ()


class AccessControl:
    """The decisions of one edge. Most connections need one, others one per request (see `decide`)."""

    def __init__(self) -> None:
        """Start without HTTPS."""
        self.https: PublicHttps | None = None
        """Set by the server, once its https port is open."""

    def decide(self, lease: Lease, host: str, cached: CachedRequest, scheme: str, now: float) -> float | Refusal:
        """Return how a request is refused, or until when this and further requests of its connection for the same grant are admitted
        with the same `scheme`; 0: only this one.
        """
        access, https = lease.access or DEFAULT, self.https
        if scheme == "https" or access.plain_http == "serve":
            return inf
        if access.plain_http == "refuse":
            return Refusal("https_required")
        if https is None:
            return inf
        if not https.has_certificate(host):
            return now + RECHECK_S
        if cached.request.upgrade is not None:
            return 0.0  # programs that ask for an upgrade do not follow redirects
        return self.redirect(https, host, cached)

    def redirect(self, https: PublicHttps, host: str, cached: CachedRequest) -> Refusal:
        """Return the redirect to the same URL over https; path and query are unchanged."""
        authority = host if https.port == 443 else f"{host}:{https.port}"
        target = cached.target
        location = b"https://%b%b" % (authority.encode("ascii"), b"" if target == b"*" else target)
        return Refusal("https_redirect", f"https://{authority}", ((b"Location", location),))

    def challenge_response(self, host: str, cached: CachedRequest) -> bytes | None:
        """Return the response to a CA's HTTP-01 challenge, None if this request is none of a pending order."""
        token = cached.path.removeprefix(CHALLENGE_PATH)
        if self.https is None or cached.method not in ("GET", "HEAD") or _TOKEN.fullmatch(token) is None:
            return None
        return self.https.http_challenge(host, token)


def hsts_fields(lease: Lease, settings: HttpEdgeSettings) -> tuple[Field, ...]:
    """Return Strict-Transport-Security for responses over https (RFC 6797 section 7.2), if the tunnel wants it and it is allowed.

    Never for local names: everything that runs on the visitor's machine shares them.
    """
    access = lease.access
    if access is None or not access.hsts or not settings.hsts or is_local_name(lease.address):
        return ()
    return ((b"Strict-Transport-Security", access.hsts),)
