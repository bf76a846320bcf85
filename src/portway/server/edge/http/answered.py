"""What follows from an answer's head alone, worked out once for an origin that says the same again and again."""

from portway.protocol.http1.authentication import continues_on_connection
from portway.protocol.http1.errors import MessageError
from portway.protocol.http1.fields import ANSWER_LIMITS, Field, HeadLimits
from portway.protocol.http1.framing import UNTIL_END, body_for_visitor
from portway.protocol.http1.response import ResponseHead, parse_response_head
from portway.protocol.http1.rewriting import HeadRewriter
from portway.protocol.http1.serialise import response_bytes
from portway.protocol.work import FIELD_WORK, Work

KNOWN_BYTES_MAX = 1024
KNOWN_FIELDS_MAX = 24
"""As for requests (`asked`)."""
KNOWN_MAX = 16
"""Heads remembered for a tunnel, about 100 kB at most. They last a second, because of Date; what a busy origin says most often in
a second is few things."""

_NO_FIELDS: list[Field] = []


class Answered:
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


class AnsweredBefore:
    """Remembers the last few heads of one tunnel's origin, byte for byte.

    What a final answer's head means depends on its bytes, and on whether HEAD was asked: those answers are not remembered.
    A tunnel has a memory of its own, so that no other tenant can fill it, or find out by timing what is in it.
    """

    __slots__ = ("_known", "_rewriter", "_work", "limits")

    def __init__(self, rewriter: HeadRewriter, limits: HeadLimits = ANSWER_LIMITS, work: Work | None = None) -> None:
        """Remember nothing yet; heads have to keep within `limits`, and go on as `rewriter` makes them. What is
        read anew counts as `work`.
        """
        self.limits = limits
        self._rewriter = rewriter
        self._work = work or Work()
        self._known: dict[bytes, Answered] = {}

    def check_interims(self, total_bytes: int) -> None:
        """Check that the interim answers to one request, which have so many bytes, are not endless (threats S6).

        Raises:
            MessageError: they have more than one head may have.
        """
        if total_bytes > self.limits.bytes_max:
            what = f"interim answers of more than {self.limits.bytes_max:,} bytes, the most that is taken ({self.limits.bytes_setting})"
            raise MessageError(what, "head_too_large")

    def understand(self, head: bytes, method: bytes) -> Answered:
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
        answered = Answered(response)
        if method != b"HEAD" and response.status >= 200 and len(head) <= KNOWN_BYTES_MAX and len(response.fields) <= KNOWN_FIELDS_MAX:
            if len(known) >= KNOWN_MAX:
                del known[next(iter(known))]  # the oldest: its second is over
            known[head] = answered
        return answered
