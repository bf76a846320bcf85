"""Requested changes in the heads of a tunnel, and heads that must not change."""

import pytest

from portway.protocol.http1.fields import Field
from portway.protocol.http1.rewriting import HeadRewriter

PUBLIC = b"app.tunnel.example.org:8080"


def lines(*fields: str) -> bytes:
    return "\r\n".join(["GET /a HTTP/1.1", f"Host: {PUBLIC.decode()}", *fields, ""]).encode()


def vite(**more: object) -> HeadRewriter:
    return HeadRewriter("app.tunnel.example.org", "tunnel.example.org", host=b"localhost:5173", **more)  # type: ignore[arg-type]


def answer(rewriter: HeadRewriter, *fields: Field) -> list[Field]:
    head = b"".join(b"%b: %b\r\n" % field for field in fields)
    return rewriter.response(head, list(fields))


def test_the_origin_is_asked_for_its_own_host() -> None:
    assert vite().request(lines("Accept: */*"), PUBLIC) == b"GET /a HTTP/1.1\r\nHost: localhost:5173\r\nAccept: */*\r\n"


@pytest.mark.parametrize(
    ("value", "seen"),
    [
        ("http://app.tunnel.example.org:8080", "http://localhost:5173"),
        ("https://APP.tunnel.example.org:8080", "http://localhost:5173"),
        ("http://app.tunnel.example.org:8080/a?b=http://x", "http://localhost:5173/a?b=http://x"),
        ("http://app.tunnel.example.org", "http://app.tunnel.example.org"),
        ("http://evil.example", "http://evil.example"),
        ("http://app.tunnel.example.org:8080.evil.example/", "http://app.tunnel.example.org:8080.evil.example/"),
        ("http://evil.example/http://app.tunnel.example.org:8080", "http://evil.example/http://app.tunnel.example.org:8080"),
        ("null", "null"),
    ],
)
def test_only_the_tunnels_own_origin_becomes_the_origins(value: str, seen: str) -> None:
    for name in ("Origin", "Referer", "origin"):
        assert f"{name}: {seen}\r\n".encode() in vite().request(lines(f"{name}: {value}"), PUBLIC)


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        (b"http://localhost:5173/login?next=/", b"/login?next=/"),
        (b"http://LOCALHOST:5173", b"/"),
        (b"http://localhost:5173?a", b"/?a"),
        (b"http://localhost:5173//evil.example", b"/.//evil.example"),
        (b"https://localhost:5173/", b"https://localhost:5173/"),
        (b"http://localhost:5174/", b"http://localhost:5174/"),
        (b"http://localhost:5173.evil.example/", b"http://localhost:5173.evil.example/"),
        (b"/already", b"/already"),
        (b"https://login.example.org/", b"https://login.example.org/"),
    ],
)
def test_a_location_at_the_origin_becomes_a_path(value: bytes, sent: bytes) -> None:
    assert answer(vite(), (b"Location", value)) == [(b"Location", sent)]


def test_a_default_port_is_optional() -> None:
    rewriter = HeadRewriter("app.localhost", "localhost", host=b"site.test", scheme=b"https")
    assert answer(rewriter, (b"Location", b"https://site.test:443/x")) == [(b"Location", b"/x")]


@pytest.mark.parametrize(
    ("cookie", "sent"),
    [
        (b"a=1; Domain=tunnel.example.org; Path=/", b"a=1; Path=/"),
        (b"a=1; domain=.Tunnel.Example.ORG", b"a=1"),
        (b"a=1; Domain=example.org; Secure", b"a=1; Secure"),
        (b"a=1;Domain = org ", b"a=1"),
        (b"a=1; Domain=app.tunnel.example.org", b"a=1; Domain=app.tunnel.example.org"),
        (b"a=1; Domain=x.example; Domain=tunnel.example.org", b"a=1"),
        (b"a=Domain=tunnel.example.org; Path=/", b"a=Domain=tunnel.example.org; Path=/"),
        (b"a=1; Path=/", b"a=1; Path=/"),
    ],
)
def test_a_cookie_stays_with_its_host(cookie: bytes, sent: bytes) -> None:
    plain = HeadRewriter("app.tunnel.example.org", "tunnel.example.org")
    assert answer(plain, (b"SET-cookie", cookie)) == [(b"SET-cookie", sent)]


def test_a_host_of_its_own_may_share_cookies_with_its_own_parent_and_not_with_the_servers() -> None:
    own = HeadRewriter("www.customer.example", "tunnel.example.org")
    assert answer(own, (b"Set-Cookie", b"a=1; Domain=customer.example")) == [(b"Set-Cookie", b"a=1; Domain=customer.example")]
    beside = HeadRewriter("app.example.org", "tunnel.example.org")
    assert answer(beside, (b"Set-Cookie", b"a=1; Domain=example.org")) == [(b"Set-Cookie", b"a=1")]


def test_a_cookie_for_the_origins_own_name_becomes_the_tunnels() -> None:
    assert answer(vite(), (b"Set-Cookie", b"a=1; Domain=localhost; Path=/")) == [(b"Set-Cookie", b"a=1; Path=/")]


def test_fields_are_set_and_removed_in_any_case() -> None:
    rewriter = HeadRewriter(
        "a.localhost", "localhost", request=[(b"X-Key", b"k"), (b"Cookie", None)], response=[(b"Server", None), (b"X-A", b"1")]
    )
    asked = rewriter.request(lines("x-key: visitor", "COOKIE: a=1", "Accept: */*"), PUBLIC)
    assert asked == b"GET /a HTTP/1.1\r\nHost: " + PUBLIC + b"\r\nAccept: */*\r\nX-Key: k\r\n"
    assert answer(rewriter, (b"server", b"x"), (b"x-a", b"0"), (b"B", b"2")) == [(b"B", b"2"), (b"X-A", b"1")]


def test_without_any_setting_requests_are_not_touched() -> None:
    plain = HeadRewriter("app.localhost", "localhost")
    fields = [(b"Location", b"http://localhost/")]
    assert not plain.changes_requests
    assert plain.response(b"Location: http://localhost/\r\n", fields) is fields
