"""HTTPS_PROXY, ALL_PROXY and NO_PROXY: which variable applies to which server."""

import pytest

from portway.protocol.proxy_environment import is_excepted, proxy_variable


def test_the_first_variable_that_is_not_empty_applies() -> None:
    environ = {"ALL_PROXY": "socks5://p", "HTTP_PROXY": "http://other"}
    assert proxy_variable("example.org", 4443, environ) == "ALL_PROXY"
    assert proxy_variable("example.org", 4443, environ | {"all_proxy": "x"}) == "all_proxy"
    assert proxy_variable("example.org", 4443, environ | {"HTTPS_PROXY": "x"}) == "HTTPS_PROXY"
    assert proxy_variable("example.org", 4443, environ | {"HTTPS_PROXY": "x", "https_proxy": "y"}) == "https_proxy"
    assert proxy_variable("example.org", 4443, environ | {"HTTPS_PROXY": " "}) == "ALL_PROXY"
    assert proxy_variable("example.org", 4443, {"HTTP_PROXY": "http://p"}) is None


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST.", "127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"])
def test_this_machine_is_never_reached_through_a_proxy(host: str) -> None:
    assert proxy_variable(host, 4443, {"HTTPS_PROXY": "http://p"}) is None


def test_exceptions_apply_in_either_case() -> None:
    for name in ("NO_PROXY", "no_proxy"):
        assert proxy_variable("a.example.org", 4443, {"HTTPS_PROXY": "http://p", name: "example.org"}) is None
    assert proxy_variable("a.example.com", 4443, {"HTTPS_PROXY": "http://p", "no_proxy": "example.org"}) == "HTTPS_PROXY"


@pytest.mark.parametrize(
    ("entry", "inside", "outside"),
    [
        ("*", ["a", "10.0.0.1", "::1"], []),
        ("example.org", ["example.org", "a.example.org", "EXAMPLE.org."], ["xexample.org", "example.org.evil"]),
        (".example.org", ["a.example.org", "b.a.example.org"], ["example.org", "xexample.org"]),
        ("*.example.org", ["a.example.org"], ["example.org"]),
        ("Example.ORG:4443", ["example.org"], []),
        ("example.org:443", [], ["example.org"]),
        ("10.0.0.0/8", ["10.1.2.3"], ["11.0.0.1", "ten.example.org"]),
        ("10.1.2.3", ["10.1.2.3", "::ffff:10.1.2.3"], ["10.1.2.30"]),
        ("10.1.2.3:4443", ["10.1.2.3"], []),
        ("fd00::/8", ["fd00::1"], ["fe80::1"]),
        ("fd00::1", ["fd00::1", "fd00:0::1"], ["fd00::2"]),
        ("[fd00::1]:4443", ["fd00::1"], []),
        ("[fd00::1]:1", [], ["fd00::1"]),
        ("a, b  c", ["a", "b", "c"], ["d"]),
        (". * ,,", ["anything"], []),
        ("., , /, 1/2/3", [], ["a", "1.2.3.4"]),
    ],
)
def test_entries_of_the_list(entry: str, inside: list[str], outside: list[str]) -> None:
    assert [is_excepted(host, 4443, entry) for host in inside] == [True] * len(inside)
    assert [is_excepted(host, 4443, entry) for host in outside] == [False] * len(outside)
