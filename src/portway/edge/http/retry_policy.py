"""Pure decisions: which requests may be retried, which connections may be shared, and the error code of a stream's failure."""

from portway.protocol.http1.errors import MessageError
from portway.protocol.http1.framing import NO_BODY
from portway.protocol.http1.request import RequestHead
from portway.protocol.stream_status import StreamStatus

_IDEMPOTENT = frozenset({b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"})
"""Methods that may be sent twice (RFC 9110 section 9.2.2)."""

_ERROR_CODES = {
    StreamStatus.REFUSED: "origin_unreachable",
    StreamStatus.UNRESOLVABLE: "origin_unreachable",
    StreamStatus.TIMED_OUT: "origin_timeout",
    StreamStatus.FORBIDDEN: "origin_forbidden",
    StreamStatus.UNKNOWN_TUNNEL: "agent_offline",
    StreamStatus.OVERLOADED: "overloaded",
}


def is_repeatable(request: RequestHead) -> bool:
    """Return whether a request may be sent again after its first stream failed without a response."""
    return request.body == NO_BODY and request.method in _IDEMPOTENT


def is_shareable(request: RequestHead) -> bool:
    """Return whether the connection that carried a request may carry another visitor's afterwards (ADR 0015).

    Not after a body: no origin reports whether it has read one, and what it has not read is the next request to it. Not
    after HEAD: programs that respond to it with a body are common, and that body would be the next response. Not after a
    refused upgrade, whose origin may have switched to another protocol.
    """
    return request.body == NO_BODY and request.method != b"HEAD" and request.upgrade is None


def error_code_for_fault(fault: MessageError) -> str:
    """Return the code for a visitor whose origin sent a response head that is not forwarded."""
    return "origin_head_too_large" if fault.code in ("head_too_large", "target_too_long") else "origin_invalid"


def error_code_for(status: StreamStatus) -> str:
    """Return the code for a visitor whose stream the agent refused."""
    return _ERROR_CODES.get(status, "origin_unreachable")
