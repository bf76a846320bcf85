"""What follows from a request's head alone, worked out once for a visitor who asks the same again and again."""

from portway.protocol.http1.framing import NO_BODY
from portway.protocol.http1.request import RequestHead, parse_request_head
from portway.protocol.http1.serialise import request_lines
from portway.server.edge.http.policy import is_repeatable, may_overlook_body

KNOWN_BYTES_MAX = 1024
"""A longer head is read anew every time: programs that repeat themselves send short ones."""
KNOWN_FIELDS_MAX = 24
"""The same in fields: with both, what a visitor's connection remembers is below 6 kB, whatever it sends."""
PATH_SHOWN_BYTES = 512
"""What the agent's console is told of a path."""


class Asked:
    """A request that may be forwarded, and what every exchange wants to know of it. Never changed."""

    __slots__ = ("body_unexpected", "bodyless", "lines", "method", "path", "repeatable", "request")

    def __init__(self, request: RequestHead) -> None:
        """Work it all out."""
        self.request = request
        self.body_unexpected = may_overlook_body(request)
        """Whether an origin might overlook the body: its connection is not used again then."""
        self.lines = request_lines(request, close=self.body_unexpected)
        """The head for the origin, without the lines that the edge adds and without its end."""
        self.repeatable = is_repeatable(request)
        self.bodyless = request.body == NO_BODY
        self.method = request.method.decode("ascii")
        self.path = request.target.partition(b"?")[0][:PATH_SHOWN_BYTES].decode("ascii")
        """For people: without query, and not longer than they read."""


class AskedBefore:
    """Remembers the last head of one connection, byte for byte, from the second time on that it comes.

    What a head means depends on nothing but its bytes, so that the same bytes mean the same. It belongs to one connection:
    what another visitor has asked cannot be found out by timing it. A visitor who asks once, or something else every time,
    costs one number.
    """

    __slots__ = ("_asked", "_fingerprint", "_head")

    def __init__(self) -> None:
        """Remember nothing yet."""
        self._head = b""
        self._asked: Asked | None = None
        self._fingerprint = 0

    def understand(self, head: bytes) -> Asked:
        """Return what a whole head (with its last empty line) asks for.

        Raises:
            MessageError: as `parse_request_head`.
        """
        asked = self._asked
        if asked is not None and head == self._head:
            return asked
        asked = Asked(parse_request_head(head))
        fingerprint = hash(head)
        if fingerprint != self._fingerprint or len(head) > KNOWN_BYTES_MAX or len(asked.request.fields) > KNOWN_FIELDS_MAX:
            self._fingerprint = fingerprint
            self._head, self._asked = b"", None
        else:
            self._head, self._asked = head, asked
        return asked
