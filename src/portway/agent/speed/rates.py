"""Formats rates and round trips."""

from portway.protocol.units import format_duration


def format_rate(bytes_per_s: float) -> str:
    """Return a rate in bits per second, decimal units and three digits: "850 kbit/s", "46.8 Mbit/s", "3.14 Gbit/s"."""
    rate, units = bytes_per_s * 8 / 1000, ["kbit/s", "Mbit/s", "Gbit/s"]
    while rate >= 999.5 and len(units) > 1:
        rate /= 1000
        units.pop(0)
    return f"{three_digits(rate)} {units[0]}"


def format_rtt(seconds: float) -> str:
    """Return a round trip in milliseconds, a short one with one decimal: "0.3ms", "41ms"."""
    return format_duration(round(seconds, 3 if seconds >= 0.00995 else 4))


def three_digits(number: float) -> str:
    """Return a number with about three significant digits: "0.85", "46.8", "1240"."""
    return f"{number:.{2 if number < 9.995 else 1 if number < 99.95 else 0}f}"
