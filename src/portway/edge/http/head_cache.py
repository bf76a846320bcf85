"""Caches of parsed heads: a head that repeats is parsed once (ADR 0013)."""

import re
from dataclasses import dataclass
from typing import NamedTuple

from portway.edge.http.retry_policy import is_repeatable, is_shareable
from portway.protocol.http1.authentication import authenticates_connection, continues_on_connection
from portway.protocol.http1.errors import MessageError
from portway.protocol.http1.field_rules import UNTRUSTED, FieldRules
from portway.protocol.http1.fields import RESPONSE_LIMITS, Field, HeadLimits
from portway.protocol.http1.framing import NO_BODY, UNTIL_END, body_for_visitor
from portway.protocol.http1.query_mask import mask_query
from portway.protocol.http1.request import RequestHead, is_origin_form, parse_request_head
from portway.protocol.http1.response import TAKEN_OUT, ResponseHead, parse_response_head
from portway.protocol.http1.rewriting import HeadRewriter
from portway.protocol.http1.serialise import CLOSE_LINE, request_lines, response_bytes
from portway.protocol.work import FIELD_WORK, Work

CACHED_HEAD_BYTES_MAX = 1024
"""Longer heads are parsed every time: programs that repeat themselves send short ones. A visitor connection
caches less than 4 kB, whatever it sends: the head, its lines, and a part of these."""
PATH_REPORTED_BYTES = 512
"""Part of a path that is reported to the agent's console."""

_NO_FIELDS: list[Field] = []
_AUTHORIZATION = re.compile(rb"\r\nauthorization:[ \t]*([^\r]*?)[ \t]*(?=\r)", re.IGNORECASE)
_AUTHORITY = re.compile(rb"https?://[^/? ]*", re.IGNORECASE)
_ACCEPT = re.compile(rb"\r\naccept:[ \t]*([^\r]*)", re.IGNORECASE)


@dataclass(slots=True)
class LongHead:
    """A head above CACHED_HEAD_BYTES_MAX, buffered once, as received, for as long as it may have to be sent or retried.

    Its lines for the origin are as long again. They exist for the first attempt and are generated again for a second one.
    """

    head: bytes
    rules: FieldRules
    lines: bytes

    def take_lines(self) -> bytes:
        """Return the lines for the origin, and drop them."""
        lines, self.lines = self.lines, b""
        return lines or _lines_of(parse_request_head(self.head, self.rules))

    def drop_lines(self) -> None:
        """Drop the lines, as the request has to wait."""
        self.lines = b""

    def forget(self) -> None:
        """Drop everything: the request is not sent again."""
        self.head = self.lines = b""


class CachedRequest(NamedTuple):
    """A request that may be forwarded, and what exchanges derive from it.

    The first three fields depend on the target, the others do not.
    """

    request: RequestHead
    """Without `fields`, which are in `short_lines`."""
    path: str
    """For people: truncated, with possible secrets in the query masked."""
    short_lines: bytes
    """The head for the origin, without the lines that the edge adds and without its end; empty if there is a `long` one."""
    method: str
    bodyless: bool
    repeatable: bool
    """Whether it may be sent again if its first stream failed without a response."""
    shareable: bool
    """Whether the connection that carried it may serve another visitor afterwards."""
    authenticates: bool
    """Whether its credentials may authenticate the connection that carries it."""
    long: LongHead | None

    def take_lines(self) -> bytes:
        """Return the lines of a short or long head; a long head drops them."""
        return self.short_lines if self.long is None else self.long.take_lines()

    def take_persistent_lines(self) -> bytes:
        """Return the lines for a connection that is kept after a body."""
        return self.take_lines().removesuffix(CLOSE_LINE)

    @property
    def authorizations(self) -> list[bytes]:
        """The values of its Authorization fields, of which there may be one."""
        return _AUTHORIZATION.findall(self.short_lines if self.long is None else self.long.head)

    @property
    def target(self) -> bytes:
        """The request's target, also of a long head."""
        return self.request.target if self.long is None else parse_request_head(self.long.head, self.long.rules).target

    @property
    def accept(self) -> bytes:
        """The Accept values, joined by comma."""
        return b", ".join(_ACCEPT.findall(self.short_lines if self.long is None else self.long.head))


def derive_request(head: bytes, rules: FieldRules = UNTRUSTED) -> CachedRequest:
    """Derive a request from a complete head (with its last empty line), whose fields are forwarded by `rules`.

    Raises:
        MessageError: as `parse_request_head`.
    """
    request = parse_request_head(head, rules)
    lines = _lines_of(request)
    method, bodyless = request.method.decode("ascii"), request.body == NO_BODY
    long = None
    target = request.target
    if len(head) > CACHED_HEAD_BYTES_MAX:
        long, lines, target = LongHead(head, rules, lines), b"", b""
    without_fields = RequestHead(request.method, target, request.version, request.host, _NO_FIELDS, *request[5:])
    authenticates = authenticates_connection(request.fields)
    shareable = is_shareable(request) and not authenticates
    path, repeatable = _path(request.target), is_repeatable(request)
    return CachedRequest(without_fields, path, lines, method, bodyless, repeatable, shareable, authenticates, long)


def _lines_of(request: RequestHead) -> bytes:
    # The connection ends after a body: with that notice an origin does not take unread bytes of it for a request.
    return request_lines(request, close=request.body != NO_BODY and not authenticates_connection(request.fields))


def _path(target: bytes) -> str:
    if b"?" in target:
        path, _, query = target.partition(b"?")
        target = path + b"?" + mask_query(query[:PATH_REPORTED_BYTES])
    return target[:PATH_REPORTED_BYTES].decode("ascii")


class RequestHeadCache:
    """Caches the last head of one connection, byte for byte, once two heads in a row differed in the target only.

    The meaning of a head depends on its bytes only, so equal bytes mean the same; and a path does not affect the
    rest of the head. The cache belongs to one connection: the requests of other visitors cannot be found out by
    timing it. A visitor with one request, or with different ones, costs one number.
    """

    __slots__ = ("_cached", "_fingerprint", "_head", "_lines_after", "_rules", "_target_end", "_target_start")

    def __init__(self, rules: FieldRules = UNTRUSTED) -> None:
        """Begin empty; `rules` are those of the connection."""
        self._rules = rules
        self._cached: CachedRequest | None = None
        self._head = self._lines_after = b""
        self._target_start = self._target_end = 0
        self._fingerprint = 0

    def parse(self, head: bytes) -> CachedRequest:
        """Return the request of a complete head (with its last empty line).

        Raises:
            MessageError: as `parse_request_head`.
        """
        known = self._cached
        if known is not None:
            if head == self._head:
                return known
            cached = self._derive_for_target(head, known)
            if cached is not None:
                return cached
        cached = derive_request(head, self._rules)
        start = head.find(b" ") + 1
        end = head.find(b" ", start)
        fingerprint = hash(head[end:])
        absolute = _AUTHORITY.match(head, start, end)
        if absolute is not None:
            start = absolute.end()  # the host of an absolute target belongs to the part that has to be equal
        if fingerprint == self._fingerprint and cached.long is None and head[start : start + 1] == b"/":
            request = cached.request
            self._lines_after = cached.short_lines[len(request.method) + 1 + len(request.target) :]
            self._store(head, cached, start, end)
        else:
            self._head, self._lines_after, self._cached = b"", b"", None
        self._fingerprint = fingerprint
        return cached

    def _derive_for_target(self, head: bytes, known: CachedRequest) -> CachedRequest | None:
        """Derive the request of a head that differs from the known one in its target only; return None for any other."""
        start, after = self._target_start, self._head[self._target_end :]
        if not (head.endswith(after) and head.startswith(self._head[:start])) or len(head) > CACHED_HEAD_BYTES_MAX:
            return None
        end = len(head) - len(after)
        target = head[start:end]
        if not is_origin_form(target):
            return None
        request = known.request
        lines = b"%b %b%b" % (request.method, target, self._lines_after)
        cached = CachedRequest(RequestHead(request.method, target, *request[2:]), _path(target), lines, *known[3:])
        self._store(head, cached, start, end)
        return cached

    def _store(self, head: bytes, cached: CachedRequest, start: int, end: int) -> None:
        self._head, self._cached, self._target_start, self._target_end = head, cached, start, end


CACHED_FIELDS_MAX = 24
"""A response head with more fields is parsed anew every time."""
CACHED_RESPONSES_MAX = 16
"""Heads cached for a tunnel, about 100 kB at most. Because of Date they are valid for a second; within a second a busy origin sends
few different heads."""


class CachedResponse:
    """The head of a final response, and its serialised forms for HTTP/1.1 visitors, written when first needed."""

    __slots__ = ("_close_head", "_keep_alive_head", "authenticates", "bare", "persistent", "response", "shareable")

    def __init__(self, response: ResponseHead) -> None:
        """Serialise nothing yet."""
        self.response = response
        self.bare = ResponseHead(response.status, response.reason, _NO_FIELDS, *response[3:])
        """The same without fields: what an exchange keeps during the body."""
        self.authenticates = continues_on_connection(response.fields)
        """Whether the connection to the origin is authenticated, or about to be."""
        self.persistent = response.keep_alive and response.body != UNTIL_END
        """Whether the origin keeps the connection."""
        self.shareable = self.persistent and not self.authenticates
        """Whether it may serve another visitor afterwards, according to the response."""
        self._keep_alive_head = b""
        self._close_head = b""

    def head(self, version: int, *, keep_alive: bool) -> bytes:
        """Return the head for a visitor of `version` whose connection stays or closes."""
        if version != 11:
            return self._write(version, keep_alive=keep_alive)
        if keep_alive:
            self._keep_alive_head = self._keep_alive_head or self._write(version, keep_alive=True)
            return self._keep_alive_head
        self._close_head = self._close_head or self._write(version, keep_alive=False)
        return self._close_head

    def _write(self, version: int, *, keep_alive: bool) -> bytes:
        return response_bytes(self.response, body_for_visitor(self.response.body, version), keep_alive=keep_alive, version=version)


class ResponseHeadCache:
    """Caches the last few response heads of one tunnel's origin, byte for byte.

    The meaning of a final response's head depends on its bytes, and on whether the method was HEAD: those responses are not cached.
    Each tunnel has a cache of its own, so that no other tenant can fill it, or find out its content by timing.
    """

    __slots__ = ("_known", "_rewriter", "_taken_out", "_work", "limits")

    def __init__(
        self,
        rewriter: HeadRewriter,
        limits: HeadLimits = RESPONSE_LIMITS,
        work: Work | None = None,
        taken_out: frozenset[bytes] = TAKEN_OUT,
    ) -> None:
        """Begin empty; heads must be within `limits`, and are rewritten by `rewriter`. Parsing counts as `work`; fields named in
        `taken_out` are not forwarded.
        """
        self._taken_out = taken_out
        self.limits = limits
        self._rewriter = rewriter
        self._work = work or Work()
        self._known: dict[bytes, CachedResponse] = {}

    def check_interim_bytes(self, total_bytes: int) -> None:
        """Check the total size of the interim responses to one request (threats S6).

        Raises:
            MessageError: it exceeds the maximum of one head.
        """
        if total_bytes > self.limits.bytes_max:
            what = f"interim responses of more than {self.limits.bytes_max:,} bytes, the maximum ({self.limits.bytes_setting})"
            raise MessageError(what, "head_too_large")

    def parse(self, head: bytes, method: bytes) -> CachedResponse:
        """Return the response of a complete head (with its last empty line) to a request by `method`.

        Raises:
            MessageError: as `parse_response_head`.
        """
        known = self._known
        cached = known.get(head)
        if cached is not None and method != b"HEAD":
            return cached
        response = parse_response_head(head, method, self.limits, self._taken_out)
        self._work.done += FIELD_WORK * (len(response.fields) + 1)
        fields = self._rewriter.response(head, response.fields)
        if fields is not response.fields:
            response = response._replace(fields=fields)
        cached = CachedResponse(response)
        if (
            method != b"HEAD"
            and response.status >= 200
            and len(head) <= CACHED_HEAD_BYTES_MAX
            and len(response.fields) <= CACHED_FIELDS_MAX
        ):
            if len(known) >= CACHED_RESPONSES_MAX:
                del known[next(iter(known))]  # the oldest: its Date has passed
            known[head] = cached
        return cached
