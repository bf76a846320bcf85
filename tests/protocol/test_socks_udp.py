"""The datagram header of SOCKS5: any cut, round trip, noise."""

import random
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest

from portway.errors import PeerError
from portway.protocol.socks_udp import (
    ANSWER_HEADER_BYTES_MAX,
    HEADER_BYTES_MAX,
    FragmentError,
    decode_datagram_header,
    encode_datagram_header,
)

NAME = b"\0\0\0\x03\x0bexample.org\x00\x35payload"


def test_a_name_is_returned_as_spelled_with_its_port_and_the_payload_follows() -> None:
    found = decode_datagram_header(NAME)
    assert (found.host, found.port) == ("example.org", 53)
    assert NAME[found.size :] == b"payload"


@pytest.mark.parametrize("text", ["192.0.2.7", "2001:db8::1", "::ffff:127.0.0.1", "255.255.255.255"])
@pytest.mark.parametrize("port", [1, 53, 65535])
def test_an_address_survives_the_round_trip(text: str, port: int) -> None:
    address = ip_address(text)
    header = encode_datagram_header(address, port)
    assert len(header) <= ANSWER_HEADER_BYTES_MAX
    found = decode_datagram_header(memoryview(header + b"x"))
    assert (ip_address(found.host), found.port, found.size) == (address, port, len(header))


def test_the_longest_name_fits() -> None:
    data = b"\0\0\0\x03\xff" + b"a" * 255 + b"\x01\xbb"
    found = decode_datagram_header(data + b"payload")
    assert (found.host, found.size) == ("a" * 255, HEADER_BYTES_MAX)


@pytest.mark.parametrize(
    "data", [NAME[:18], encode_datagram_header(IPv4Address("192.0.2.7"), 53), encode_datagram_header(IPv6Address("::1"), 53)]
)
def test_every_cut_of_a_header_is_refused(data: bytes) -> None:
    decode_datagram_header(data)
    for size in range(len(data)):
        with pytest.raises(PeerError):
            decode_datagram_header(data[:size])


def test_fragments_are_told_apart_from_other_faults() -> None:
    with pytest.raises(FragmentError, match="fragment 1"):
        decode_datagram_header(b"\0\0\x01\x01\x7f\0\0\x01\0\x35x")


@pytest.mark.parametrize(
    "data",
    [
        b"\0\x01\0\x01\x7f\0\0\x01\0\x35x",
        b"\x01\0\0\x01\x7f\0\0\x01\0\x35x",
        b"\0\0\0\x02\x7f\0\0\x01\0\x35x",
        b"\0\0\0\x01\x7f\0\0\x01\0\0x",
        b"\0\0\0\x03\0\0\x35x",
        b"\0\0\0\x03\x02\xc3\xa4\0\x35x",
    ],
    ids=["reserved low", "reserved high", "unknown type", "port 0", "empty name", "not ASCII"],
)
def test_invalid_headers_are_refused(data: bytes) -> None:
    with pytest.raises(PeerError, match="invalid"):
        decode_datagram_header(data)


def test_noise_is_decoded_or_refused() -> None:
    chance = random.Random(7)
    for _ in range(3000):
        data = chance.randbytes(chance.randrange(0, 300))
        if chance.random() < 0.7:
            data = b"\0\0\0" + data
        try:
            found = decode_datagram_header(data)
        except PeerError:
            continue
        assert found.size <= len(data)
        assert 0 < found.port < 65536
