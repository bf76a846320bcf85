"""PROXY v2: HAProxy's own vectors, both directions, and every way to break a header."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portway.errors import MisuseError, PeerError
from portway.protocol.crc32c import crc32c
from portway.protocol.proxy_header import (
    HEADER_BYTES_MAX,
    TLV_ALPN,
    TLV_AUTHORITY,
    TLV_CRC32C,
    TLV_TUNNEL_ID,
    TLV_UNIQUE_ID,
    UNIQUE_ID_BYTES,
    Address,
    ProxyHeader,
    decode,
    encode,
    encode_local,
    encode_visitor,
)

SIGNATURE = bytes.fromhex("0d0a0d0a000d0a515549540a")
# HAProxy's reg-tests/connection/proxy_protocol_tlv_validation.vtc: 127.0.0.1:42 to 127.0.0.1:1337.
HAPROXY_TCP4 = SIGNATURE + bytes.fromhex("21 11 0014 7F000001 7F000001 002A 0539")

ports = st.integers(0, 65535)
ipv4 = st.ip_addresses(v=4).map(str)
ipv6 = st.ip_addresses(v=6).map(str).filter(lambda text: not text.startswith("::ffff:"))
paths = st.text(st.characters(codec="ascii", exclude_characters="\0"), min_size=1, max_size=100).map("/".__add__) | st.sampled_from(
    ["", "@abstract"]
)
tlvs = st.lists(
    st.tuples(st.integers(0, 255).filter(lambda kind: kind != TLV_CRC32C), st.binary(max_size=40)), max_size=4
).map(tuple)  # fmt: skip


def ends(hosts: st.SearchStrategy[str]) -> st.SearchStrategy[tuple[Address, Address]]:
    return st.tuples(st.tuples(hosts, ports), st.tuples(hosts, ports))


addresses = ends(ipv4) | ends(ipv6) | st.tuples(paths, paths).map(lambda two: ((f"unix:{two[0]}", 0), (f"unix:{two[1]}", 0)))
headers = st.one_of(
    st.builds(ProxyHeader, local=st.just(True), tlvs=tlvs),
    st.builds(ProxyHeader, local=st.just(False), tlvs=tlvs),
    st.builds(
        lambda two, some, datagram: ProxyHeader(local=False, source=two[0], destination=two[1], tlvs=some, datagram=datagram),
        addresses,
        tlvs,
        st.booleans(),
    ),
)


def raw(command: int = 0x21, family: int = 0x11, body: bytes = bytes(12), length: int | None = None) -> bytes:
    return SIGNATURE + bytes([command, family]) + (len(body) if length is None else length).to_bytes(2, "big") + body


def decoded(data: bytes) -> ProxyHeader:
    result = decode(data)
    assert result is not None
    assert result[1] == len(data)
    return result[0]


@given(header=headers)
def test_every_header_survives_the_wire(header: ProxyHeader) -> None:
    assert decoded(encode(header)) == header


@given(header=headers, rest=st.binary(max_size=30))
def test_any_cut_means_need_more_until_the_last_byte_and_nothing_beyond_is_taken(header: ProxyHeader, rest: bytes) -> None:
    wire = encode(header)
    assert all(decode(wire[:cut]) is None for cut in range(len(wire)))
    assert decode(memoryview(wire + rest)) == (header, len(wire))


@given(noise=st.binary(max_size=100))
def test_noise_is_refused(noise: bytes) -> None:
    if not SIGNATURE.startswith(noise[:12]):
        with pytest.raises(PeerError):
            decode(noise)


@given(command=st.sampled_from([0x20, 0x21]), family=st.sampled_from([0, 0x11, 0x12, 0x21, 0x22, 0x31, 0x32]), body=st.binary(max_size=300))
def test_noise_behind_a_signature_is_a_header_or_the_peers_fault(command: int, family: int, body: bytes) -> None:
    try:
        header = decoded(raw(command, family, body))
    except PeerError:
        assert command == 0x21, "a LOCAL header is valid whatever it holds"
    else:
        assert header.local == (command == 0x20)


def test_haproxys_valid_header_is_read() -> None:
    header = decoded(HAPROXY_TCP4 + bytes.fromhex("02 0005 3132333435"))
    assert header == ProxyHeader(False, ("127.0.0.1", 42), ("127.0.0.1", 1337), ((TLV_AUTHORITY, b"12345"),))
    assert encode(header) == HAPROXY_TCP4 + bytes.fromhex("02 0005 3132333435")


def test_bytes_after_the_header_that_look_like_a_tlv_belong_to_the_visitor() -> None:
    wire = HAPROXY_TCP4 + bytes.fromhex("02 0005 3132333435  02 0005 3534333231")
    result = decode(wire)
    assert result is not None
    assert (result[0].tlvs, result[1]) == (((TLV_AUTHORITY, b"12345"),), len(wire) - 8)


@pytest.mark.parametrize(
    ("tlv", "reason"),
    [
        ("02 000A 31323334353132333435", "0x02 of 10 bytes, but the header ends after 5"),
        ("02 0004 31323334", "stray"),
    ],
)
def test_haproxys_invalid_tlvs_are_refused(tlv: str, reason: str) -> None:
    with pytest.raises(PeerError, match=reason):
        decode(HAPROXY_TCP4 + bytes.fromhex(tlv) + b"GET / HTTP/1.1")


@pytest.mark.parametrize("stray", [b"\x01", b"\x01\x00"])
def test_a_part_of_a_tlv_at_the_end_is_refused(stray: bytes) -> None:
    with pytest.raises(PeerError, match="stray"):
        decode(raw(body=bytes(12) + stray))


def test_the_families_of_the_specification() -> None:
    four = bytes([192, 0, 2, 1, 198, 51, 100, 2]) + b"\x12\x34\x01\xbb"
    assert decoded(raw(0x21, 0x11, four)) == ProxyHeader(False, ("192.0.2.1", 0x1234), ("198.51.100.2", 443))
    assert decoded(raw(0x21, 0x12, four)) == ProxyHeader(False, ("192.0.2.1", 0x1234), ("198.51.100.2", 443), datagram=True)
    six = bytes.fromhex("20010db8000000000000000000000001" + "00000000000000000000000000000001") + b"\x00\x01\xff\xff"
    assert decoded(raw(0x21, 0x21, six)) == ProxyHeader(False, ("2001:db8::1", 1), ("::1", 65535))
    unix = b"/run/a".ljust(108, b"\0") + b"\0abstract".ljust(108, b"\0")
    assert decoded(raw(0x21, 0x31, unix)) == ProxyHeader(False, ("unix:/run/a", 0), ("unix:@abstract", 0))
    full = b"/" * 108 + bytes(108)
    assert decoded(raw(0x21, 0x31, full)) == ProxyHeader(False, ("unix:" + "/" * 108, 0), ("unix:", 0))
    assert decoded(raw(0x21, 0x00, b"")) == ProxyHeader(local=False)


@pytest.mark.parametrize("family", [0x01, 0x02, 0x10, 0x13, 0x20, 0x23, 0x30, 0x33, 0x41, 0xFF])
def test_an_unknown_family_is_refused_but_ignored_when_local(family: int) -> None:
    with pytest.raises(PeerError, match=f"family 0x{family:02x}"):
        decode(raw(0x21, family, bytes(216)))
    assert decoded(raw(0x20, family, bytes(216))).local


@pytest.mark.parametrize("command", [0x00, 0x01, 0x11, 0x22, 0x2F, 0x31, 0xFF])
def test_another_version_or_command_is_refused(command: int) -> None:
    with pytest.raises(PeerError, match=f"0x{command:02x}"):
        decode(raw(command))


@pytest.mark.parametrize(("family", "length"), [(0x11, 0), (0x11, 11), (0x12, 11), (0x21, 12), (0x21, 35), (0x31, 215)])
def test_too_few_bytes_for_the_addresses_are_refused(family: int, length: int) -> None:
    with pytest.raises(PeerError, match=f"{length} bytes of addresses"):
        decode(raw(0x21, family, bytes(length)))


@pytest.mark.parametrize("length", [HEADER_BYTES_MAX - 15, 1000, 65535])
def test_a_header_above_the_bound_is_refused_before_its_bytes_arrive(length: int) -> None:
    with pytest.raises(PeerError, match=f"{length + 16} bytes: expected at most 512"):
        decode(raw(body=b"", length=length))
    assert decode(raw(body=b"", length=length), bytes_max=70_000) is None


def test_the_bound_itself_is_allowed() -> None:
    body = bytes(12) + b"\x04" + (HEADER_BYTES_MAX - 31).to_bytes(2, "big") + bytes(HEADER_BYTES_MAX - 31)
    assert len(encode(decoded(raw(body=body)))) == HEADER_BYTES_MAX


def test_version_1_is_called_by_its_name() -> None:
    with pytest.raises(PeerError, match="PROXY v1"):
        decode(b"PROXY TCP4 192.0.2.1 198.51.100.2 1234 443\r\n")


@pytest.mark.parametrize("start", [b"G", b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01", b"\r\n\r\n\0\r\nQUIX", SIGNATURE[:11] + b"\r"])
def test_anything_else_is_refused_at_the_first_wrong_byte(start: bytes) -> None:
    with pytest.raises(PeerError, match="expected a PROXY protocol v2 header"):
        decode(start)


def with_crc(body: bytes, spoil: int = 0) -> bytes:
    wire = raw(body=body + b"\x03\0\x04" + bytes(4))
    return wire[:-4] + (crc32c(wire) ^ spoil).to_bytes(4, "big")


def test_a_right_checksum_is_accepted_and_a_wrong_one_refused() -> None:
    assert decoded(with_crc(bytes(range(12)))).tlv(TLV_CRC32C) is not None
    with pytest.raises(PeerError, match="checksum"):
        decode(with_crc(bytes(range(12)), spoil=1))
    with pytest.raises(PeerError, match="checksum"):
        decode(raw(body=bytes(12) + b"\x03\0\x02\0\0"))


def test_a_local_header_is_always_valid_and_its_tlvs_are_read_if_possible() -> None:
    tunnel = b"\xe0\0\x04\0\0\0\x07"
    assert decoded(raw(0x20, 0x00, b"")) == ProxyHeader(local=True)
    assert decoded(raw(0x20, 0x00, tunnel)).tunnel_id == 7
    assert decoded(raw(0x20, 0x11, bytes(12) + tunnel)).tunnel_id == 7
    assert decoded(raw(0x20, 0x21, b"short")) == ProxyHeader(local=True)
    assert decoded(raw(0x20, 0x00, b"\xff" * 20)) == ProxyHeader(local=True)


def test_a_visitors_preamble_contains_all_arguments() -> None:
    wire = encode_visitor(("2001:db8::1", 50000), ("2001:db8::2", 443), 7, b"0123456789abcdef", sni="app.example.org", alpn=b"h2")
    header = decoded(wire)
    assert (header.source, header.destination) == (("2001:db8::1", 50000), ("2001:db8::2", 443))
    assert (header.local, header.tunnel_id, header.unique_id) == (False, 7, b"0123456789abcdef")
    assert (header.tlv(TLV_AUTHORITY), header.tlv(TLV_ALPN)) == (b"app.example.org", b"h2")
    assert encode(header) == wire


def test_unknown_values_are_omitted() -> None:
    header = decoded(encode_visitor(("192.0.2.1", 1), ("192.0.2.2", 2), 3, b""))
    assert header.tlvs == ((TLV_TUNNEL_ID, b"\0\0\0\x03"),)
    assert header.tlv(TLV_UNIQUE_ID) is None


def test_the_largest_preamble_fits() -> None:
    wire = encode_visitor(("::1", 1), ("::2", 2), 2**32 - 1, bytes(32), sni="a" * 253, alpn=b"a" * 32)
    assert len(wire) <= HEADER_BYTES_MAX


def test_the_preamble_of_a_pooled_stream_names_the_tunnel_and_no_visitor() -> None:
    assert decoded(encode_local(9)) == ProxyHeader(local=True, tlvs=((TLV_TUNNEL_ID, b"\0\0\0\x09"),))
    assert decoded(encode_local(9)).tunnel_id == 9
    assert not decoded(encode_local(9)).wants_untouched
    asking = decoded(encode_local(9, b"u", wants_untouched=True))
    assert (asking.tunnel_id, asking.unique_id, asking.wants_untouched) == (9, b"u", True)
    assert not decoded(encode(ProxyHeader(local=True, tlvs=((0xE1, b"\2"),)))).wants_untouched
    named = decoded(encode_local(9, b"u" * UNIQUE_ID_BYTES))
    assert (named.local, named.tunnel_id, named.unique_id) == (True, 9, b"u" * UNIQUE_ID_BYTES)


@pytest.mark.parametrize(
    "tlvs",
    [(), ((0xE0, b"\0\0\x07"),), ((0xE0, b"\0\0\0\0\x07"),), ((0xE0, b"\0\0\0\x07"), (0xE0, b"\0\0\0\x08"))],
    ids=["none", "short", "long", "two"],
)
def test_a_tunnel_id_is_valid_only_exactly_once(tlvs: tuple[tuple[int, bytes], ...]) -> None:
    assert ProxyHeader(local=True, tlvs=tlvs).tunnel_id is None


def test_an_ipv4_visitor_of_a_dual_stack_listener_is_sent_as_ipv4() -> None:
    header = decoded(encode_visitor(("::ffff:192.0.2.1", 1), ("::ffff:192.0.2.2", 2), 1, b""))
    assert (header.source, header.destination) == (("192.0.2.1", 1), ("192.0.2.2", 2))
    assert encode_visitor(("::ffff:192.0.2.1", 1), ("192.0.2.2", 2), 1, b"")[13] == 0x11


@pytest.mark.parametrize("six", ["2001:db8::1", "::1", "::"])
def test_ends_of_both_families_are_sent_as_ipv6(six: str) -> None:
    wire = encode(ProxyHeader(False, ("192.0.2.1", 1), (six, 2)))
    assert wire[13] == 0x21
    assert wire[16:32] == bytes.fromhex("00000000000000000000ffffc0000201")
    assert decoded(wire) == ProxyHeader(False, ("192.0.2.1", 1), (six, 2))


def test_a_link_local_visitor_is_sent_without_its_interface() -> None:
    assert decoded(encode_visitor(("fe80::1%eth0", 1), ("fe80::2", 2), 1, b"")).source == ("fe80::1", 1)


@pytest.mark.parametrize(
    "header",
    [
        ProxyHeader(False, ("app.example.org", 1), ("192.0.2.1", 2)),
        ProxyHeader(False, ("192.0.2.1", 1), None),
        ProxyHeader(True, ("192.0.2.1", 1), ("192.0.2.1", 1)),
        ProxyHeader(False, ("unix:/a", 0), ("192.0.2.1", 1)),
        ProxyHeader(False, ("unix:/" + "a" * 108, 0), ("unix:/b", 0)),
        ProxyHeader(local=True, tlvs=((4, bytes(500)),)),
    ],
)
def test_values_that_cannot_be_encoded_are_misuse(header: ProxyHeader) -> None:
    with pytest.raises(MisuseError):
        encode(header)
