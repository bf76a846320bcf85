"""What may be sent twice, whose connection may be used again, and how a stream's failure is called: pure decisions."""

from portway.protocol.http1.framing import NO_BODY
from portway.protocol.http1.request import RequestHead
from portway.protocol.stream_status import StreamStatus

_IDEMPOTENT = frozenset({b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"})
"""Methods that may be sent twice (RFC 9110 section 9.2.2)."""

_MEANT_FOR_BODIES = frozenset({b"POST", b"PUT", b"PATCH", b"QUERY", b"PROPFIND", b"PROPPATCH", b"REPORT", b"SEARCH"})
"""Methods whose body no origin overlooks."""

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


def may_overlook_body(request: RequestHead) -> bool:
    """Return whether an origin could ignore the request's body and read it as the next request.

    Its connection is not used again then: the next request would be another visitor's (threats S3, "CL.0").
    """
    return request.body != NO_BODY and request.method not in _MEANT_FOR_BODIES


def answer_to(status: StreamStatus) -> str:
    """Return the code of the answer to a visitor whose stream the agent refused."""
    return _ANSWER_TO.get(status, "origin_unreachable")
