"""Targets as clients write them."""

import pytest

from portway.errors import PeerError
from portway.forward.targets import target_of, target_of_authority


@pytest.mark.parametrize(
    ("authority", "host", "port"),
    [
        (b"Example.ORG:443", "example.org", 443),
        (b"example.org.:443", "example.org", 443),
        (b"xn--bcher-kva.example:1", "xn--bcher-kva.example", 1),
        (b"192.0.2.1:80", "192.0.2.1", 80),
        (b"[2001:DB8:0::1]:80", "2001:db8::1", 80),
        (b"a_b.example:80", "a_b.example", 80),
    ],
)
def test_an_authority_is_normalised(authority: bytes, host: str, port: int) -> None:
    found = target_of_authority(authority)
    assert (found.host, found.port) == (host, port)


@pytest.mark.parametrize(
    "authority",
    [
        b"example.org",
        b":80",
        b"a b:80",
        b"a..b:80",
        b"u@h:80",
        b"h:80:80",
        b"h%00:80",
        b"[::1%25lo]:80",
        b"\xc3\xbc:80",
        b"h:65536",
        b"h:0",
    ],
)
def test_what_is_no_host_and_port_is_refused(authority: bytes) -> None:
    with pytest.raises(PeerError):
        target_of_authority(authority)


def test_hosts_of_socks_have_no_brackets_and_no_port() -> None:
    assert target_of(b"2001:db8::1", 80).host == "2001:db8::1"
    assert target_of(b"Name.test", 80).host == "name.test"
    for host in (b"[::1]", b"name:80", b"name.test:80", b"", b"a" * 300):
        with pytest.raises(PeerError):
            target_of(host, 80)
