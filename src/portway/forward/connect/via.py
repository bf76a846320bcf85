"""Reads the setting `via`: which targets are reached through which proxy. Pure."""

from dataclasses import dataclass

from portway.errors import ConfigError
from portway.forward.policy.patterns import Pattern, read_pattern
from portway.protocol.proxy_url import ProxyUrl, parse_proxy_url

ROUTES_MAX = 100

DIRECT = "direct"


@dataclass(frozen=True, slots=True)
class Route:
    """The way out of the targets that match a pattern."""

    pattern: Pattern
    proxy: ProxyUrl | None
    """None: directly."""


def read_routes(text: str) -> tuple[Route, ...]:
    """Return routes, one per line: `URL`, `PATTERN=URL` or `PATTERN=direct`.

    Raises:
        ConfigError: one is invalid; the text never contains credentials.
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if len(lines) > ROUTES_MAX:
        raise ConfigError(f"too many proxies ({len(lines)}): expected at most {ROUTES_MAX}")
    return tuple(_read_route(line) for line in lines)


def _read_route(line: str) -> Route:
    scheme_at = line.find("://")
    equals_at = line.rfind("=", 0, scheme_at if scheme_at >= 0 else len(line))
    pattern, way = (line[:equals_at], line[equals_at + 1 :]) if equals_at >= 0 else ("*", line)
    return Route(read_pattern(pattern.strip()), None if way.strip() == DIRECT else parse_proxy_url(way, "way out"))
