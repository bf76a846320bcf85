"""What may be sent twice, and what its failure is called."""

import pytest

from portway.protocol.http1.answers import ANSWERS
from portway.protocol.http1.request import parse_request_head
from portway.protocol.stream_status import StreamStatus
from portway.server.edge.http.policy import answer_to, is_repeatable, may_overlook_body


@pytest.mark.parametrize(
    ("method", "framing", "repeatable", "overlooked"),
    [
        (b"GET", b"", True, False),
        (b"HEAD", b"", True, False),
        (b"DELETE", b"", True, False),
        (b"PUT", b"", True, False),
        (b"PUT", b"Content-Length: 1\r\n", False, False),
        (b"POST", b"", False, False),
        (b"POST", b"Transfer-Encoding: chunked\r\n", False, False),
        (b"PATCH", b"", False, False),
        (b"BREW", b"", False, False),
        (b"get", b"", False, False),
        (b"GET", b"Content-Length: 1\r\n", False, True),
        (b"DELETE", b"Transfer-Encoding: chunked\r\n", False, True),
        (b"BREW", b"Content-Length: 1\r\n", False, True),
    ],
)
def test_methods_and_bodies_decide(method: bytes, framing: bytes, repeatable: bool, overlooked: bool) -> None:
    request = parse_request_head(method + b" / HTTP/1.1\r\nHost: a\r\n" + framing + b"\r\n")
    assert (is_repeatable(request), may_overlook_body(request)) == (repeatable, overlooked)


def test_every_refusal_of_an_agent_has_an_answer() -> None:
    assert all(answer_to(status) in ANSWERS for status in StreamStatus)
    assert answer_to(StreamStatus.TIMED_OUT) == "origin_timeout"
