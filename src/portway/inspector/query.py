"""The language of the search box: `method:POST status:5xx path:/api duration:>1s order`, turned into SQL."""

import re
from collections.abc import Callable
from typing import NamedTuple

from portway.errors import ConfigError
from portway.protocol.units import parse_duration_s, parse_size_bytes

QUERY_CHARS_MAX = 1_000
TERMS_MAX = 20

HELP = "method status path tunnel host duration size header body type kind client id error replay"
"""The keys, for error messages."""

_TERM = re.compile(r'(-?)(?:([A-Za-z_]+):)?("(?:[^"\\]|\\.)*"|(?:[^\s"]|"(?:[^"\\]|\\.)*")+)')
_COMPARISON = re.compile(r"(>=|<=|>|<|=)?(.*)", re.DOTALL)
_STATUS = re.compile(r"([1-5])(?:xx|XX)|(>=|<=|>|<)?([0-9]{3})|([0-9]{3})-([0-9]{3})")


class Condition(NamedTuple):
    """A condition for rows of `exchanges`, as SQL with its parameters."""

    sql: str
    values: tuple[object, ...]


NOTHING = Condition("1", ())


def parse_query(text: str) -> Condition:
    """Return the condition of a query; terms are combined by AND, and `-` before one negates it.

    Raises:
        ConfigError: a key is unknown, or its value is invalid.
    """
    if len(text) > QUERY_CHARS_MAX:
        raise ConfigError(f"query: too long: expected at most {QUERY_CHARS_MAX} characters")
    conditions: list[Condition] = []
    at = 0
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        match = _TERM.match(text, at)
        if match is None:
            raise ConfigError(f"query: unclosed quotation mark at character {at + 1}")
        at = match.end()
        minus, key, value = match[1], (match[2] or "").lower(), _unquoted(match[3])
        if len(conditions) >= TERMS_MAX:
            raise ConfigError(f"query: expected at most {TERMS_MAX} terms")
        condition = _condition(key, value)
        conditions.append(Condition(f"NOT ({condition.sql})", condition.values) if minus else condition)
    return all_of(conditions)


def all_of(conditions: list[Condition]) -> Condition:
    """Return the conjunction of conditions."""
    if not conditions:
        return NOTHING
    return Condition(" AND ".join(f"({one.sql})" for one in conditions), tuple(value for one in conditions for value in one.values))


def _unquoted(text: str) -> str:
    return re.sub(r'"((?:[^"\\]|\\.)*)"', lambda match: re.sub(r"\\(.)", r"\1", match[1]), text)


def _condition(key: str, value: str) -> Condition:
    if not key:
        return _free_text(value)
    make = _KEYS.get(key)
    if make is None:
        if key in ("http", "https"):  # a pasted URL
            return _free_text(f"{key}:{value}")
        raise ConfigError(f"query: unknown key {key!r}: expected one of {HELP.replace(' ', ', ')}; put text with a colon in quotes")
    try:
        return make(value)
    except ConfigError as exc:
        raise ConfigError(f"query: {key}: {exc}") from exc


def _contains(column: str, value: str) -> Condition:
    return Condition(f"{column} LIKE ? ESCAPE '\\'", (f"%{_escaped(value)}%",))


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def _glob(column: str, value: str, *, prefix: bool = False) -> Condition:
    """Compare by a pattern with `*`; without one, for equality, or as a beginning."""
    pattern = _escaped(value).replace("*", "%")
    return Condition(f"{column} LIKE ? ESCAPE '\\'", (pattern + ("%" if prefix and "*" not in value else ""),))


_HEADS = "(CAST(request_head AS TEXT) || CAST(response_head AS TEXT))"
_IN_BODIES = "EXISTS (SELECT 1 FROM bodies WHERE bodies.exchange = exchanges.id AND CAST(bodies.data AS TEXT) LIKE ? ESCAPE '\\')"
_IN_MESSAGES = "EXISTS (SELECT 1 FROM messages WHERE messages.exchange = exchanges.id AND CAST(messages.data AS TEXT) LIKE ? ESCAPE '\\')"


def _free_text(value: str) -> Condition:
    pattern = f"%{_escaped(value)}%"
    fields = ("target", "method", "host", "tunnel", "error", "client", _HEADS)
    sql = " OR ".join([*(f"{field} LIKE ? ESCAPE '\\'" for field in fields), _IN_BODIES, _IN_MESSAGES])
    return Condition(sql, (pattern,) * (len(fields) + 2))


def _body(value: str) -> Condition:
    pattern = f"%{_escaped(value)}%"
    return Condition(f"{_IN_BODIES} OR {_IN_MESSAGES}", (pattern, pattern))


def _status(value: str) -> Condition:
    found = _STATUS.fullmatch(value)
    if found is None:
        raise ConfigError(f"invalid status {value!r}: expected a value like 404, 5xx, >=400 or 400-499")
    family, sign, code, low, high = found.groups()
    if family:
        return Condition("status BETWEEN ? AND ?", (int(family) * 100, int(family) * 100 + 99))
    if low:
        return Condition("status BETWEEN ? AND ?", (int(low), int(high)))
    return Condition(f"status {sign or '='} ?", (int(code),))


def _compared(column: str, value: str, read: Callable[[str], float]) -> Condition:
    found = _COMPARISON.fullmatch(value)
    sign, number = (found[1], found[2]) if found else (None, value)
    return Condition(f"{column} {sign or '>='} ?", (read(number),))


def _header(value: str) -> Condition:
    name, equals, wanted = value.partition("=")
    pattern = f"%\r\n{_escaped(name)}:%" + (f"{_escaped(wanted)}%" if equals else "")
    if not equals:
        return Condition(f"{_HEADS} LIKE ? ESCAPE '\\'", (pattern,))
    return Condition("has_field(request_head, ?, ?) OR has_field(response_head, ?, ?)", (name, wanted, name, wanted))


def _number(value: str) -> Condition:
    if not (value.isascii() and value.isdigit() and len(value) < 16):
        raise ConfigError(f"invalid id {value!r}: expected a number")
    return Condition("id = ?", (int(value),))


def _yes(column: str, value: str) -> Condition:
    if value.lower() not in ("yes", "no"):
        raise ConfigError(f"expected yes or no, got {value!r}")
    return Condition(column if value.lower() == "yes" else f"NOT ({column})", ())


def _error(value: str) -> Condition:
    return _yes("error != ''", value) if value.lower() in ("yes", "no") else _contains("error", value)


_KEYS: dict[str, Callable[[str], Condition]] = {
    "method": lambda value: _glob("method", value),
    "status": _status,
    "path": lambda value: _glob("target", value, prefix=True),
    "tunnel": lambda value: _glob("tunnel", value),
    "host": lambda value: _glob("host", value),
    "duration": lambda value: _compared("duration_ms", value, lambda text: parse_duration_s(text) * 1000),
    "size": lambda value: _compared("(request_bytes + response_bytes)", value, parse_size_bytes),
    "header": _header,
    "body": _body,
    "type": lambda value: _contains("content_type", value),
    "kind": lambda value: _glob("kind", value),
    "client": lambda value: _glob("client", value, prefix=True),
    "id": _number,
    "error": _error,
    "replay": lambda value: _yes("replay_of != 0", value),
}
