"""PROXY protocol from proxies in front: version 1, and version 2 with their TLVs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portway.errors import PeerError
from portway.protocol.proxy_header import ProxyHeader, encode
from portway.protocol.proxy_inbound import LINE_BYTES_MAX, V2_BYTES_MAX, decode_inbound

V4 = b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n"
V6 = b"PROXY TCP6 2001:db8::1 2001:db8::2 65535 0\r\n"
LONGEST = b"PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535"
SENT_BY_A_LOAD_BALANCER = ProxyHeader(
    local=False,
    source=("192.0.2.1", 56324),
    destination=("198.51.100.1", 443),
    tlvs=((0xEA, b"\x01vpce-" + b"0" * 300), (0x20, b"\x01\0\0\0\0")),
)


@pytest.mark.parametrize(
    ("wire", "source", "destination"),
    [
        (V4, ("192.0.2.1", 56324), ("198.51.100.1", 443)),
        (V6, ("2001:db8::1", 65535), ("2001:db8::2", 0)),
        (b"PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n", ("192.0.2.1", 1), ("::1", 2)),
        (b"PROXY UNKNOWN\r\n", None, None),
        (b"PROXY UNKNOWN ffff:f...f 1 2 3\r\n", None, None),
    ],
)
@pytest.mark.parametrize("follows", [b"", b"GET / HTTP/1.1\r\n"])
def test_a_line_contains_the_visitors_address(wire: bytes, source: object, destination: object, follows: bytes) -> None:
    assert decode_inbound(wire + follows) == (ProxyHeader(local=False, source=source, destination=destination), len(wire))  # type: ignore[arg-type]


def test_both_versions_are_distinguished() -> None:
    v2 = encode(SENT_BY_A_LOAD_BALANCER)
    assert decode_inbound(v2 + b"x") == (SENT_BY_A_LOAD_BALANCER, len(v2))
    assert SENT_BY_A_LOAD_BALANCER.encrypted
    assert not ProxyHeader(local=False, tlvs=((0x20, b"\0\0\0\0\0"),)).encrypted
    assert not ProxyHeader(local=False, tlvs=((0x20, b""),)).encrypted
    assert not ProxyHeader(local=False).encrypted


@pytest.mark.parametrize("wire", [V4, V6, b"PROXY UNKNOWN\r\n", encode(SENT_BY_A_LOAD_BALANCER)])
def test_a_part_is_waited_for(wire: bytes) -> None:
    for size in range(len(wire)):
        assert decode_inbound(wire[:size]) is None
    assert decode_inbound(wire) is not None


@pytest.mark.parametrize(
    "wire",
    [
        *(b"GET / HTTP/1.1\r\n", b"proxy TCP4", b"PROXY\r\n", b"PROXY \r\n", b"PROXX", b"\x16\x03\x01", b"\r\n\r\nX"),
        *(b"PROXY TCP4 192.0.2.1 198.51.100.1 56324\r\n", b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 443 1\r\n"),
        *(b"PROXY TCP4  192.0.2.1 198.51.100.1 1 2\r\n", b"PROXY TCP4 192.0.2.1 198.51.100.1 1 2 \r\n"),
        *(b"PROXY TCP4 192.0.2.1 198.51.100.1 01 2\r\n", b"PROXY TCP4 192.0.2.1 198.51.100.1 65536 2\r\n"),
        *(b"PROXY TCP4 192.0.2.256 198.51.100.1 1 2\r\n", b"PROXY TCP4 192.0.2.01 198.51.100.1 1 2\r\n"),
        *(b"PROXY TCP4 ::1 ::1 1 2\r\n", b"PROXY TCP6 192.0.2.1 192.0.2.1 1 2\r\n", b"PROXY TCP6 fe80::1%1 ::1 1 2\r\n"),
        *(b"PROXY UDP4 192.0.2.1 198.51.100.1 1 2\r\n", b"PROXY TCP4 192.0.2.1 198.51.100.1 -1 2\r\n", b"PROXY UNKNOWNX\r\n"),
        *(b"PROXY TCP4 192.0.2.1 198.51.100.1 1 2\n\r\n", b"PROXY UNKNOWN\x00\r\n", b"PROXY " + b"1" * LINE_BYTES_MAX),
    ],
)
def test_anything_else_is_refused(wire: bytes) -> None:
    with pytest.raises(PeerError):
        decode_inbound(wire)


def test_a_line_and_a_header_are_bounded() -> None:
    line = LONGEST.ljust(LINE_BYTES_MAX - 2, b" ") + b"\r\n"
    assert decode_inbound(line) == (ProxyHeader(local=False), LINE_BYTES_MAX)
    with pytest.raises(PeerError):
        decode_inbound(line[:-2] + b" \r\n")
    with pytest.raises(PeerError, match="at most"):
        decode_inbound(b"\r\n\r\n\0\r\nQUIT\n\x21\x11" + (V2_BYTES_MAX - 15).to_bytes(2, "big"))


@given(st.binary(max_size=120), st.sampled_from([b"", b"PROXY ", b"PROXY TCP4 ", b"\r\n\r\n\0\r\nQUIT\n"]))
def test_noise_is_refused_or_waited_for_and_nothing_else(noise: bytes, start: bytes) -> None:
    try:
        found = decode_inbound(start + noise)
    except PeerError:
        return
    assert found is None or found[1] <= len(start + noise)
