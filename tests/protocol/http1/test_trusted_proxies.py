"""Forwarding fields of trusted proxies, and their untrusted parts."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portway.protocol.http1.field_rules import FieldRules
from portway.protocol.http1.request import parse_request_head
from portway.protocol.http1.trusted_proxies import HOPS_MAX, Hops, TrustedProxies
from portway.protocol.networks import Networks

TRUSTED = Networks(("10.0.0.0/8", "2001:db8:ffff::/48"))
X = TrustedProxies(TRUSTED, "x-forwarded")
F = TrustedProxies(TRUSTED, "forwarded")


def x(for_: str) -> tuple[str, ...]:
    return X.parse({b"x-forwarded-for": for_.encode()}).addresses


@pytest.mark.parametrize(
    ("sent", "addresses"),
    [
        ("192.0.2.1", ("192.0.2.1",)),
        ("192.0.2.1, 10.0.0.2", ("192.0.2.1", "10.0.0.2")),
        ("6.6.6.6, 192.0.2.1, 10.0.0.3, 10.0.0.2", ("192.0.2.1", "10.0.0.3", "10.0.0.2")),
        ("6.6.6.6\n192.0.2.1", ("192.0.2.1",)),
        ("10.0.0.3, 10.0.0.2", ("10.0.0.3", "10.0.0.2")),
        ("192.0.2.1:4711", ("192.0.2.1",)),
        ("[2001:db8::1]:4711, 2001:DB8:FFFF::2", ("2001:db8::1", "2001:db8:ffff::2")),
        ("2001:db8::1", ("2001:db8::1",)),
        ("::ffff:192.0.2.1", ("192.0.2.1",)),
        ("192.0.2.1, unknown, 10.0.0.2", ("10.0.0.2",)),
        ("unknown", ()),
        ("evil, ", ()),
        ("", ()),
        ("192.0.2.999", ()),
        ("fe80::1%eth0", ()),
        (", ".join(["10.0.0.2"] * 100), ("10.0.0.2",) * HOPS_MAX),
    ],
)
def test_the_visitor_is_the_rightmost_that_is_no_proxy(sent: str, addresses: tuple[str, ...]) -> None:
    assert x(sent) == addresses


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("proto", "https", Hops(scheme="https")),
        ("proto", "http, HTTPS", Hops(scheme="https")),
        ("proto", "https\nhttp", Hops(scheme="http")),
        ("proto", "wss", Hops(scheme="https")),
        ("proto", "gopher", Hops()),
        ("host", "evil.example, app.example.org:8443", Hops(host=b"app.example.org:8443")),
        ("host", "a b", Hops()),
        ("host", 'a"b', Hops()),
        ("port", "8443", Hops(port=b"8443")),
        ("port", "1, 443", Hops(port=b"443")),
        ("port", "65536", Hops()),
        ("port", "0", Hops()),
        ("port", "x", Hops()),
    ],
)
def test_scheme_host_and_port_are_the_last_hops(name: str, value: str, expected: Hops) -> None:
    assert X.parse({f"x-forwarded-{name}".encode(): value.encode()}) == expected
    assert F.parse({f"x-forwarded-{name}".encode(): value.encode()}) == Hops()


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ("for=192.0.2.1;proto=https;host=a.example", Hops(("192.0.2.1",), "https", b"a.example")),
        ("For=192.0.2.1 ; Proto=https", Hops(("192.0.2.1",), "https")),
        ('for="[2001:db8::1]:80";host="a.example:8443"', Hops(("2001:db8::1",), "", b"a.example:8443")),
        ("for=6.6.6.6, for=192.0.2.1;proto=http, for=10.0.0.2;proto=https", Hops(("192.0.2.1", "10.0.0.2"), "https")),
        ('for=6.6.6.6;x=", for=192.0.2.1;proto=https', Hops(("192.0.2.1",), "https")),
        ('for=6.6.6.6;x="\\", for=192.0.2.1;host="a"', Hops(("192.0.2.1",), "", b"a")),
        ('for=6.6.6.6;x="a,b", for=10.0.0.2', Hops(("6.6.6.6", "10.0.0.2"))),
        ("garbage ;;; , for=192.0.2.1", Hops(("192.0.2.1",))),
        ("for=6.6.6.6\nfor=192.0.2.1", Hops(("192.0.2.1",))),
        ("for=192.0.2.1, for=unknown", Hops()),
        ("for=_hidden", Hops()),
        ('for="192.0.2.1', Hops()),
        ("by=10.0.0.2", Hops()),
        ("", Hops()),
        (",", Hops()),
    ],
)
def test_forwarded_is_read_from_its_end(sent: str, expected: Hops) -> None:
    assert F.parse({b"forwarded": sent.encode()}) == expected


@pytest.mark.parametrize("junk", [",", ',a="', 'a="', '\\"', ",a=b", '"', ";", '="\\'])
def test_the_last_entry_is_parsed_quickly_after_any_prefix(junk: str) -> None:
    for_all = f"{junk * (90_000 // len(junk))}, for=192.0.2.1".encode()
    assert F.parse({b"forwarded": for_all}).addresses == ("192.0.2.1",)
    assert X.parse({b"x-forwarded-for": for_all.replace(b"for=", b"")}).addresses == ("192.0.2.1",)


@given(
    st.dictionaries(
        st.sampled_from([b"forwarded", b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"x-forwarded-port"]), st.binary()
    )
)
def test_noise_yields_only_valid_values(expected: Mapping[bytes, bytes]) -> None:
    for family in (X, F):
        hops = family.parse(expected)
        assert hops.scheme in ("", "http", "https")
        assert len(hops.addresses) <= HOPS_MAX
        assert not set(hops.host) - set(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:[]")


PROXY = FieldRules(trusted_headers=("x-auth-request-user", "x-forwarded-user", "remote-*", "x-mine"), proxies=X)
NOBODY = FieldRules(trusted_headers=("x-auth-request-user", "x-forwarded-user", "remote-*", "x-mine"))
SENT = [
    *(
        "X-Auth-Request-User",
        "X_Auth_Request_User",
        "x-auth-request-email",
        "X-Forwarded-User",
        "X-Forwarded-Email",
        "Remote-User",
        "Remote_User",
    ),
    *("X-Mine", "x_mine", "X-Other", "Forwarded", "X-Forwarded-For", "X_Forwarded_For", "X-Forwarded-Server", "X-Request-Start", "Proxy"),
]


def test_trusted_headers_pass_only_from_proxies_and_in_their_own_spelling() -> None:
    head = b"GET / HTTP/1.1\r\nHost: a\r\n" + b"".join(f"{name}: 192.0.2.1\r\n".encode() for name in SENT) + b"\r\n"
    trusted, strange = parse_request_head(head, PROXY), parse_request_head(head, NOBODY)
    assert [name.decode() for name, _ in trusted.fields] == ["X-Auth-Request-User", "X-Forwarded-User", "Remote-User", "X-Mine", "X-Other"]
    assert [name.decode() for name, _ in strange.fields] == ["X-Other"]
    assert trusted.hops == Hops(("192.0.2.1",))
    assert strange.hops is None
