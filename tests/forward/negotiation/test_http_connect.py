"""Heads of CONNECT, and credentials in them; tests/forward/test_proxy.py sends them over sockets."""

import base64

import pytest

from portway.forward.negotiation import fixed_target, http_responses, socks4, socks5
from portway.forward.negotiation.http_connect import basic_credentials
from portway.forward.negotiation.http_responses import failure_response
from portway.forward.outcomes import Failure, Outcome


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (b"Basic " + base64.b64encode(b"ada:se:cret"), ("ada", b"se:cret")),
        (b"basic  " + base64.b64encode(b"ada:"), ("ada", b"")),
        (b"Basic " + base64.b64encode("jürgen:ß".encode()), ("jürgen", "ß".encode())),
        (b"Basic " + base64.b64encode(b"no-colon"), None),
        (b"Basic !!!", None),
        (b"Bearer abc", None),
        (None, None),
    ],
)
def test_credentials_are_basic(value: bytes | None, found: tuple[str, bytes] | None) -> None:
    assert basic_credentials(value) == found


def test_a_response_says_cause_and_next_step_and_is_safe_in_a_field() -> None:
    response = failure_response(Failure(Outcome.FORBIDDEN, 'x "quoted" ü\r\nInjected: yes'))
    head, _, body = response.partition(b"\r\n\r\n")
    assert b"\r\nInjected" not in head
    assert body == '403 Forbidden: x "quoted" ü\r\nInjected: yes\n'.encode()
    assert b"Content-Length: %d" % len(body) in head
    assert failure_response(Failure(Outcome.FORBIDDEN, "x"), head_only=True).endswith(b"\r\n\r\n")
    assert b"Connection: close" not in failure_response(Failure(Outcome.FORBIDDEN, "x"), keep_alive=True)


def test_protocols_have_names_for_logs() -> None:
    assert (socks4.Socks4Negotiation.protocol, socks5.Socks5Negotiation.protocol) == ("socks4", "socks5")
    assert fixed_target.FixedTargetNegotiation().failed(Failure(Outcome.REFUSED, "x")) == b""
    assert http_responses.PROXY_NAME == "portway"
