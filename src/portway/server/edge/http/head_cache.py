"""Caches of parsed heads: a head that repeats is parsed once (ADR 0013)."""

import re
from dataclasses import dataclass
from typing import NamedTuple

from portway.protocol.http1.authentication import authenticates_connection, continues_on_connection
from portway.protocol.http1.errors import MessageError
from portway.protocol.http1.field_rules import UNTRUSTED, FieldRules
from portway.protocol.http1.fields import RESPONSE_LIMITS, Field, HeadLimits
from portway.protocol.http1.framing import NO_BODY, UNTIL_END, body_for_visitor
from portway.protocol.http1.query_mask import mask_query
from portway.protocol.http1.request import RequestHead, is_origin_form, parse_request_head
from portway.protocol.http1.response import ResponseHead, parse_response_head
from portway.protocol.http1.rewriting import HeadRewriter
from portway.protocol.http1.serialise import CLOSE_LINE, request_lines, response_bytes
from portway.protocol.work import FIELD_WORK, Work
from portway.server.edge.http.retry_policy import is_repeatable, is_shareable

KNOWN_BYTES_MAX = 1024
"""A longer head is read anew every time: programs that repeat themselves send short ones. What a visitor's connection
remembers of one is below 4 kB, whatever it sends: the head, its lines, and a part of these."""
PATH_SHOWN_BYTES = 512
"""What the agent's console is told of a path."""

_NO_FIELDS: list[Field] = []
_ACCEPT = re.compile(rb"\r\naccept:[ \t]*([^\r]*)", re.IGNORECASE)


@dataclass(slots=True)
class LongHead:
    """A head above KNOWN_BYTES_MAX, kept once: as it came, for as long as it may have to be sent, or sent again.

    Its lines for the origin are as long again. They are there for the first attempt and made anew for a second one.
    """

    head: bytes
    rules: FieldRules
    lines: bytes

    def take_lines(self) -> bytes:
        """Return the lines for the origin, and keep them no longer."""
        lines, self.lines = self.lines, b""
        return lines or _lines_of(parse_request_head(self.head, self.rules))

    def drop_lines(self) -> None:
        """Keep the head alone, as the request has to wait."""
        self.lines = b""

    def forget(self) -> None:
        """Keep nothing: the request is never sent again."""
        self.head = self.lines = b""


class CachedRequest(NamedTuple):
    """A request that may be forwarded, and what every exchange wants to know of it.

    The first three fields depend on the target, the others do not.
    """

    request: RequestHead
    """Without `fields`, which `lines` say again."""
    path: str
    """For people: with values in the query masked that may be secrets, and not longer than they read."""
    short_lines: bytes
    """The head for the origin, without the lines that the edge adds and without its end; empty if there is a `long` one."""
    method: str
    bodyless: bool
    repeatable: bool
    """Whether it may be sent again when its first stream failed without an answer."""
    shareable: bool
    """Whether the connection that carried it may serve another visitor afterwards."""
    authenticates: bool
    """Whether its credentials may authenticate the connection that carries it."""
    long: LongHead | None

    def take_lines(self) -> bytes:
        """Return what `short_lines` are, of a long head; it keeps them no longer."""
        return self.short_lines if self.long is None else self.long.take_lines()

    def take_lasting_lines(self) -> bytes:
        """Return the lines for a connection that goes on behind a body."""
        return self.take_lines().removesuffix(CLOSE_LINE)

    @property
    def accept(self) -> bytes:
        """The Accept values, joined by comma."""
        return b", ".join(_ACCEPT.findall(self.short_lines if self.long is None else self.long.head))


def derive_request(head: bytes, rules: FieldRules = UNTRUSTED) -> CachedRequest:
    """Work out what follows from a whole head (with its last empty line), whose fields go on as `rules` say.

    Raises:
        MessageError: as `parse_request_head`.
    """
    request = parse_request_head(head, rules)
    lines = _lines_of(request)
    method, bodyless = request.method.decode("ascii"), request.body == NO_BODY
    long = None
    target = request.target
    if len(head) > KNOWN_BYTES_MAX:
        long, lines, target = LongHead(head, rules, lines), b"", b""
    kept = RequestHead(request.method, target, request.version, request.host, _NO_FIELDS, *request[5:])
    authenticates = authenticates_connection(request.fields)
    shareable = is_shareable(request) and not authenticates
    return CachedRequest(kept, _path(request.target), lines, method, bodyless, is_repeatable(request), shareable, authenticates, long)


def _lines_of(request: RequestHead) -> bytes:
    # After a body its connection ends: an origin that is told so does not take what it left unread for a request.
    return request_lines(request, close=request.body != NO_BODY and not authenticates_connection(request.fields))


def _path(target: bytes) -> str:
    if b"?" in target:
        path, _, query = target.partition(b"?")
        target = path + b"?" + mask_query(query[:PATH_SHOWN_BYTES])
    return target[:PATH_SHOWN_BYTES].decode("ascii")


class RequestHeadCache:
    """Remembers the last head of one connection, byte for byte, once a second one was like it but for the target.

    What a head means depends on nothing but its bytes, so that the same bytes mean the same; and a path means nothing for
    the rest of the head. The memory belongs to one connection: what another visitor has asked cannot be found out by
    timing it. A visitor who asks once, or something else every time, costs one number.
    """

    __slots__ = ("_asked", "_at", "_behind", "_fingerprint", "_head", "_rules", "_to")

    def __init__(self, rules: FieldRules = UNTRUSTED) -> None:
        """Remember nothing yet; `rules` say what the connection's visitor may send."""
        self._rules = rules
        self._asked: CachedRequest | None = None
        self._head = self._behind = b""
        self._at = self._to = 0
        self._fingerprint = 0

    def understand(self, head: bytes) -> CachedRequest:
        """Return what a whole head (with its last empty line) asks for.

        Raises:
            MessageError: as `parse_request_head`.
        """
        known = self._asked
        if known is not None:
            if head == self._head:
                return known
            asked = self._other_target(head, known)
            if asked is not None:
                return asked
        asked = derive_request(head, self._rules)
        at = head.find(b" ") + 1
        to = head.find(b" ", at)
        fingerprint = hash(head[to:])
        if fingerprint == self._fingerprint and asked.long is None and head[at : at + 1] == b"/":  # an absolute target says the host, too
            request = asked.request
            self._behind = asked.short_lines[len(request.method) + 1 + len(request.target) :]
            self._remember(head, asked, at, to)
        else:
            self._head, self._behind, self._asked = b"", b"", None
        self._fingerprint = fingerprint
        return asked

    def _other_target(self, head: bytes, known: CachedRequest) -> CachedRequest | None:
        """Understand a head that is the known one up to its target and behind it, if it is."""
        at, behind = self._at, self._head[self._to :]
        if not (head.endswith(behind) and head.startswith(self._head[:at])) or len(head) > KNOWN_BYTES_MAX:
            return None
        to = len(head) - len(behind)
        target = head[at:to]
        if not is_origin_form(target):
            return None
        request = known.request
        lines = b"%b %b%b" % (request.method, target, self._behind)
        asked = CachedRequest(RequestHead(request.method, target, *request[2:]), _path(target), lines, *known[3:])
        self._remember(head, asked, at, to)
        return asked

    def _remember(self, head: bytes, asked: CachedRequest, at: int, to: int) -> None:
        self._head, self._asked, self._at, self._to = head, asked, at, to


KNOWN_FIELDS_MAX = 24
"""A response head with more fields is parsed anew every time."""
KNOWN_MAX = 16
"""Heads remembered for a tunnel, about 100 kB at most. They last a second, because of Date; what a busy origin says most often in
a second is few things."""


class CachedResponse:
    """A final answer's head, and how it goes on to a visitor of HTTP/1.1, written when first needed."""

    __slots__ = ("_closing", "_keeping", "authenticates", "bare", "lasts", "response", "shareable")

    def __init__(self, response: ResponseHead) -> None:
        """Write nothing yet."""
        self.response = response
        self.bare = ResponseHead(response.status, response.reason, _NO_FIELDS, *response[3:])
        """The same without fields: what an exchange keeps for as long as the body takes."""
        self.authenticates = continues_on_connection(response.fields)
        """Whether the connection to the origin is authenticated, or about to be."""
        self.lasts = response.keep_alive and response.body != UNTIL_END
        """Whether the origin keeps the connection."""
        self.shareable = self.lasts and not self.authenticates
        """Whether it may serve another visitor afterwards, as far as the answer tells."""
        self._keeping = b""
        self._closing = b""

    def head(self, version: int, *, keep_alive: bool) -> bytes:
        """Return the head for a visitor of `version` whose connection stays or closes."""
        if version != 11:
            return self._write(version, keep_alive=keep_alive)
        if keep_alive:
            self._keeping = self._keeping or self._write(version, keep_alive=True)
            return self._keeping
        self._closing = self._closing or self._write(version, keep_alive=False)
        return self._closing

    def _write(self, version: int, *, keep_alive: bool) -> bytes:
        return response_bytes(self.response, body_for_visitor(self.response.body, version), keep_alive=keep_alive, version=version)


class ResponseHeadCache:
    """Remembers the last few heads of one tunnel's origin, byte for byte.

    What a final answer's head means depends on its bytes, and on whether HEAD was asked: those answers are not remembered.
    A tunnel has a memory of its own, so that no other tenant can fill it, or find out by timing what is in it.
    """

    __slots__ = ("_known", "_rewriter", "_work", "limits")

    def __init__(self, rewriter: HeadRewriter, limits: HeadLimits = RESPONSE_LIMITS, work: Work | None = None) -> None:
        """Remember nothing yet; heads have to keep within `limits`, and go on as `rewriter` makes them. What is
        read anew counts as `work`.
        """
        self.limits = limits
        self._rewriter = rewriter
        self._work = work or Work()
        self._known: dict[bytes, CachedResponse] = {}

    def check_interims(self, total_bytes: int) -> None:
        """Check that the interim answers to one request, which have so many bytes, are not endless (threats S6).

        Raises:
            MessageError: they have more than one head may have.
        """
        if total_bytes > self.limits.bytes_max:
            what = f"interim answers of more than {self.limits.bytes_max:,} bytes, the most that is taken ({self.limits.bytes_setting})"
            raise MessageError(what, "head_too_large")

    def understand(self, head: bytes, method: bytes) -> CachedResponse:
        """Return what a whole head (with its last empty line) answers to a request by `method`.

        Raises:
            MessageError: as `parse_response_head`.
        """
        known = self._known
        answered = known.get(head)
        if answered is not None and method != b"HEAD":
            return answered
        response = parse_response_head(head, method, self.limits)
        self._work.done += FIELD_WORK * (len(response.fields) + 1)
        fields = self._rewriter.response(head, response.fields)
        if fields is not response.fields:
            response = response._replace(fields=fields)
        answered = CachedResponse(response)
        if method != b"HEAD" and response.status >= 200 and len(head) <= KNOWN_BYTES_MAX and len(response.fields) <= KNOWN_FIELDS_MAX:
            if len(known) >= KNOWN_MAX:
                del known[next(iter(known))]  # the oldest: its second is over
            known[head] = answered
        return answered
