from ipaddress import ip_address

import pytest

from portway.forward.policy.addresses import special_network
from portway.forward.policy.pattern_set import PatternSet, suffixes_of
from portway.forward.policy.patterns import read_pattern


def patterns(*texts: str) -> PatternSet:
    return PatternSet(map(read_pattern, texts))


def test_names_match_by_themselves_and_below_a_suffix() -> None:
    found = patterns("a.example:80", "*.b.example", "a.example:443")

    assert found.match_target("a.example", 443)
    assert found.match_target("a.example", 80)
    assert not found.match_target("a.example", 81)
    assert not found.match_target("x.a.example", 80)
    assert found.match_target("x.y.b.example", 1)
    assert not found.match_target("b.example", 1)
    assert not found.match_target("xb.example", 1)


def test_an_address_is_not_a_name_below_a_suffix() -> None:
    assert not patterns("*.example").match_target("10.0.0.1", 80)
    assert patterns("*:80").match_target("10.0.0.1", 80)
    assert patterns("*").match_target("::1", 80)


def test_a_numeric_target_matches_networks_at_once() -> None:
    found = patterns("10.0.0.0/8:80")

    assert found.has_networks
    assert found.match_target("10.1.2.3", 80)
    assert found.match_target("::ffff:10.1.2.3", 80)
    assert not found.match_target("10.1.2.3", 81)
    assert not found.match_target("a.example", 80)


def test_an_embedded_address_matches_networks_of_ipv4() -> None:
    assert patterns("10.0.0.0/8").match_address(ip_address("64:ff9b::10.0.0.1"), 80)
    assert not patterns("10.0.0.0/8").match_address(ip_address("64:ff9b::11.0.0.1"), 80)


def test_expressions_see_host_and_port() -> None:
    pytest.importorskip("re2")
    found = patterns(r"re:[a-c]\.example:443", r"re:\[2001:db8::1\]:80")

    assert found.match_target("b.example", 443)
    assert not found.match_target("d.example", 443)
    assert found.match_target("2001:db8::1", 80)


@pytest.mark.parametrize(
    ("pattern", "address", "named"),
    [
        ("10.0.0.0/8", "10.0.0.1", True),
        ("10.0.0.1", "10.0.0.1", True),
        ("0.0.0.0/0", "10.0.0.1", False),
        ("10.0.0.0/7", "10.0.0.1", False),
        ("10.0.0.0/8", "64:ff9b::10.0.0.1", False),
        ("64:ff9b::a00:0/104", "64:ff9b::10.0.0.1", True),
        ("64:ff9b::/96", "64:ff9b::10.0.0.1", False),
        ("169.254.0.0/16", "169.254.169.254", False),
        ("169.254.169.254", "169.254.169.254", True),
        ("169.254.0.0/16", "169.254.1.1", True),
        ("::1", "::1", True),
        ("::/0", "::1", False),
        ("*", "10.0.0.1", False),
    ],
)
def test_only_a_network_within_a_special_one_names_it(pattern: str, address: str, named: bool) -> None:
    special = special_network(ip_address(address))

    assert special is not None
    assert patterns(pattern).names_special(ip_address(address), 80, special) == named


def test_suffixes_are_proper_ones_and_the_empty_one() -> None:
    assert list(suffixes_of("a.b.example")) == [".b.example", ".example", ""]
    assert list(suffixes_of("localhost")) == [""]
