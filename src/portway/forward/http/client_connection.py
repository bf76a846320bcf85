"""One client of plain HTTP: each request names its target, and is authenticated, judged and forwarded by itself."""

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from portway.edge.http.head_cache import CachedRequest
from portway.edge.http.origin.stream import OriginStream
from portway.edge.http.visitor.connection import VisitorConnection
from portway.edge.http.visitor.waiting import CLOSED
from portway.edge.lease import Lease
from portway.engine.channel import Channel
from portway.engine.tally import Flow
from portway.errors import PeerError
from portway.forward.http.failures import code_of, failure_of
from portway.forward.interfaces import Target, User
from portway.forward.negotiation.http_connect import basic_credentials
from portway.forward.negotiation.http_responses import failure_response
from portway.forward.outcomes import Failure, Outcome
from portway.forward.targets import target_of_url
from portway.protocol.http1.error_responses import ResponseFormat
from portway.protocol.http1.fields import CRLF, Field

if TYPE_CHECKING:
    from portway.forward.http.forwarding import PlainForwarding

CHECK_S_MAX = 15.0
"""How long a request waits for the check of its password; the directory gives up before."""
HTTP_PORT = 80

_START = re.compile(rb"(?:\r\n)?([^ \r\n]+) (?:([A-Za-z][A-Za-z0-9+.\-]*)://)?")
_CREDENTIALS = re.compile(rb"\r\nproxy-authorization:[ \t]*([^\r]*?)[ \t]*(?=\r)", re.IGNORECASE)

_NOT_ABSOLUTE = (
    "This is a proxy: expected a request with an absolute URL (GET http://example.org/ HTTP/1.1) or CONNECT. "
    "Configure it as the HTTP proxy of a program, for example with curl -x, instead of opening its address."
)
_SCHEME = (
    "This proxy forwards http URLs only. Use CONNECT for {scheme}, which keeps the connection encrypted from end to end: programs do so "
    "when this proxy is configured for {scheme} URLs."
)


class CredentialCheck:
    """The check of a password, which a request may wait for."""

    __slots__ = ("deadline", "result", "waiters")

    def __init__(self, deadline: float) -> None:
        """Give up at `deadline`."""
        self.deadline = deadline
        self.result: User | Failure | None = None
        self.waiters: dict[object, Callable[[], None]] = {}
        """The request that waits: a callback that routes it again."""

    def finish(self, result: User | Failure) -> None:
        """Take the result, and continue the request if it waits."""
        self.result = result
        for resume in list(self.waiters.values()):
            resume()


class HttpClientConnection(VisitorConnection):
    """A visitor connection of the edge whose requests name their targets themselves."""

    __slots__ = ("_check", "_counted", "_credentials", "_outcome", "_plain", "_scheme", "_target", "_unreported", "user")

    def __init__(self, plain: "PlainForwarding", channel: Channel, address: str) -> None:
        """Serve `channel` of a client at `address`."""
        super().__init__(plain, channel, address, "http")
        self._plain = plain
        self._check: CredentialCheck | None = None
        self._counted: User | None = None
        self._credentials: list[bytes] = []
        self._scheme = b""
        self._outcome = Outcome.ESTABLISHED
        self._unreported = False
        self._target: Target | None = None
        self.user: User | None = None
        """The user of the current request."""

    def release_user(self) -> None:
        """Count the current request no longer as a tunnel of its user."""
        counted, self._counted = self._counted, None
        if counted is not None:
            self._plain.count_request(counted, -1)

    def _handle_head(self, head: bytes) -> None:
        """Leave CONNECT to the negotiation, and everything else to the edge."""
        start = _START.match(head)
        if start is not None and start[1] == b"CONNECT":
            self._state = CLOSED
            self._plain.forget(self)
            self._plain.on_connect(self.channel, self._peer, head.removeprefix(CRLF) + self.reader.buffered)
            return
        self._scheme = b"" if start is None or start[2] is None else start[2].lower()
        self._credentials = _CREDENTIALS.findall(head) if self._plain.users.required else []
        self._outcome, self._unreported, self._target, self._check = Outcome.ESTABLISHED, True, None, None
        self.user = None
        super()._handle_head(head)

    def _look_up(self, cached: CachedRequest) -> Lease | None:
        """Return the lease of the requested target; None if an error was sent, or the password is being checked."""
        if self._scheme != b"http":
            text = _SCHEME.format(scheme=self._scheme.decode()) if self._scheme else _NOT_ABSOLUTE
            self.send_error(code_of(Failure(Outcome.BAD_REQUEST, text)), text, complete=False)
            return None
        try:
            self._target = target = target_of_url(cached.request.host, HTTP_PORT)
        except PeerError as exc:
            self.send_error("bad_request", str(exc), complete=False)
            return None
        self._host = str(target)
        checked: User | Failure | None = None
        if self._plain.users.required:
            checked = self._authenticate()
            if checked is None:
                if self._check is not None:
                    self._wait_for_check(self._check, cached)
                return None
        if not isinstance(checked, Failure):
            self.user = checked
            failure = self._plain.judge(self.address, None if self._counted else self.user, self.user, target)
            if failure is None:
                if self.user is not None and self._counted is None:
                    self._counted = self.user
                    self._plain.count_request(self.user, 1)
                return self._plain.lease(self.user, target, self._peer)
            checked = failure
        self.send_error(code_of(checked), checked.text, complete=self._drop_body(cached))
        return None

    def _authenticate(self) -> User | Failure | None:
        """Return the user of the request, or why it is refused; None while the password is checked."""
        check, self._check = self._check, None
        if check is None:
            found = basic_credentials(self._credentials[0]) if len(self._credentials) == 1 else None
            if found is None:
                return Failure(Outcome.AUTH_REQUIRED, "This proxy requires a user name and a password (Basic).")
            check = CredentialCheck(self._plain.reactor.now + CHECK_S_MAX)
            self._plain.users.check(*found, self._peer, check.finish)
            if check.result is None:
                self._check = check
        return check.result

    def _admit(self, _cached: CachedRequest, _lease: Lease) -> bool:
        """Return True: the lookup has decided."""
        return True

    def edge_header_lines(self, _host: bytes) -> bytes:
        """Return only the end of the head: a forward proxy adds nothing that describes its client."""
        return CRLF

    def _render_error(self, code: str, detail: str, response_format: ResponseFormat, _fields: tuple[Field, ...]) -> tuple[bytes, int]:
        failure = failure_of(code, self._host, detail)
        self._outcome = failure.outcome
        self._unreported = True  # also for what was not understood
        head_only, keep_alive = not response_format.wants_body, response_format.keep_alive
        return failure_response(failure, head_only=head_only, keep_alive=keep_alive), failure.names.status

    def upgraded(self, stream: OriginStream) -> None:
        """Hand the connection over to a relay, which is reported at its end."""
        self._unreported = False
        super().upgraded(stream)

    def _record(self, status: int, cut: str = "") -> None:
        """Report the finished request, once."""
        self.release_user()
        metered, self._metered = self._metered, None
        flows: tuple[Flow, Flow] | None = None
        why = cut
        if metered is not None:
            event = metered.finished_event(status, None, "http")
            if self._outcome is Outcome.ESTABLISHED:
                flows, why = (event.forward, event.backward), event.why or cut
        if self._unreported:
            self._unreported = False
            seconds = self._plain.reactor.now - self._started_at if self._started_at else 0.0
            self._plain.report(self._outcome, seconds, flows, why, self._target, self.user)
        super()._record(status, cut)
