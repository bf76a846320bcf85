"""Which requests may be sent twice, and the codes of failures."""

import pytest

from portway.edge.http.retry_policy import error_code_for, is_repeatable, is_shareable
from portway.protocol.http1.error_responses import ERROR_RESPONSES
from portway.protocol.http1.request import parse_request_head
from portway.protocol.stream_status import StreamStatus


@pytest.mark.parametrize(
    ("method", "fields", "repeatable", "shareable"),
    [
        (b"GET", b"", True, True),
        (b"HEAD", b"", True, False),
        (b"DELETE", b"", True, True),
        (b"PUT", b"", True, True),
        (b"PUT", b"Content-Length: 1\r\n", False, False),
        (b"POST", b"", False, True),
        (b"POST", b"Content-Length: 0\r\n", False, True),
        (b"POST", b"Transfer-Encoding: chunked\r\n", False, False),
        (b"POST", b"Content-Length: 1\r\nExpect: 100-continue\r\n", False, False),
        (b"PATCH", b"", False, True),
        (b"BREW", b"", False, True),
        (b"get", b"", False, True),
        (b"GET", b"Content-Length: 1\r\n", False, False),
        (b"DELETE", b"Transfer-Encoding: chunked\r\n", False, False),
    ],
)
def test_methods_and_bodies_decide(method: bytes, fields: bytes, repeatable: bool, shareable: bool) -> None:
    request = parse_request_head(method + b" / HTTP/1.1\r\nHost: a\r\n" + fields + b"\r\n")
    assert (is_repeatable(request), is_shareable(request)) == (repeatable, shareable)


def test_every_refusal_of_an_agent_has_an_answer() -> None:
    assert all(error_code_for(status) in ERROR_RESPONSES for status in StreamStatus)
    assert error_code_for(StreamStatus.TIMED_OUT) == "origin_timeout"
