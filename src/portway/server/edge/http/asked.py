"""What follows from a request's head alone, worked out once for a visitor who asks the same again and again."""

from typing import NamedTuple

from portway.protocol.http1.field_rules import STRANGERS, FieldRules
from portway.protocol.http1.framing import NO_BODY
from portway.protocol.http1.request import RequestHead, is_origin_form, parse_request_head
from portway.protocol.http1.serialise import request_lines
from portway.server.edge.http.policy import is_repeatable, is_shareable

KNOWN_BYTES_MAX = 1024
"""A longer head is read anew every time: programs that repeat themselves send short ones."""
KNOWN_FIELDS_MAX = 24
"""The same in fields: with both, what a visitor's connection remembers is below 8 kB, whatever it sends."""
PATH_SHOWN_BYTES = 512
"""What the agent's console is told of a path."""


class Asked(NamedTuple):
    """A request that may be forwarded, and what every exchange wants to know of it.

    The first three fields depend on the target, the others do not.
    """

    request: RequestHead
    path: str
    """For people: without query, and not longer than they read."""
    lines: bytes
    """The head for the origin, without the lines that the edge adds and without its end."""
    behind_target: bytes
    """Of these lines what is behind the target."""
    method: str
    bodyless: bool
    repeatable: bool
    """Whether it may be sent again when its first stream failed without an answer."""
    shareable: bool
    """Whether the connection that carried it may serve another visitor afterwards."""

    def with_target(self, target: bytes) -> "Asked":
        """Return the same request for another target, in origin form."""
        request = self.request
        lines = b"%b %b%b" % (request.method, target, self.behind_target)
        return Asked(RequestHead(request.method, target, *request[2:]), _path(target), lines, *self[3:])


def what_follows(request: RequestHead) -> Asked:
    """Work out what follows from a request's head."""
    # After a body its connection ends: an origin that is told so does not take what it left unread for a request.
    lines = request_lines(request, close=request.body != NO_BODY)
    behind_target = lines[len(request.method) + 1 + len(request.target) :]
    method, bodyless = request.method.decode("ascii"), request.body == NO_BODY
    return Asked(request, _path(request.target), lines, behind_target, method, bodyless, is_repeatable(request), is_shareable(request))


def _path(target: bytes) -> str:
    return target.partition(b"?")[0][:PATH_SHOWN_BYTES].decode("ascii")


class AskedBefore:
    """Remembers the last head of one connection, byte for byte, once a second one was like it but for the target.

    What a head means depends on nothing but its bytes, so that the same bytes mean the same; and a path means nothing for
    the rest of the head. The memory belongs to one connection: what another visitor has asked cannot be found out by
    timing it. A visitor who asks once, or something else every time, costs one number.
    """

    __slots__ = ("_asked", "_at", "_fingerprint", "_head", "_rules", "_to")

    def __init__(self, rules: FieldRules = STRANGERS) -> None:
        """Remember nothing yet; `rules` say what the connection's visitor may send."""
        self._rules = rules
        self._asked: Asked | None = None
        self._head = b""
        self._at = self._to = 0
        self._fingerprint = 0

    def understand(self, head: bytes) -> Asked:
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
        asked = what_follows(parse_request_head(head, self._rules))
        at = head.find(b" ") + 1
        to = head.find(b" ", at)
        fingerprint = hash(head[to:])
        if fingerprint == self._fingerprint and len(asked.request.fields) <= KNOWN_FIELDS_MAX:
            self._remember(head, asked, at, to)
        else:
            self._head, self._asked = b"", None
        self._fingerprint = fingerprint
        return asked

    def _other_target(self, head: bytes, known: Asked) -> Asked | None:
        """Understand a head that is the known one up to its target and behind it, if it is."""
        at, behind = self._at, self._head[self._to :]
        if not (head.endswith(behind) and head.startswith(self._head[:at])):
            return None
        to = len(head) - len(behind)
        target = head[at:to]
        if not is_origin_form(target):
            return None
        asked = known.with_target(target)
        self._remember(head, asked, at, to)
        return asked

    def _remember(self, head: bytes, asked: Asked, at: int, to: int) -> None:
        if len(head) <= KNOWN_BYTES_MAX:
            self._head, self._asked, self._at, self._to = head, asked, at, to
