"""Settings of the HTTP edge."""

from dataclasses import dataclass, fields
from math import inf

from portway.errors import ConfigError
from portway.protocol.http1.fields import FIELDS_MAX, REQUEST_LIMITS, RESPONSE_LIMITS, HeadLimits
from portway.protocol.http1.response import TAKEN_OUT


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpEdgeSettings:
    """Deadlines and bounds of the edge. Times are seconds; deadlines are met up to 0.3 s late."""

    head_s: float = 10.0
    """From a visitor's arrival, or the first byte of a later request, to the end of its head: absolute, not a pause
    between bytes (threats X3). A head is one packet; ten seconds suffice for the worst mobile network."""

    idle_s: float = 60.0
    """How long a connection is kept between requests. nginx 75 s, HAProxy as the request's timeout."""

    hold_s: float = 5.0
    """How long a request is held while the agent is offline: about the restart time of an agent. 0: requests are not held."""

    held_max: int = 1024
    """Requests held at the same time; each buffers its head, so that is up to 96 MiB. Further ones get 503 at once."""

    response_s: float = inf
    """From the end of a request to the end of the response's head, the gateway timeout of nginx and HAProxy. None by default: how
    long a response may take is for origin and visitor to decide, as without a server between them; a tunnel may set its own."""

    stall_s: float = inf
    """How long a visitor may neither send the body it announced nor read the response. None by default; if memory, streams or
    descriptors become scarce, the slowest are shed (`sheddable`), and keep-alive detects visitors that are gone."""

    silence_s: float = inf
    """How long an origin may pause within a response: event streams are quiet for hours."""

    linger_s: float = 30.0
    """Maximum time of a lingering close: input is read and dropped, as unread bytes would turn the response into RST. As nginx."""

    linger_quiet_s: float = 5.0
    """The same for a visitor that sends neither bytes nor its end meanwhile. As nginx."""

    overload_response_s: float = 2.0
    """How long a visitor above capacity may take to read its 503; their number is bounded, too."""

    body_bytes_max: int | None = None
    """Largest request body; None: the origin decides. Bodies are never buffered here, so this protects origins only."""

    request_head_bytes_max: int = REQUEST_LIMITS.bytes_max
    """Largest head of a request."""

    response_head_bytes_max: int = RESPONSE_LIMITS.bytes_max
    """Largest head of a response, and the most that all interim responses to one request may have."""

    fields_max: int = FIELDS_MAX
    """Maximum number of fields of a head."""

    heads_bytes_max: int = 8 * 1024 * 1024
    """Bytes that all requests together may buffer beyond 2 kB each: incomplete heads, heads for a retry, what follows them, and
    incomplete heads of responses. 1,000 heads of 8 kB; what can be spared without harm is dropped first (`byte_budget`)."""

    unread_bytes_max: int = 256 * 1024 * 1024
    """Bytes buffered for visitors that do not read: of a chunked response up to 64 KiB each, of which 8,000 on average fill this."""

    pool_idle_max: int = 64
    """Idle streams kept for each tunnel. Each occupies a connection of the origin, and 64 is what one busy page or load
    generator uses at once; development servers with a thread per connection survive it."""

    pool_idle_s: float = 60.0
    """How long an idle stream is kept: below the 75 s of nginx. If an origin closes sooner, that is detected."""

    pool_serial_idle_s: float = 1.0
    """The same for an origin that has not served two requests at once: it may have one thread, for which all others have to wait,
    including clients that do not come through Portway."""

    visitors_max: int = 18_000
    """Visitors connected at the same time, of the 20,000 descriptors of a process; more get 503. `edge/admission.py` may allow fewer."""

    trusted_headers: tuple[str, ...] = ()
    """Fields that only trusted proxies may send, as `read_trusted_headers` returns them."""

    proxied_scheme: str = "http"
    """X-Forwarded-Proto of connections that began with a PROXY header, unless the header reports TLS."""

    via: str = ""
    """This server's name in Via; empty: no Via is written (ADR 25)."""

    domain: str = "localhost"
    """Common domain of the tunnels' names: origins set no cookies for it. Empty: there is none, and cookies are unchanged."""

    response_fields_taken: frozenset[bytes] = TAKEN_OUT
    """Fields of responses that are not forwarded, in lower case; framing and hop-by-hop fields are among them."""

    hsts: bool = True
    """Send Strict-Transport-Security where a tunnel asks for it; not with certificates that browsers are not meant to trust for long."""

    log_visitors: bool = False
    """Include the visitor's address in events of finished requests and upgraded connections."""

    @property
    def request_limits(self) -> HeadLimits:
        """Limits of a request's head."""
        return REQUEST_LIMITS._replace(bytes_max=self.request_head_bytes_max, fields_max=self.fields_max)

    @property
    def response_limits(self) -> HeadLimits:
        """Limits of a response's head."""
        return RESPONSE_LIMITS._replace(bytes_max=self.response_head_bytes_max, fields_max=self.fields_max)

    def __post_init__(self) -> None:
        """Reject values that cannot work."""
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, str | tuple | frozenset):
                continue
            may_be_zero = field.name in (
                "hold_s",
                "held_max",
                "pool_idle_max",
                "body_bytes_max",
                "pool_serial_idle_s",
                "log_visitors",
                "hsts",
            )
            if value is not None and (value < 0 or (value == 0 and not may_be_zero)):
                raise ConfigError(f"{field.name}: expected {'zero or ' if may_be_zero else ''}a positive number, got {value}")
