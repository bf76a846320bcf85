"""Reads and formats durations and sizes: "1h30m", "500ms", "10MiB", "100mb"."""

import re

from portway.errors import ConfigError

_NUMBER = r"[0-9]{1,12}(?:\.[0-9]{1,6})?"
_DURATION_S = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_DURATION = re.compile("".join(f"(?:({_NUMBER}){unit})?" for unit in _DURATION_S))
"""Each unit at most once, the larger first: "30m1h" is more likely a typing error."""

_SIZE_BYTES: dict[str, int] = {"b": 1} | {
    f"{prefix}{suffix}": int(base**power)
    for power, prefix in enumerate("kmgt", 1)
    for suffix, base in (("b", 1000), ("ib", 1024))
}  # fmt: skip
_SIZE = re.compile(rf"({_NUMBER}) ?([A-Za-z]{{1,3}})?")


def parse_duration_s(text: str) -> float:
    """Return seconds.

    Raises:
        ConfigError: not numbers with the units d, h, m, s, ms; a number without a unit is ambiguous.
    """
    match = _DURATION.fullmatch(text)
    if match is None or not text:
        raise ConfigError(f"invalid duration {text[:40]!a}: expected a value like 90s, 1h30m or 500ms (units d, h, m, s, ms)")
    return sum(float(number) * unit_s for number, unit_s in zip(match.groups(), _DURATION_S.values(), strict=True) if number)


def parse_size_bytes(text: str) -> int:
    """Return bytes: 100,000,000 for "100mb", 104,857,600 for "100MiB", 4,096 for "4096".

    Case is ignored; fractions of a byte are dropped.

    Raises:
        ConfigError: not a number with one of the units B, kB, MB, GB, TB, KiB, MiB, GiB, TiB.
    """
    match = _SIZE.fullmatch(text)
    unit_bytes = _SIZE_BYTES.get((match[2] or "b").lower()) if match else None
    if match is None or unit_bytes is None:
        raise ConfigError(
            f"invalid size {text[:40]!a}: expected a value like 100mb, 10MiB or 4096 (units B, kB, MB, GB, TB, KiB, MiB, GiB, TiB)"
        )
    whole, _, fraction = match[1].partition(".")
    # In integers: a float is inexact from 9 PB on, and for some fractions below.
    return int(whole + fraction) * unit_bytes // int(10 ** len(fraction))


def format_duration(seconds: float) -> str:
    """Return a duration as text, in its two largest units: "12ms", "1.25s", "1h30m"."""
    if seconds < 0.01:
        return f"{_trimmed(seconds * 1000, 2)}ms"
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f}ms"
    if seconds < 59.995:
        return f"{_trimmed(seconds, 2)}s"
    for large, small in (("d", "h"), ("h", "m"), ("m", "s")):
        small_s = _DURATION_S[small]
        count, rest = divmod(round(seconds / small_s), round(_DURATION_S[large] / small_s))
        if count:
            return f"{count}{large}{rest}{small}" if rest else f"{count}{large}"
    return f"{seconds:.0f}s"


def format_size(size_bytes: float) -> str:
    """Return a size as text, in units of 1024 and with about three digits: "512 B", "1.5 MiB"."""
    if size_bytes < 1023.5:
        return f"{size_bytes:.0f} B"
    value, units = float(size_bytes), ["B", "KiB", "MiB", "GiB", "TiB"]
    while value >= 1023.5 and len(units) > 1:
        value /= 1024
        units.pop(0)
    digits = 0 if value >= 100 or units[0] == "B" else 1 if value >= 10 else 2
    return f"{_trimmed(value, digits)} {units[0]}"


def format_count(count: int, thing: str) -> str:
    """Return a count with its noun: "1 request", "2 requests", "1,234 requests"."""
    return f"{count:,} {thing}" if count == 1 else f"{count:,} {thing}s"


def _trimmed(value: float, digits: int) -> str:
    text = f"{value:.{digits}f}"
    return text.rstrip("0").removesuffix(".") if digits else text
