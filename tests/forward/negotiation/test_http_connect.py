"""Heads of CONNECT, and credentials in them; tests/forward/test_proxy.py sends them over sockets."""

import base64
from collections.abc import Callable

import pytest

from portway.forward.interfaces import Target, User
from portway.forward.negotiation import fixed_target, http_responses, socks4, socks5
from portway.forward.negotiation.http_connect import HttpNegotiation, _parse_cached, basic_credentials
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


class Asking:
    """A client's connection that records what its negotiation asks for."""

    needs_user = False

    def __init__(self) -> None:
        self.targets: list[Target] = []
        self.failures: list[Failure] = []

    def reply(self, data: bytes) -> None:
        raise AssertionError

    def authenticate(self, name: str, password: bytes, on_checked: Callable[[User | Failure], None]) -> None:
        raise AssertionError

    def connect(self, target: Target, early: bytes, user: User | None = None) -> None:
        self.targets.append(target)

    def associate(self, port: int, reply: Callable[[str, int], bytes], user: User | None = None) -> None:
        raise AssertionError("HTTP has no datagrams")

    def refuse(self, failure: Failure) -> None:
        self.failures.append(failure)


def test_heads_are_remembered_unless_they_have_credentials() -> None:
    client = Asking()
    for field, kept in (
        (b"", 1),
        (b"Proxy-Connection: keep-alive\r\n", 1),
        (b"pRoxy-AuthoriZation: Basic YTpi\r\n", 0),
        (b"X: " + b"x" * 1000 + b"\r\n", 0),
    ):
        _parse_cached.cache_clear()
        head = b"CONNECT example.org:443 HTTP/1.1\r\nHost: example.org:443\r\n" + field + b"\r\n"
        for _ in range(3):
            HttpNegotiation(client).feed(head)
        assert _parse_cached.cache_info().currsize == kept, field[:20]
    assert client.targets == [Target("example.org", 443)] * 12
    assert not client.failures


def test_an_invalid_head_is_refused_each_time() -> None:
    client = Asking()
    for _ in range(2):
        HttpNegotiation(client).feed(b"CONNECT nowhere HTTP/1.1\r\n\r\n")
    assert [failure.outcome for failure in client.failures] == [Outcome.BAD_REQUEST] * 2
