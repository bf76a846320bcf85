"""Certificates and pending challenges of this process, as listeners ask for them."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

from portway.certificates.acme.files import AcmeFiles, order_name
from portway.certificates.acme.schedule import Validity, renewal_time
from portway.certificates.certificate import Certificate, parse_bundle
from portway.certificates.contexts import VisitorContext, is_worn, visitor_context
from portway.certificates.events import CertificateEvent, CertificateUp, EventSink
from portway.clock import Clock
from portway.errors import ConfigError
from portway.telemetry.logs import get_log

SOURCE = "acme"
"""Name of this source in events."""

ACME_ALPN = "acme-tls/1"

PENDING_MAX = 1_000
"""Names with pending challenges: far more than orders that may be under way."""

log = get_log(__name__)


class _Served:
    """One certificate, with the context of this day."""

    __slots__ = ("context", "issued", "made_at")

    def __init__(self, issued: Certificate) -> None:
        self.issued = issued
        self.context: VisitorContext | None = None
        self.made_at = 0.0


class AcmeSource:
    """A source of certificates and of challenges (see `certificates.interfaces`)."""

    def __init__(self, files: AcmeFiles, on_event: EventSink, clock: Clock) -> None:
        """Read nothing before `open`. `clock` is `clock.wall`."""
        self._files = files
        self._on_event = on_event
        self._clock = clock
        self._served: dict[str, _Served] = {}
        """By name, also `*.DOMAIN`."""
        self._http: dict[str, dict[str, bytes]] = {}
        """Name → token → body."""
        self._alpn: dict[str, ssl.SSLContext] = {}
        self._ordered: dict[str, None] = {}
        """Names whose first order is under way."""

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Load the saved certificates; `install` adds new ones."""
        await asyncio.to_thread(self._files.remove_old, self._clock())
        for event in await asyncio.to_thread(self.load):
            self._on_event(event)
        yield

    def reload(self) -> None:
        """Do nothing: only this server writes its files."""

    def load(self) -> list[CertificateEvent]:
        """Read the saved certificates and return what to report. Blocks."""
        events: list[CertificateEvent] = []
        for _, issued in self._files.certificates():
            self.install(issued)
            events.append(up_event(issued, renewal_time(Validity(issued.not_before, issued.not_after))))
        return events

    def install(self, issued: Certificate) -> None:
        """Serve a certificate from the next handshake on, for each of its names."""
        served = _Served(issued)
        for name in issued.names:
            known = self._served.get(name)
            if known is None or known.issued.not_after <= issued.not_after:
                self._served[name] = served

    def install_pem(self, pem: bytes) -> None:
        """Serve a certificate that the ordering process checked."""
        self.install(parse_bundle(pem))

    def find(self, name: str) -> Certificate | None:
        """Return the certificate for a host name, or for `*.DOMAIN`; also one that has expired."""
        served = self._find(name)
        return None if served is None else served.issued

    def context_for(self, name: str) -> VisitorContext | None:
        """Return the context for a host name; one whose certificate has expired is better than none."""
        served = self._find(name)
        if served is None:
            return None
        now = self._clock()
        if served.context is None or is_worn(served.context, now - served.made_at):
            try:
                served.context, served.made_at = visitor_context(served.issued.pem), now
            except ConfigError as exc:
                log.warning("certificate cannot be used", name=name, reason=exc)
                for one in served.issued.names:
                    self._served.pop(one, None)
        return served.context

    def has_trusted(self, name: str) -> bool:
        """Return whether there is a certificate for this name that has not expired."""
        served = self._find(name)
        return served is not None and self._clock() < served.issued.not_after

    def all(self) -> Iterator[Certificate]:
        """Yield each certificate once."""
        yield from {id(served): served.issued for served in self._served.values()}.values()

    def set_http_challenge(self, name: str, token: str, body: str) -> None:
        """Answer HTTP-01 for this name and token until `clear_challenges`."""
        if len(self._http) < PENDING_MAX:
            self._http.setdefault(name, {})[token] = body.encode("ascii")

    def set_alpn_challenge(self, name: str, pem: bytes) -> None:
        """Answer TLS-ALPN-01 for this name with the certificate in `pem` until `clear_challenges`."""
        if len(self._alpn) < PENDING_MAX:
            self._alpn[name] = visitor_context(pem, alpn=(ACME_ALPN,))

    def clear_challenges(self, name: str) -> None:
        """Answer no more challenges for this name."""
        self._http.pop(name, None)
        self._alpn.pop(name, None)

    def set_ordered(self, name: str, ordered: bool) -> None:
        """Record whether a certificate for a name without one is on its way."""
        if not ordered:
            self._ordered.pop(name, None)
        elif len(self._ordered) < PENDING_MAX:
            self._ordered[name] = None

    def is_ordered(self, name: str) -> bool:
        """Return whether a certificate for this name is on its way, and there is none yet."""
        if name not in self._ordered and "*." + name.partition(".")[2] not in self._ordered:
            return False
        return self._find(name) is None

    def challenge_context(self, name: str) -> ssl.SSLContext | None:
        """Return the context for TLS-ALPN-01."""
        return self._alpn.get(name)

    def http_challenge(self, name: str, token: str) -> bytes | None:
        """Return the body for HTTP-01."""
        tokens = self._http.get(name)
        return None if tokens is None else tokens.get(token)

    def _find(self, name: str) -> _Served | None:
        return self._served.get(name) or self._served.get("*." + name.partition(".")[2])


def up_event(issued: Certificate, next_attempt: float | None) -> CertificateUp:
    """Return the event of a certificate that is served from now on."""
    return CertificateUp(SOURCE, order_name(issued.names), issued.names, issued.issuer, issued.not_after, next_attempt)
