"""Upgrades: which may be asked for, and which 101 answers them."""

import pytest

from portway.protocol.http1.errors import MessageError
from portway.protocol.http1.upgrade import allowed_protocols, check_switch


@pytest.mark.parametrize(
    ("sent", "goes_on"),
    [
        (b"websocket", b"websocket"),
        (b"WebSocket", b"WebSocket"),
        (b"tcp", b"tcp"),
        (b"SPDY/3.1", b"SPDY/3.1"),
        (b"my-own/1", b"my-own/1"),
        (b"h2c, websocket", b"websocket"),
        (b"h2c\nwebsocket", b"websocket"),
        (b"a , b\nc", b"a, b, c"),
    ],
)
def test_every_protocol_may_be_asked_for(sent: bytes, goes_on: bytes) -> None:
    assert allowed_protocols(sent) == goes_on


@pytest.mark.parametrize(
    "sent",
    [
        *(None, b"", b",", b"h2c", b"H2C", b"h2", b"h2c-14", b"HTTP/2.0", b"http/1.1", b"https", b"TLS/1.0", b"tls", b"h3"),
        *(b"web socket", b'"websocket"', b"a/b/c", b"/1", b"a/", b"\xe4"),
    ],
)
def test_protocols_that_carry_http_and_invalid_names_are_removed(sent: bytes | None) -> None:
    assert allowed_protocols(sent) is None


@pytest.mark.parametrize(
    ("asked", "chosen"), [(b"websocket", b"WebSocket"), (b"SPDY/3.1", b"spdy/3.1"), (b"a, b", b"b"), (b"a, b", b"b, a"), (b"tcp", b"tcp,")]
)
def test_a_101_to_a_requested_protocol_is_accepted(asked: bytes, chosen: bytes) -> None:
    check_switch(asked, chosen, whole=True)


@pytest.mark.parametrize("chosen", [None, b"", b",", b"h2c", b"websocket, h2c", b"websocket/2", b"web"])
def test_any_other_101_is_refused(chosen: bytes | None) -> None:
    with pytest.raises(MessageError):
        check_switch(b"websocket", chosen, whole=True)


def test_a_101_without_a_requested_upgrade_is_refused() -> None:
    with pytest.raises(MessageError, match="without a requested upgrade"):
        check_switch(None, b"websocket", whole=True)


def test_a_101_before_the_complete_request_is_refused() -> None:
    with pytest.raises(MessageError, match="request was complete"):
        check_switch(b"tcp", b"tcp", whole=False)
