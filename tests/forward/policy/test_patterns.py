from ipaddress import ip_address, ip_network

import pytest

from portway.errors import ConfigError
from portway.forward.policy.patterns import (
    HostPattern,
    NetworkPattern,
    RegexPattern,
    SuffixPattern,
    read_pattern,
    read_patterns,
    unanchored_pattern,
)


@pytest.mark.parametrize(
    ("text", "host", "open_ports", "closed_ports"),
    [
        ("a.example", "a.example", (1, 80, 65535), ()),
        ("A.Example.:443", "a.example", (443,), (80, 444)),
        ("a.example:80,8000-8099", "a.example", (80, 8000, 8099), (81, 7999, 8100)),
        ("localhost:22", "localhost", (22,), (23,)),
        ("xn--bcher-kva.example", "xn--bcher-kva.example", (1,), ()),
    ],
)
def test_a_name_has_optional_ports(text: str, host: str, open_ports: tuple[int, ...], closed_ports: tuple[int, ...]) -> None:
    pattern = read_pattern(text)

    assert isinstance(pattern, HostPattern)
    assert pattern.host == host
    assert [port for port in (*open_ports, *closed_ports) if port in pattern.ports] == list(open_ports)


def test_a_suffix_has_optional_ports() -> None:
    pattern = read_pattern("*.Example.org:443")

    assert isinstance(pattern, SuffixPattern)
    assert pattern.suffix == ".example.org"
    assert 443 in pattern.ports
    assert 80 not in pattern.ports


@pytest.mark.parametrize("text", ["*", "*:443"])
def test_a_star_is_every_target(text: str) -> None:
    pattern = read_pattern(text)

    assert isinstance(pattern, SuffixPattern)
    assert pattern.suffix == ""
    assert 443 in pattern.ports


@pytest.mark.parametrize(
    ("text", "network"),
    [
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("10.0.0.1", "10.0.0.1/32"),
        ("10.0.0.1:443", "10.0.0.1/32"),
        ("10.0.0.0/8:443", "10.0.0.0/8"),
        ("::1", "::1/128"),
        ("2001:db8::/32", "2001:db8::/32"),
        ("[2001:db8::/32]:443", "2001:db8::/32"),
        ("[::1]:443", "::1/128"),
        ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
    ],
)
def test_a_network_has_optional_ports(text: str, network: str) -> None:
    pattern = read_pattern(text)

    assert isinstance(pattern, NetworkPattern)
    assert pattern.network == ip_network(network)
    assert pattern.matches(ip_network(network)[0], 443)
    assert pattern.matches(ip_network(network)[0], 80) == (":443" not in text)
    assert not pattern.matches(ip_address("192.0.2.1"), 443)


def test_an_expression_matches_the_whole_target() -> None:
    pytest.importorskip("re2")
    pattern = read_pattern(r"re:(www\.)?example\.org:(80|443)")

    assert isinstance(pattern, RegexPattern)
    assert pattern.expression.matches("www.example.org:443")
    assert not pattern.expression.matches("www.example.org:4433")
    assert not pattern.expression.matches("evil-example.org:443")


def test_an_expression_of_http_tunnel_matches_a_part() -> None:
    pytest.importorskip("re2")
    pattern = unanchored_pattern(r"wikipedia\.org:443")

    assert pattern.expression.matches("en.wikipedia.org:443")
    assert pattern.expression.matches("not-wikipedia.org:4430")
    assert not pattern.expression.matches("wikipedia.org:80")


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            ":443",
            "*.",
            "a..b",
            "a b",
            "a.example:",
            "a.example:0",
            "a.example:65536",
            "a.example:80-",
            "a.example:90-80",
            "a.example:http",
        ),
        *(
            "10.0.0.1/8",
            "10.0.0.0/33",
            "127.1",
            "0x7f.1",
            "0177.0.0.1",
            "256.0.0.1",
            "[::1",
            "[fe80::1%eth0]",
            "[a.example]:443",
            "[::1]443",
        ),
        *(
            "https://a.example/",
            "user@a.example",
            "a.example/path",
            "*a.example",
            "a.*.example",
            "a.example:" + ",".join(["80"] * 65),
            "x" * 5000,
        ),
    ],
)
def test_an_invalid_pattern_is_refused_with_what_was_expected(text: str) -> None:
    with pytest.raises(ConfigError, match="expected"):
        read_pattern(text)


def test_a_wrong_network_is_corrected() -> None:
    with pytest.raises(ConfigError, match=r"did you mean 10\.0\.0\.0/8\?"):
        read_pattern("10.1.2.3/8")


def test_a_name_that_is_not_ascii_is_shown_in_its_ascii_form() -> None:
    with pytest.raises(ConfigError, match=r"xn--bcher-kva\.example"):
        read_pattern("bücher.example")


def test_patterns_of_a_setting_are_lines() -> None:
    assert [pattern.text for pattern in read_patterns("a.example:80,443\n\n *.b.example \n")] == ["a.example:80,443", "*.b.example"]
