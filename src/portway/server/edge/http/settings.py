"""What steers the HTTP edge."""

from dataclasses import dataclass, fields
from math import inf

from portway.errors import ConfigError
from portway.protocol.http1.fields import FIELDS_MAX, REQUEST_LIMITS, RESPONSE_LIMITS, HeadLimits


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpEdgeSettings:
    """Deadlines and bounds of the edge. Times are seconds; each deadline is met up to 0.3 s late."""

    head_s: float = 10.0
    """From a visitor's arrival, or the first byte of a later request, to the end of its head: absolute, not a pause
    between bytes (threats X3). A head is one packet; ten seconds are for the worst mobile network."""

    idle_s: float = 60.0
    """How long a visitor may keep a connection between requests. nginx 75 s, HAProxy as the request's timeout."""

    hold_s: float = 5.0
    """How long a visitor is held while the agent is away: about what an agent takes to restart. 0 holds nobody."""

    held_max: int = 1024
    """Visitors held at the same time; each keeps its request's head, so that is up to 96 MiB. The next get 503 at once."""

    answer_s: float = inf
    """From the end of a request to the end of the answer's head, what nginx and HAProxy call a gateway's timeout. None by default: how
    long an answer takes is for the origin and its visitor to judge, as it is without a server between them; a tunnel may set its own."""

    stall_s: float = inf
    """How long a visitor may neither send the body it announced nor take the answer it asked for. None by default; when memory, streams or
    descriptors become scarce, the slowest are ended (`sheddable`), and keep-alive notices who is gone."""

    silence_s: float = inf
    """How long an origin may pause within an answer: event streams are quiet for hours."""

    linger_s: float = 30.0
    """After an answer that closes: how long to read on and throw away, so that unread bytes do not turn the answer into RST. As nginx."""

    linger_quiet_s: float = 5.0
    """The same for a visitor that sends nothing meanwhile, nor its end. As nginx."""

    apology_s: float = 2.0
    """How long a visitor for whom there is no place may take to read that; their number is bounded, too."""

    body_bytes_max: int | None = None
    """Largest request body; None: the origin decides. Bodies are never held here, so this protects origins only."""

    request_head_bytes_max: int = REQUEST_LIMITS.bytes_max
    """Largest head of a request."""

    answer_head_bytes_max: int = RESPONSE_LIMITS.bytes_max
    """Largest head of an answer, and the most that all interim answers to one request may have."""

    fields_max: int = FIELDS_MAX
    """Most fields of a head."""

    heads_bytes_max: int = 8 * 1024 * 1024
    """What all requests together may keep beyond 2 kB each: heads that are not whole, or may have to be sent again, what follows them, and
    heads of answers that are not whole. 1,000 heads of 8 kB; what can be spared without harm goes first (`byte_budget`)."""

    unread_bytes_max: int = 256 * 1024 * 1024
    """What may be kept here for visitors that do not read: of a chunked answer up to 64 KiB each, of which 8,000 on average fill this."""

    pool_idle_max: int = 64
    """Idle streams kept for each tunnel. Each pins a connection of the origin, and 64 is what one busy page or load
    generator uses at once; development servers with a thread a connection survive it."""

    pool_idle_s: float = 60.0
    """How long an idle stream is kept: below the 75 s of nginx. Origins that close sooner are noticed by their end."""

    pool_alone_s: float = 1.0
    """The same for an origin that has not served two requests at once: it may have one thread, for which everybody else has to wait,
    those who come without Portway included."""

    visitors_max: int = 18_000
    """Visitors connected at the same time, of the 20,000 descriptors of a process; more get 503. `server/edge/admission.py` may allow fewer."""

    trusted_headers: tuple[str, ...] = ()
    """Fields that only trusted proxies may send, as `read_trusted_headers` returns them."""

    proxied_scheme: str = "http"
    """X-Forwarded-Proto of connections that began with a PROXY header, unless the header says that TLS was used."""

    via: str = ""
    """This server's name in Via, which is not written without one (ADR 25)."""

    domain: str = "localhost"
    """The domain that names of tunnels share: origins set no cookies for it."""

    tell_visitors: bool = False
    """Say of each request and upgraded connection that is told of who the visitor was."""

    @property
    def request_limits(self) -> HeadLimits:
        """How large a request's head may be."""
        return REQUEST_LIMITS._replace(bytes_max=self.request_head_bytes_max, fields_max=self.fields_max)

    @property
    def answer_limits(self) -> HeadLimits:
        """How large an answer's head may be."""
        return RESPONSE_LIMITS._replace(bytes_max=self.answer_head_bytes_max, fields_max=self.fields_max)

    def __post_init__(self) -> None:
        """Refuse what could never work."""
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, str | tuple):
                continue
            may_be_zero = field.name in ("hold_s", "held_max", "pool_idle_max", "body_bytes_max", "pool_alone_s", "tell_visitors")
            if value is not None and (value < 0 or (value == 0 and not may_be_zero)):
                raise ConfigError(f"{field.name}: expected {'zero or ' if may_be_zero else ''}a positive number, got {value}")
