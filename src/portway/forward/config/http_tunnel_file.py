"""Reads configuration files of http-tunnel (YAML), with the meaning that they have there.

The file is composed into nodes, but never constructed into objects: tags have no effect, and only the keys below are visited, so that aliases cannot multiply anything.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from portway.config.sources import FILE_BYTES_MAX, refuse_unknown
from portway.config.values import parse_yes_or_no
from portway.engine.policy import UNLIMITED, Policy
from portway.errors import ConfigError
from portway.forward.policy.patterns import Pattern, read_pattern, unanchored_pattern
from portway.protocol.units import parse_size_bytes

NO_TIMEOUT_S = 300.0
"""Idle timeouts from this time on mean none, and it is the default of all timeouts."""

NO_RATE_BPS = 1_000_000_000_000
"""Maximum rates from this one on mean none."""

ANYTHING = frozenset({".*", "^.*$", "", ".*:.*"})
"""Expressions for every target, which need no RE2."""

_UNITS_S = {
    **dict.fromkeys(("nsec", "ns"), 1e-9),
    **dict.fromkeys(("usec", "us"), 1e-6),
    **dict.fromkeys(("msec", "ms"), 1e-3),
    **dict.fromkeys(("seconds", "second", "secs", "sec", "s"), 1.0),
    **dict.fromkeys(("minutes", "minute", "mins", "min", "m"), 60.0),
    **dict.fromkeys(("hours", "hour", "hrs", "hr", "h"), 3600.0),
    **dict.fromkeys(("days", "day", "d"), 86400.0),
    **dict.fromkeys(("weeks", "week", "w"), 604800.0),
}
_DURATION_PART = re.compile(r"([0-9]{1,12})\s*([a-z]+)\s*", re.ASCII)

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpTunnelFile:
    """The content of a file; the defaults are those of http-tunnel without a file."""

    initiation_timeout_s: float = NO_TIMEOUT_S
    connect_timeout_s: float = NO_TIMEOUT_S
    dns_cache_ttl_s: float = NO_TIMEOUT_S
    client_policy: Policy = UNLIMITED
    target_policy: Policy = UNLIMITED
    allowed_targets: Pattern | None = None
    """None: every target."""
    allow_private: bool = False
    """Our addition: http-tunnel connects to private addresses without being asked."""


def read_http_tunnel_file(path: Path) -> HttpTunnelFile:
    """Return the content of a file.

    Raises:
        ConfigError: it cannot be read or is invalid, or PyYAML is missing; names line and key.
    """
    root = _Table(path, "$", _compose(path), ("client_connection", "target_connection"))
    client = root.table("client_connection", ("initiation_timeout", "relay_policy"))
    target = root.table("target_connection", ("dns_cache_ttl", "allowed_targets", "allow_private", "connect_timeout", "relay_policy"))
    return HttpTunnelFile(
        initiation_timeout_s=client.value("initiation_timeout", read_timeout, NO_TIMEOUT_S),
        connect_timeout_s=target.value("connect_timeout", read_timeout, NO_TIMEOUT_S),
        dns_cache_ttl_s=target.value("dns_cache_ttl", read_duration_s, NO_TIMEOUT_S),
        client_policy=_policy(client),
        target_policy=_policy(target),
        allowed_targets=target.value("allowed_targets", read_allowed_targets, None),
        allow_private=target.value("allow_private", parse_yes_or_no, False),
    )


def read_duration_s(text: str) -> float:
    """Return seconds of a duration like `10s` or `1min 30sec`, as the library humantime reads it; raises ConfigError."""
    seconds, at = 0.0, 0
    stripped = text.strip()
    while at < len(stripped):
        part = _DURATION_PART.match(stripped, at)
        if part is None or part[2] not in _UNITS_S:
            raise ConfigError(f"invalid duration {text[:40]!a}: expected a value like 10s, 1min 30s or 500ms")
        seconds += int(part[1]) * _UNITS_S[part[2]]
        at = part.end()
    if not stripped:
        raise ConfigError("missing duration: expected a value like 10s")
    return seconds


def read_timeout(text: str) -> float:
    """Return seconds of a timeout, which cannot be 0; raises ConfigError."""
    seconds = read_duration_s(text)
    if seconds <= 0:
        raise ConfigError(f"invalid timeout {text[:40]!a}: expected more than 0s")
    return seconds


def read_allowed_targets(text: str) -> Pattern:
    """Return the pattern of an expression that may match any part of `host:port`; raises ConfigError."""
    return read_pattern("*") if text in ANYTHING else unanchored_pattern(text)


def _policy(connection: "_Table") -> Policy:
    """Return the limits of one side. Values that mean "none" in http-tunnel are none here."""
    table = connection.table("relay_policy", ("idle_timeout", "min_rate_bpm", "max_rate_bps", "max_lifetime", "max_total_payload"))
    idle_s = table.value("idle_timeout", read_timeout, NO_TIMEOUT_S)
    max_rate = table.value("max_rate_bps", _read_count, NO_RATE_BPS)
    try:
        return Policy(
            idle_timeout_s=idle_s if idle_s < NO_TIMEOUT_S else None,
            min_rate_bpm=table.value("min_rate_bpm", _read_count, 0) or None,
            max_rate_bps=max_rate if max_rate < NO_RATE_BPS else None,
            max_lifetime_s=table.value("max_lifetime", read_timeout, None),
            max_total_payload=table.value("max_total_payload", parse_size_bytes, None),
        ).check()
    except ConfigError as exc:
        raise table.error("", str(exc)) from exc


def _read_count(text: str) -> int:
    """Return a number of bytes."""
    if not re.fullmatch(r"[0-9]{1,18}", text, re.ASCII):
        raise ConfigError(f"invalid number {text[:40]!a}: expected bytes like 10000")
    return int(text)


class _Table:
    """One mapping of the file."""

    def __init__(self, file: Path, path: str, node: Any, known: tuple[str, ...]) -> None:
        """Check the keys of `node`; None is an empty mapping."""
        self._file = file
        self._path = path
        self._node = node
        self._nodes: dict[str, Any] = {}
        if node is None:
            return
        if node.id != "mapping":
            raise self.error("", "expected a mapping of keys to values")
        for key, value in node.value:
            if key.id != "scalar" or key.value in self._nodes:
                raise _error(file, key, path, "invalid or repeated key")
            self._nodes[key.value] = value
        try:
            refuse_unknown(file, path, self._nodes, known)
        except ConfigError as exc:
            raise ConfigError(f"{exc} (line {node.start_mark.line + 1} and following)") from exc

    def table(self, key: str, known: tuple[str, ...]) -> "_Table":
        """Return a mapping within this one; without it an empty one."""
        node = self._nodes.get(key)
        return _Table(self._file, f"{self._path}.{key}", None if _is_null(node) else node, known)

    def value(self, key: str, read: Callable[[str], T], default: T) -> T:
        """Return a value, or its default."""
        node = self._nodes.get(key)
        if node is None or _is_null(node):
            return default
        if node.id != "scalar":
            raise self.error(key, "expected a single value")
        try:
            return read(str(node.value))
        except ConfigError as exc:
            raise self.error(key, str(exc)) from exc

    def error(self, key: str, text: str) -> ConfigError:
        """Return an error about a key, or about this mapping."""
        path = f"{self._path}.{key}" if key else self._path
        return _error(self._file, self._nodes.get(key, self._node), path, text)


def _error(file: Path, node: Any, path: str, text: str) -> ConfigError:
    line = "" if node is None else f"line {node.start_mark.line + 1}: "
    return ConfigError(f"{file}: {line}{path}: {text}")


def _is_null(node: Any) -> bool:
    return node is None or (node.id == "scalar" and node.style is None and node.value in ("", "~", "null"))


def _compose(path: Path) -> Any:
    try:
        import yaml  # noqa: PLC0415 - optional: only these files need it
    except ImportError as exc:
        raise ConfigError(f"{path}: files of http-tunnel require the package PyYAML; run `pip install 'portway[proxy]'`") from exc
    try:
        with path.open("rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
    except OSError as exc:
        raise ConfigError(f"{path}: cannot be read: {exc.strerror}") from exc
    if len(data) > FILE_BYTES_MAX:
        raise ConfigError(f"{path}: too large: expected at most {FILE_BYTES_MAX} bytes")
    try:
        return yaml.compose(data.decode("utf-8"), Loader=yaml.SafeLoader)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as exc:
        reason = " ".join(str(exc).split())[:300]
        raise ConfigError(f"{path}: invalid YAML: {reason or type(exc).__name__}") from exc
