"""How a request for a target ends, and what each protocol calls that."""

from dataclasses import dataclass
from enum import StrEnum

from portway.protocol.proxy_status import ProxyStatus


class Outcome(StrEnum):
    """The results of a tunnel or a request, as logged and counted."""

    ESTABLISHED = "established"
    BAD_REQUEST = "bad_request"
    FORBIDDEN = "forbidden"
    AUTH_REQUIRED = "auth_required"
    NOT_ALLOWED = "not_allowed"
    INITIATION_TIMEOUT = "initiation_timeout"
    LOOP = "loop"
    TOO_MANY = "too_many"
    INTERNAL = "internal"
    DNS_FAILED = "dns_failed"
    REFUSED = "refused"
    UNREACHABLE = "unreachable"
    CONNECT_FAILED = "connect_failed"
    CONNECT_TIMEOUT = "connect_timeout"


@dataclass(frozen=True, slots=True)
class Names:
    """One outcome in each protocol."""

    status: int
    """HTTP status."""
    phrase: str
    error: str
    """Error token of Proxy-Status (RFC 9209 section 2.3); empty for responses that are not about the target."""
    socks5: int
    """Reply of RFC 1928 section 6."""
    socks4: int = 91
    """90: granted, 91: rejected or failed."""


NAMES = {
    Outcome.ESTABLISHED: Names(200, "Connection established", "", 0, 90),
    Outcome.BAD_REQUEST: Names(400, "Bad Request", "http_request_error", 1),
    Outcome.FORBIDDEN: Names(403, "Forbidden", "http_request_denied", 2),
    Outcome.AUTH_REQUIRED: Names(407, "Proxy Authentication Required", "", 2),
    Outcome.NOT_ALLOWED: Names(405, "Method Not Allowed", "http_request_error", 7),
    Outcome.INITIATION_TIMEOUT: Names(408, "Request Timeout", "http_request_error", 1),
    Outcome.LOOP: Names(508, "Loop Detected", "proxy_loop_detected", 2),
    Outcome.TOO_MANY: Names(429, "Too Many Requests", "http_request_denied", 1),
    Outcome.INTERNAL: Names(500, "Internal Server Error", "proxy_internal_error", 1),
    Outcome.DNS_FAILED: Names(502, "Bad Gateway", "dns_error", 4),
    Outcome.REFUSED: Names(502, "Bad Gateway", "connection_refused", 5),
    Outcome.UNREACHABLE: Names(502, "Bad Gateway", "destination_ip_unroutable", 3),
    Outcome.CONNECT_FAILED: Names(502, "Bad Gateway", "destination_unavailable", 1),
    Outcome.CONNECT_TIMEOUT: Names(504, "Gateway Timeout", "connection_timeout", 6),
}
"""Every outcome in every protocol: the one table that codecs read."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a client gets no connection."""

    outcome: Outcome
    text: str
    """Cause and next step, as a sentence for the client; names no other client."""
    hops: tuple[ProxyStatus, ...] = ()
    """What other proxies on the way to the target reported, beginning with that which is closest to it."""

    @property
    def names(self) -> Names:
        """What each protocol calls it."""
        return NAMES[self.outcome]
