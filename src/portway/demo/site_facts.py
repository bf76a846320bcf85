"""What the sample site can say about the way that one request took to it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

_REQUEST_START = re.compile(r"t=([0-9]{16})\Z", re.ASCII)
"""`X-Request-Start: t=<microseconds since 1970>`, 16 digits from the year 2001 to 2286."""

_EDGE_TO_SITE_S_MAX = 60.0
"""A longer way was not a way: the edge's clock and ours disagree, so we say nothing."""


@dataclass(frozen=True, slots=True)
class LinkFacts:
    """The encrypted link between agent and server, as the running programs describe it."""

    rtt_s: float | None = None
    """Seconds for a ping there and back; None before the first."""
    fresh: bool = False
    """Whether it was measured again after the agent's login, when everything is still cold."""
    encrypted: bool | None = None
    """Whether the link is TLS; None where the status does not say."""


@dataclass(frozen=True, slots=True)
class SiteFacts:
    """The site itself."""

    address: str
    """Where it listens, "127.0.0.1:41233"."""
    took_s: float
    """Seconds from the arrival of the request until the site had its answer."""


@dataclass(frozen=True, slots=True)
class RequestFacts:
    """One request as the site saw it. What could not be known is None."""

    method: str
    path: str
    http: str
    """HTTP version on the last leg, "1.1"."""
    host: str
    """The Host that the site was asked for."""
    forwarded_for: str | None
    forwarded_proto: str | None
    forwarded_host: str | None
    edge_to_site_s: float | None
    """Seconds from the edge's X-Request-Start to the site; means something only where both share a clock."""

    @property
    def tunnelled(self) -> bool:
        """Whether an HTTP edge was on the way: a browser never sends X-Forwarded-Host."""
        return self.forwarded_host is not None


@dataclass(frozen=True, slots=True)
class Trace:
    """The way of one request: what it was, the link it came through (None: straight), the site it reached."""

    request: RequestFacts
    link: LinkFacts | None
    site: SiteFacts


def edge_to_site_s(request_start: str | None, arrived_at_s: float) -> float | None:
    """Return the seconds between the edge's timestamp and `arrived_at_s` (wall clock), or None if they make no sense."""
    stamp = _REQUEST_START.match(request_start or "")
    if stamp is None:
        return None
    took_s = arrived_at_s - int(stamp[1]) / 1e6
    return took_s if 0 <= took_s <= _EDGE_TO_SITE_S_MAX else None


def request_facts(request_line: tuple[str, str, str], headers: Mapping[str, str], arrived_at_s: float) -> RequestFacts:
    """Return what its head says of a request: `request_line` is method, path and HTTP version, `arrived_at_s` wall-clock seconds."""
    method, path, http = request_line
    return RequestFacts(
        method=method,
        path=path,
        http=http,
        host=headers.get("host", ""),
        forwarded_for=headers.get("x-forwarded-for"),
        forwarded_proto=headers.get("x-forwarded-proto"),
        forwarded_host=headers.get("x-forwarded-host"),
        edge_to_site_s=edge_to_site_s(headers.get("x-request-start"), arrived_at_s),
    )
