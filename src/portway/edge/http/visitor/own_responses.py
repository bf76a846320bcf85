"""Responses of the server itself: errors, redirects, and those to a CA's challenge."""

from portway.edge.client_certificate import VerifiedClient
from portway.edge.http.access_control import hsts_fields
from portway.edge.http.head_cache import CachedRequest
from portway.edge.http.password_checks import PasswordCheck
from portway.edge.http.refusal import Refusal
from portway.edge.http.visitor.head_reading import HeadReadingMixin
from portway.edge.lease import Lease
from portway.errors import BrokenChannel, PeerError
from portway.protocol.http1.error_responses import DEFAULT_FORMAT, ERROR_RESPONSES, ResponseFormat, render_error, render_plain
from portway.protocol.http1.fields import Field
from portway.protocol.http1.trusted_proxies import Hops
from portway.protocol.names import normalise_host


class OwnResponsesMixin(HeadReadingMixin):
    """Adds responses in the origin's place to a visitor connection, and the decision for each request whether it gets one."""

    __slots__ = ("_admitted_epoch", "_admitted_until", "_hops", "_host", "client", "scheme")

    _admitted_epoch: int
    """The grant for which all requests of this connection are admitted, until `_admitted_until`."""
    _admitted_until: float
    _hops: Hops | None
    """What a trusted proxy reported about the request."""
    _host: str
    """The normalised host of the request."""
    client: VerifiedClient | None
    """The visitor's certificate."""
    scheme: str
    """The scheme of the connection."""

    def _record(self, status: int, cut: str = "") -> None:
        """Report the finished request, once."""
        raise NotImplementedError

    def _finish_request(self, keep_alive: bool) -> None:
        """Read the next request, or close, after everything has been sent."""
        raise NotImplementedError

    @property
    def effective_scheme(self) -> str:
        """The scheme of the visitor's request: as a trusted proxy reported it, otherwise that of the connection."""
        return self.scheme if self._hops is None else self._hops.scheme or self.scheme

    def _admit(self, cached: CachedRequest, lease: Lease) -> bool:
        """Return whether a request may reach the tunnel of `lease`; otherwise it has been refused."""
        control = self._edge.access
        decision = control.decide(lease, self._host, cached, self.effective_scheme, self.address, self.client)
        if isinstance(decision, Refusal):
            self.send_error(decision.code, decision.detail, complete=self._drop_body(cached), fields=decision.fields)
            return False
        if isinstance(decision, PasswordCheck):
            self._wait_for_check(decision, cached)
            return False
        if self._hops is None or (lease.access is None and control.https is None):
            self._admitted_epoch, self._admitted_until = lease.epoch, decision
        return True

    def _drop_body(self, cached: CachedRequest) -> bool:
        """Drop the body of a request if all of it has arrived, and return whether the connection can be used further."""
        body, reader = cached.request.body, self.reader
        if cached.bodyless or 0 <= body <= len(reader.buffered):
            reader.buffered = reader.buffered[max(body, 0) :]
            return True
        return False

    def _answer_challenge(self, cached: CachedRequest) -> bool:
        """Answer a CA's HTTP-01 challenge; return False if no order is pending for it."""
        try:
            body = self._edge.access.challenge_response(normalise_host(cached.request.host), cached)
        except PeerError:
            return False
        if body is None:
            return False
        keep_alive = self._drop_body(cached) and cached.request.keep_alive
        response_format = ResponseFormat(b"", cached.method != "HEAD", keep_alive, cached.request.version)
        self._send_own(render_plain(body, response_format), 200, keep_alive=keep_alive)
        return True

    def send_error(self, code: str, detail: str = "", *, complete: bool, fields: tuple[Field, ...] = ()) -> None:
        """Send an error response with additional `fields`; keep the connection only if the request was `complete` and allows it."""
        cached, self._exchange = self._cached_request, None
        keep_alive, response_format = False, DEFAULT_FORMAT
        if cached is not None:
            request = cached.request
            keep_alive = complete and request.keep_alive and request.upgrade is None
            response_format = ResponseFormat(cached.accept, request.method != b"HEAD", keep_alive, request.version)
            if cached.long is not None:
                cached.long.forget()
        response, status = self._render_error(code, detail, response_format, fields)
        self._send_own(response, status, keep_alive=keep_alive)

    def _render_error(self, code: str, detail: str, response_format: ResponseFormat, fields: tuple[Field, ...]) -> tuple[bytes, int]:
        """Return an error response and its status."""
        if self._lease is not None and self.effective_scheme == "https":
            fields += hsts_fields(self._lease, self._edge.settings)
        return render_error(code, self._host, detail, response_format, fields), ERROR_RESPONSES[code].status

    def _send_own(self, response: bytes, status: int, *, keep_alive: bool) -> None:
        self._record(status)
        try:
            self.writer.write(response)
        except BrokenChannel:
            self.break_connection(499)
            return
        self._finish_request(keep_alive)
