"""Addresses, port ranges and booleans, parsed from text."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portway.config.values import ListenAddress, PortRange, parse_path, parse_yes_or_no
from portway.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:8080", ListenAddress("127.0.0.1", 8080)),
        (":80", ListenAddress("", 80)),
        ("[::1]:443", ListenAddress("::1", 443)),
        ("tunnel.example.org:4443", ListenAddress("tunnel.example.org", 4443)),
        ("127.0.0.1:0", ListenAddress("127.0.0.1", 0)),
    ],
)
def test_an_address_survives_a_round_trip(text: str, expected: ListenAddress) -> None:
    assert ListenAddress.parse(text) == expected
    assert str(expected) == text


@pytest.mark.parametrize(
    "text", ["", "80", "::1:80", "a b:80", "host:", "host:65536", "host:+80", "host:٨٠", "http://x:80", "a@b:80", "x:80\n"]
)
def test_an_invalid_address_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ConfigError, match=r"expected an address like 127\.0\.0\.1:8080"):
        ListenAddress.parse(text)


@given(st.integers(1, 65535), st.integers(1, 65535))
def test_a_port_range_survives_a_round_trip_and_contains_its_ports(first: int, last: int) -> None:
    first, last = sorted((first, last))
    ports = PortRange.parse(f"{first}-{last}")

    assert PortRange.parse(str(ports)) == ports
    assert first in ports
    assert last in ports
    assert first - 1 not in ports
    assert last + 1 not in ports
    assert len(ports) == last - first + 1


@pytest.mark.parametrize("text", ["", "-", "0", "0-5", "5-4", "1-65536", "1-2-3", "a-b", " 1-2", "1_0-20"])
def test_an_invalid_port_range_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="expected ports"):
        PortRange.parse(text)


def test_booleans_have_the_usual_spellings() -> None:
    assert [parse_yes_or_no(text) for text in ("1", "true", "Yes", "ON")] == [True] * 4
    assert [parse_yes_or_no(text) for text in ("0", "false", "No", "off")] == [False] * 4
    with pytest.raises(ConfigError, match="yes or no, got 'maybe'"):
        parse_yes_or_no("maybe")


def test_a_path_may_begin_with_the_home_directory() -> None:
    assert parse_path("~/x") == Path.home() / "x"
    assert parse_path("/a b") == Path("/a b")
    for text in ("", "a\0b", "~no-such-user-here/x"):
        with pytest.raises(ConfigError, match="expected a path"):
            parse_path(text)
