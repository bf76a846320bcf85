"""Decides whether a request may reach its tunnel, before a stream is opened: HTTPS first, then the tunnel's own rules."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from math import inf

from portway.edge.client_certificate import VerifiedClient
from portway.edge.http.head_cache import CachedRequest
from portway.edge.http.password_checks import PasswordCheck, PasswordChecks
from portway.edge.http.refusal import Refusal
from portway.edge.http.settings import HttpEdgeSettings
from portway.edge.lease import Lease
from portway.engine.reactor import Reactor
from portway.protocol.http1.fields import Field
from portway.protocol.http_access import DEFAULT, HttpAccess, is_local_name

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


class AccessControl:
    """The decisions of one edge. Most connections need one, others one per request (see `decide`)."""

    def __init__(self, reactor: Reactor) -> None:
        """Start without HTTPS."""
        self._reactor = reactor
        self._passwords = PasswordChecks(reactor)
        self.https: PublicHttps | None = None
        """Set by the server, once its https port is open."""

    def close(self) -> None:
        """Stop checking passwords."""
        self._passwords.close()

    def decide(
        self, lease: Lease, host: str, cached: CachedRequest, scheme: str, address: str, client: VerifiedClient | None = None
    ) -> float | Refusal | PasswordCheck:
        """Return how a request is refused, or a check of its password to wait for, or until when this and further requests of its
        connection for the same grant are admitted, with the same `scheme` and from the same `address`; 0: only this one.
        """
        if lease.passthrough:
            return self._decide_tls_only(host, cached, scheme)
        access = lease.access or DEFAULT
        if access.restricts_addresses and not access.allows_address(address):
            return Refusal("address_denied", address)
        if access.client_ca and scheme == "https" and (client is None or client.client_ca != access.client_ca):
            return Refusal("client_certificate_required")
        until = inf if scheme == "https" or access.plain_http == "serve" else self._decide_plain(access, host, cached)
        if not access.users or isinstance(until, Refusal):
            return until
        return self._passwords.check(lease, access, cached.authorizations, address) or 0.0

    def _decide_tls_only(self, host: str, cached: CachedRequest, scheme: str) -> Refusal:
        """Decide about a request to the name of a tls tunnel: its agent expects TLS, which the server does not speak in its place."""
        if scheme == "https" or self.https is None:
            return Refusal("tls_only")
        if cached.request.upgrade is not None:
            return Refusal("https_required")
        return redirect(self.https, host, cached)

    def _decide_plain(self, access: HttpAccess, host: str, cached: CachedRequest) -> float | Refusal:
        """Decide about a request over plain HTTP, to a tunnel that was not told to serve it."""
        https = self.https
        if access.plain_http == "refuse":
            return Refusal("https_required")
        secured = https is not None and https.has_certificate(host)
        if https is not None and secured and cached.request.upgrade is None:
            return redirect(https, host, cached)
        if access.client_ca or (access.users and not is_local_name(host)):
            return Refusal("https_required")  # there is no certificate, or a password would be sent unencrypted
        if secured:
            return 0.0  # an upgrade: programs that ask for one do not follow redirects
        return inf if https is None else self._reactor.now + RECHECK_S

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


def redirect(https: PublicHttps, host: str, cached: CachedRequest) -> Refusal:
    """Return the redirect to the same URL over https; path and query are unchanged."""
    authority = host if https.port == 443 else f"{host}:{https.port}"
    target = cached.target
    location = b"https://%b%b" % (authority.encode("ascii"), b"" if target == b"*" else target)
    return Refusal("https_redirect", f"https://{authority}", ((b"Location", location),))
