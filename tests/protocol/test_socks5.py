"""Messages of SOCKS5."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portway.errors import PeerError
from portway.protocol import socks5


def test_messages_of_a_client_are_read_as_written() -> None:
    assert socks5.parse_greeting(socks5.encode_greeting(b"\0\2") + b"more") == (b"\0\2", 4)
    assert socks5.parse_credentials(socks5.encode_credentials(b"ada", b"s\xff") + b"x") == ("ada", b"s\xff", 8)
    for host in ("example.org", "192.0.2.1", "2001:db8::1"):
        data = socks5.encode_request(socks5.CONNECT, host, 443)
        assert socks5.parse_request(data + b"early") == (socks5.Request(1, host.encode(), 443), len(data))


def test_messages_of_a_server_are_read_as_written() -> None:
    assert socks5.parse_choice(socks5.encode_choice(2)) == 2
    assert (socks5.parse_verdict(b"\1\0"), socks5.parse_verdict(b"\1\1"), socks5.parse_verdict(b"\1")) == (True, False, None)
    data = socks5.encode_reply(socks5.REFUSED, "2001:db8::1", 80)
    assert socks5.parse_reply(data) == (socks5.Reply(5, "2001:db8::1", 80), len(data))


@pytest.mark.parametrize(
    ("parse", "data"),
    [
        (socks5.parse_greeting, socks5.encode_greeting(b"\0\2")),
        (socks5.parse_credentials, socks5.encode_credentials(b"ada", b"secret")),
        (socks5.parse_request, socks5.encode_request(1, "example.org", 443)),
        (socks5.parse_request, socks5.encode_request(1, "2001:db8::1", 443)),
        (socks5.parse_reply, socks5.encode_reply(0)),
    ],
)
def test_an_incomplete_message_is_awaited(parse: object, data: bytes) -> None:
    assert callable(parse)
    for at in range(1, len(data)):
        assert parse(data[:at]) is None
    assert parse(data) is not None


@pytest.mark.parametrize(
    ("parse", "data"),
    [
        (socks5.parse_greeting, b"\4\1\0"),
        (socks5.parse_credentials, b"\5\1a\1b"),
        (socks5.parse_request, b"\4\1\0\1" + bytes(6)),
        (socks5.parse_request, b"\5\1\0\2" + bytes(6)),
        (socks5.parse_request, b"\5\1\0\3\0\0\x50"),
        (socks5.parse_choice, b"HT"),
        (socks5.parse_reply, b"HTTP"),
    ],
)
def test_other_versions_and_types_are_refused(parse: object, data: bytes) -> None:
    assert callable(parse)
    with pytest.raises(PeerError):
        parse(data)


@given(st.binary(max_size=600))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for parse in (socks5.parse_greeting, socks5.parse_credentials, socks5.parse_request, socks5.parse_reply, socks5.parse_choice):
        try:
            parse(data)
        except PeerError:
            pass
