"""Formats events as JSON, one object per line."""

import dataclasses
import datetime as dt
import re
from functools import lru_cache
from typing import Any, cast

import msgspec

_WORD = re.compile(r"(?<!^)(?=[A-Z])")
_UNSAFE = re.compile("[\x7f-\x9f\u2028\u2029]")
"""Characters that are legal in JSON but that a terminal would interpret or a line reader would split at."""


@lru_cache
def _snake_case(name: str) -> str:
    return _WORD.sub("_", name).lower()


def event_name(event: object) -> str:
    """Return the JSON name of an event's class: `tunnel_up` for `TunnelUp`."""
    return _snake_case(type(event).__name__)


def event_line(event: object, now: float) -> str:
    """Return a dataclass as one line of JSON: its name, the time (`now` from `clock.wall`), then its fields."""
    # Not `asdict`, which copies nested values: this runs for every request (9 µs instead of 22).
    content: dict[str, object] = {"event": event_name(event), "time": timestamp(now)}
    for field in dataclasses.fields(cast(Any, event)):
        content[field.name] = getattr(event, field.name)
    return json_line(content)


def json_line(content: dict[str, object]) -> str:
    """Return `content` as one line of JSON that is safe to print, even with hostile text in it."""
    encodable = {key: _encodable(value) if isinstance(value, str) else value for key, value in content.items()}
    return _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", msgspec.json.encode(encodable).decode())


def timestamp(now: float) -> str:
    """Return `now` (seconds since 1970) in UTC to the millisecond, as `2026-11-21T10:00:00.123Z`."""
    return dt.datetime.fromtimestamp(now, dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _encodable(text: str) -> str:
    r"""Return text that UTF-8 can encode: lone surrogates become `\udc80`."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()
