"""Durations and sizes, as people write them and as we write them back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portway.errors import ConfigError
from portway.protocol.units import format_count, format_duration, format_size, parse_duration_s, parse_size_bytes


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("1h30m", 5400),
        ("500ms", 0.5),
        ("0s", 0),
        ("1.5h", 5400),
        ("30d", 2_592_000),
        ("1d1h1m1s1ms", 90061.001),
        ("2m0.5s", 120.5),
    ],
)
def test_a_duration_is_read(text: str, seconds: float) -> None:
    assert parse_duration_s(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "90",
        "s",
        "-1s",
        "+1s",
        "1_0s",
        "1e3s",
        "1 h",
        "30m1h",
        "1h1h",
        "1w",
        "1S",
        "1,5h",
        ".5s",
        "1.s",
        "٣s",
        "1s\n",
        "inf",
        "1" * 13 + "s",
    ],
)
def test_an_invalid_duration_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ConfigError, match="expected a value like 90s, 1h30m or 500ms"):
        parse_duration_s(text)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("4096", 4096),
        ("0", 0),
        ("512b", 512),
        ("100mb", 100_000_000),
        ("10MiB", 10 * 2**20),
        ("10 MiB", 10 * 2**20),
        ("1kB", 1000),
        ("1KiB", 1024),
        ("1.5GB", 1_500_000_000),
        ("1.1MiB", 1_153_433),
        ("2TiB", 2 * 2**40),
        ("900719925474.000001MB", 900_719_925_474_000_001),
    ],
)
def test_a_size_is_read_to_the_byte(text: str, size: int) -> None:
    assert parse_size_bytes(text) == size


@pytest.mark.parametrize(
    "text", ["", "mb", "-1mb", "+1", "1_000", "1e6", "10  MiB", "10m", "10MiBs", "1PB", "0x10", "1.b", "٣mb", "1mb\n", "10 \u212aB"]
)
def test_an_invalid_size_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ConfigError, match="expected a value like 100mb, 10MiB or 4096"):
        parse_size_bytes(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0ms"),
        (0.00042, "0.42ms"),
        (0.0123, "12ms"),
        (0.9994, "999ms"),
        (0.9996, "1s"),
        (1.234, "1.23s"),
        (59.99, "59.99s"),
        (59.996, "1m"),
        (75, "1m15s"),
        (3599.6, "1h"),
        (5400, "1h30m"),
        (86399, "1d"),
        (90_000, "1d1h"),
        (2_592_000, "30d"),
    ],
)
def test_a_duration_is_written_in_its_two_largest_units(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1 KiB"),
        (1536, "1.5 KiB"),
        (10_000, "9.77 KiB"),
        (2**20 - 1, "1 MiB"),
        (10**8, "95.4 MiB"),
        (2**50, "1024 TiB"),
    ],
)
def test_a_size_is_written_with_three_digits(size: int, text: str) -> None:
    assert format_size(size) == text


@given(seconds=st.floats(0, 1e7))
def test_a_formatted_duration_can_be_parsed_and_is_approximately_equal(seconds: float) -> None:
    assert parse_duration_s(format_duration(seconds)) == pytest.approx(seconds, rel=0.05, abs=0.00001)


@given(size=st.integers(0, 10**15))
def test_a_formatted_size_can_be_parsed_and_is_approximately_equal(size: int) -> None:
    assert parse_size_bytes(format_size(size)) == pytest.approx(size, rel=0.006)


@pytest.mark.parametrize(("count", "text"), [(0, "0 relays"), (1, "1 relay"), (2, "2 relays"), (12_345, "12,345 relays")])
def test_a_count_agrees_with_its_noun(count: int, text: str) -> None:
    assert format_count(count, "relay") == text
