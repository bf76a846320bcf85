"""The websocket handshake."""

import pytest

from portway.protocol.http1.errors import MessageError
from portway.protocol.http1.websocket import accept_for, wanted_key

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
FIELDS = [(b"sec-websocket-KEY", KEY)]


def test_the_answer_to_a_key_is_rfc_6455s() -> None:
    assert accept_for(KEY) == b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


@pytest.mark.parametrize("upgrade", [b"websocket", b"WebSocket", b"h2c, websocket", b"h2c\nwebsocket"])
def test_a_key_is_found_where_websocket_is_wanted(upgrade: bytes) -> None:
    assert wanted_key(b"GET", upgrade, 0, FIELDS) == KEY


@pytest.mark.parametrize("upgrade", [None, b"", b"h2c", b"websocket2", b"web socket", b"TLS/1.0"])
def test_no_other_upgrade_is_wanted(upgrade: bytes | None) -> None:
    assert wanted_key(b"GET", upgrade, 0, FIELDS) is None


@pytest.mark.parametrize(
    "keys",
    [[], [KEY, KEY], [b""], [KEY[:-1]], [KEY + b"="], [b"dGhlIHNhbXBsZSBub25jZR=="], [b"dGhlIHNhbXBsZSBub25j\xe4Q=="], [KEY + b"\n"]],
)
def test_a_key_that_is_not_16_bytes_in_base64_is_refused(keys: list[bytes]) -> None:
    with pytest.raises(MessageError):
        wanted_key(b"GET", b"websocket", 0, [(b"Sec-WebSocket-Key", key) for key in keys])


@pytest.mark.parametrize(("method", "body"), [(b"POST", 0), (b"GET", 3), (b"GET", -1)])
def test_a_handshake_is_a_get_without_a_body(method: bytes, body: int) -> None:
    with pytest.raises(MessageError):
        wanted_key(method, b"websocket", body, FIELDS)
