"""Facts about the path of one request to the sample site."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

_REQUEST_START = re.compile(r"t=([0-9]{16})\Z", re.ASCII)
"""`X-Request-Start: t=<microseconds since 1970>`, 16 digits from the year 2001 to 2286."""

_EDGE_TO_SITE_S_MAX = 60.0
"""A longer time means that the clocks of edge and site differ; it is not reported."""


@dataclass(frozen=True, slots=True)
class LinkFacts:
    """The link between agent and server, from the agent's status."""

    rtt_s: float | None = None
    """Round-trip time of a ping, in seconds; None before the first."""
    fresh: bool = False
    """Whether it was measured after the agent's login, whose own measurement is slower."""
    encrypted: bool | None = None
    """Whether the link uses TLS; None if unknown."""


@dataclass(frozen=True, slots=True)
class SiteFacts:
    """The site itself."""

    address: str
    """Address of its listener, "127.0.0.1:41233"."""
    took_s: float
    """Seconds from the arrival of the request until the response was ready."""


@dataclass(frozen=True, slots=True)
class RequestFacts:
    """One request as the site received it. Unknown values are None."""

    method: str
    path: str
    http: str
    """HTTP version on the last leg, "1.1"."""
    host: str
    """The Host field."""
    forwarded_for: str | None
    forwarded_proto: str | None
    forwarded_host: str | None
    edge_to_site_s: float | None
    """Seconds from the edge's X-Request-Start to the site; meaningful only if both share a clock."""

    @property
    def tunnelled(self) -> bool:
        """Whether the request passed an HTTP edge: browsers never send X-Forwarded-Host."""
        return self.forwarded_host is not None


@dataclass(frozen=True, slots=True)
class Trace:
    """The path of one request: the request, the link (None if there was none), the site."""

    request: RequestFacts
    link: LinkFacts | None
    site: SiteFacts


def edge_to_site_s(request_start: str | None, arrived_at_s: float) -> float | None:
    """Return the seconds between the edge's timestamp and `arrived_at_s` (wall clock), or None if they are invalid."""
    stamp = _REQUEST_START.match(request_start or "")
    if stamp is None:
        return None
    took_s = arrived_at_s - int(stamp[1]) / 1e6
    return took_s if 0 <= took_s <= _EDGE_TO_SITE_S_MAX else None


def request_facts(request_line: tuple[str, str, str], headers: Mapping[str, str], arrived_at_s: float) -> RequestFacts:
    """Return the facts in a request head: `request_line` is method, path and HTTP version, `arrived_at_s` wall-clock seconds."""
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
