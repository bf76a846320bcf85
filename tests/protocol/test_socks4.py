"""Messages of SOCKS4 and SOCKS4a."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portway.errors import PeerError
from portway.protocol import socks4

ADDRESS = b"\4\1\1\xbb\xc0\0\2\1me\0"
NAME = b"\4\1\1\xbb\0\0\0\1me\0example.org\0"


@pytest.mark.parametrize(("data", "host"), [(ADDRESS, b"192.0.2.1"), (NAME, b"example.org"), (b"\4\1\1\xbb\0\0\0\0\0", b"0.0.0.0")])
def test_a_request_has_an_address_or_a_name(data: bytes, host: bytes) -> None:
    assert socks4.parse_request(data + b"early") == (socks4.Request(1, host, 443), len(data))
    for at in range(1, len(data)):
        assert socks4.parse_request(data[:at]) is None


@pytest.mark.parametrize(
    "data", [b"\5\1\0", b"\4\1\0\x50\1\1\1\1" + b"a" * 256, b"\4\1\0\x50\0\0\0\1\0" + b"a" * 256, b"\4\1\0\x50\0\0\0\1\0\0"]
)
def test_other_versions_and_long_texts_are_refused(data: bytes) -> None:
    with pytest.raises(PeerError):
        socks4.parse_request(data)


@given(st.binary(max_size=600))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        socks4.parse_request(b"\4" + data)
    except PeerError:
        pass


def test_replies_have_eight_bytes() -> None:
    assert (socks4.encode_reply(socks4.GRANTED), len(socks4.encode_reply(91))) == (b"\0\x5a" + bytes(6), 8)
