"""Fields of the edge that describe a visitor."""

import pytest

from portway.protocol.http1.forwarding import forwarded_fields, request_start, visitor_address


def test_the_four_fields_agree() -> None:
    assert forwarded_fields(["192.0.2.1"], b"a.localhost:8080", "https") == [
        (b"X-Forwarded-For", b"192.0.2.1"),
        (b"X-Forwarded-Host", b"a.localhost:8080"),
        (b"X-Forwarded-Proto", b"https"),
        (b"Forwarded", b'for=192.0.2.1;host="a.localhost:8080";proto=https'),
    ]


def test_proxies_follow_the_visitor() -> None:
    assert forwarded_fields(["192.0.2.1", "::ffff:10.0.0.1", "2001:db8::2"], b"a", "https", b"8443") == [
        (b"X-Forwarded-For", b"192.0.2.1, 10.0.0.1, 2001:db8::2"),
        (b"X-Forwarded-Host", b"a"),
        (b"X-Forwarded-Proto", b"https"),
        (b"X-Forwarded-Port", b"8443"),
        (b"Forwarded", b'for=192.0.2.1;host="a";proto=https, for=10.0.0.1, for="[2001:db8::2]"'),
    ]


def test_the_start_is_sent_in_whole_microseconds() -> None:
    assert request_start(1795259999.5000007) == b"X-Request-Start: t=1795259999500000\r\n"


def test_an_ipv6_address_is_quoted_in_forwarded() -> None:
    fields = dict(forwarded_fields(["2001:db8::1"], b"a", "http"))
    assert fields[b"X-Forwarded-For"] == b"2001:db8::1"
    assert fields[b"Forwarded"] == b'for="[2001:db8::1]";host="a";proto=http'


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("fe80::1%eth0", "fe80::1"),
        ("2001:DB8::0:1", "2001:db8::1"),
        ("192.0.2.255", "192.0.2.255"),
        ("0.0.0.0", "0.0.0.0"),
        ("192.0.2.256", "unknown"),
        ("192.0.2.01", "unknown"),
        ("192.0.2", "unknown"),
        ("192.0.2.1\n", "unknown"),
        ("192.0.2.\u0661", "unknown"),
        ("", "unknown"),
        ("a\r\nb", "unknown"),
    ],
)
def test_an_address_has_one_spelling(peer: str, address: str) -> None:
    assert visitor_address(peer) == address
