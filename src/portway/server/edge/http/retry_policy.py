"""What may be sent twice, whose connection may be used again, and how a stream's failure is called: pure decisions."""

from portway.protocol.http1.errors import MessageError
from portway.protocol.http1.framing import NO_BODY
from portway.protocol.http1.request import RequestHead
from portway.protocol.stream_status import StreamStatus

_IDEMPOTENT = frozenset({b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"})
"""Methods that may be sent twice (RFC 9110 section 9.2.2)."""

_ANSWER_TO = {
    StreamStatus.REFUSED: "origin_unreachable",
    StreamStatus.UNRESOLVABLE: "origin_unreachable",
    StreamStatus.TIMED_OUT: "origin_timeout",
    StreamStatus.FORBIDDEN: "origin_forbidden",
    StreamStatus.UNKNOWN_TUNNEL: "agent_offline",
    StreamStatus.OVERLOADED: "overloaded",
}


def is_repeatable(request: RequestHead) -> bool:
    """Return whether a request may be sent again when its first stream failed without an answer."""
    return request.body == NO_BODY and request.method in _IDEMPOTENT


def is_shareable(request: RequestHead) -> bool:
    """Return whether the connection that carried a request may carry another visitor's afterwards (ADR 0015).

    Not after a body: no origin tells whether it has read one, and what it has not read is the next request to it. Not
    after HEAD: programs that answer it with a body are common, and that body would be the next answer. Not after a
    refused upgrade, whose origin may have gone on to another protocol.
    """
    return request.body == NO_BODY and request.method != b"HEAD" and request.upgrade is None


def answer_to_fault(fault: MessageError) -> str:
    """Return the code of the answer to a visitor whose origin answered with a head that is not passed on."""
    return "origin_head_too_large" if fault.code in ("head_too_large", "target_too_long") else "origin_invalid"


def error_code_for(status: StreamStatus) -> str:
    """Return the code of the answer to a visitor whose stream the agent refused."""
    return _ANSWER_TO.get(status, "origin_unreachable")
