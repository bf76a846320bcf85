"""Builds the bytes of a replay: those of the original request, but for what is edited."""

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import msgspec

from portway.errors import ConfigError, MisuseError, RefusedError
from portway.inspector.documents import Replayable
from portway.inspector.originals import Original
from portway.protocol.http1.chunked import encode_chunk, encode_end
from portway.protocol.http1.serialise import field_lines

BODY_BYTES_MAX = 16 * 1024 * 1024

_METHOD = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,32}")
_TARGET = re.compile(r"/[!-~]*|\*")
_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,200}")
_FRAMING = ("content-length", "transfer-encoding")


class ReplayEdits(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """What differs from the original request; all of it is optional."""

    method: str | None = None
    target: str | None = None
    """Path and query."""
    headers: dict[str, str | None] | list[tuple[str, str]] | None = None
    """An object sets single fields, or removes them (null); a list of pairs replaces all fields."""
    body: str | None = None
    body_base64: str | None = None
    """A body that is not text, instead of `body`."""
    to: str | None = None
    """Another origin: `http://127.0.0.1:3000`, `https://host:port`, `unix:/path`, or a port."""

    @property
    def new_body(self) -> bytes | None:
        """The body that replaces the original; None if it stays.

        Raises:
            ConfigError: both forms are given, or base64 is invalid.
        """
        if self.body is not None and self.body_base64 is not None:
            raise ConfigError("body, body_base64: expected one of the two")
        if self.body_base64 is None:
            return None if self.body is None else self.body.encode()
        try:
            return base64.b64decode(self.body_base64, validate=True)
        except binascii.Error as exc:
            raise ConfigError(f"body_base64: invalid base64: {exc}") from exc


class Request(NamedTuple):
    """A request to be sent."""

    head: bytes
    body: bytes
    """With its framing."""


def replayable(row: Mapping[str, Any], bodies: Mapping[int, Mapping[str, Any]], original: Original | None) -> Replayable:
    """Return whether an exchange can be replayed without edits."""
    if not row["request_head"]:
        return Replayable(possible=False, exact=False, missing=[], reason="a connection without requests")
    if original is not None:
        return Replayable(possible=True, exact=True, missing=[], reason="")
    missing = _missing(row)
    reason = _incomplete(bodies)
    return Replayable(possible=not missing and not reason, exact=not missing and not reason, missing=missing, reason=reason)


def build(row: Mapping[str, Any], bodies: Mapping[int, Mapping[str, Any]], original: Original | None, edits: ReplayEdits) -> Request:
    """Return the request of a replay.

    Raises:
        RefusedError: something is not in memory any more and was not given (code `redacted`), or the body was not captured completely
            (code `incomplete`).
        ConfigError: an edit is invalid.
    """
    if not row["request_head"]:
        raise RefusedError("incomplete", "a connection cannot be replayed: only requests can")
    body = edits.new_body
    if original is None:
        missing = [place for place in _missing(row) if not _is_given(place, edits)]
        if missing:
            raise RefusedError(
                "redacted",
                f"secrets of this request are not in memory any more: {', '.join(missing)}",
                "Give them with the replay: header fields, target or body.",
            )
        if body is None and (reason := _incomplete(bodies)):
            raise RefusedError("incomplete", reason, "Give another body with the replay.")
    head: bytes = original.head if original is not None else row["request_head"]
    edited = _edited_head(head, edits, None if body is None else len(body))
    if body is not None:
        if len(body) > BODY_BYTES_MAX:
            raise ConfigError(f"body: too large: expected at most {BODY_BYTES_MAX} bytes")
        return Request(edited, body)
    if original is not None:
        return Request(edited, original.body if original.wire is None else original.wire)
    stored: bytes = bodies[0]["data"] if 0 in bodies else b""
    if _is_chunked(head):
        return Request(edited, encode_chunk([stored]) + encode_end())
    return Request(edited, stored)


def _missing(row: Mapping[str, Any]) -> list[str]:
    names: list[str] = msgspec.json.decode(row["redacted"])
    return [name.removeprefix("request ") for name in names if name.startswith("request ")]


def _incomplete(bodies: Mapping[int, Mapping[str, Any]]) -> str:
    """Return why the stored body of a request is not all of it; empty if it is."""
    body = bodies.get(0)
    if body is None or body["state"] == "complete":
        return ""
    return f"the request's body of {body['size']} bytes was not stored completely ({body['state']})"


def _is_given(place: str, edits: ReplayEdits) -> bool:
    kind, _, name = place.partition(" ")
    if kind == "header":
        if isinstance(edits.headers, dict):
            return name.lower() in {field.lower() for field in edits.headers}
        return edits.headers is not None
    if kind in ("query", "path"):
        return edits.target is not None
    return edits.new_body is not None


def _is_chunked(head: bytes) -> bool:
    return b"\r\ntransfer-encoding:" in head.lower()


def _edited_head(head: bytes, edits: ReplayEdits, body_bytes: int | None) -> bytes:
    """Return the head with the edits; every other byte stays."""
    start_line, _, rest = head.partition(b"\r\n")
    method, target, version = start_line.split(b" ")
    if edits.method is not None:
        method = _checked("method", edits.method, _METHOD)
    place = _place_of(edits.to)
    if edits.target is not None or place.target:
        target = _checked("target", edits.target if edits.target is not None else place.target, _TARGET)
    lines = rest.removesuffix(b"\r\n\r\n").split(b"\r\n") if rest != b"\r\n" else []
    if isinstance(edits.headers, list):
        lines = [_line(name, value) for name, value in edits.headers]
    elif edits.headers is not None:
        for name, value in edits.headers.items():
            lines = _with_field(lines, name, value)
    names = {name.lower() for name in edits.headers} if isinstance(edits.headers, dict) else set()
    if place.authority and "host" not in names and not isinstance(edits.headers, list):
        lines = _with_field(lines, "Host", place.authority)
    if body_bytes is not None:
        for name in (*_FRAMING, *(() if "content-encoding" in names else ("content-encoding",)), "expect"):
            lines = _with_field(lines, name, None)
        lines.append(b"Content-Length: %d" % body_bytes)
    elif isinstance(edits.headers, list):
        kept = [line for line in rest.split(b"\r\n") if _name_of(line) in _FRAMING]
        lines = [line for line in lines if _name_of(line) not in _FRAMING] + kept
    return b"\r\n".join([b" ".join((method, target, version)), *lines, b"", b""])


class _Place(NamedTuple):
    authority: str
    target: str


def _place_of(to: str | None) -> _Place:
    """Return Host and target for another origin; empty ones stay as they are."""
    if to is None or "://" not in to:
        return _Place("", "")
    url = urlsplit(to)
    path = url.path + (f"?{url.query}" if url.query else "")
    return _Place(url.netloc, path if path != "/" else "")


def origin_text(to: str) -> str:
    """Return the origin of `to`, without its path."""
    if "://" not in to:
        return to
    url = urlsplit(to)
    return f"{url.scheme}://{url.netloc}"


def _with_field(lines: Sequence[bytes], name: str, value: str | None) -> list[bytes]:
    """Set a field in its place, or add or remove it."""
    lower = name.lower()
    new = None if value is None else _line(name, value)
    found: list[bytes] = []
    for line in lines:
        if _name_of(line) != lower:
            found.append(line)
        elif new is not None:
            found.append(new)
            new = None
    return found if new is None else [*found, new]


def _name_of(line: bytes) -> str:
    return line.partition(b":")[0].decode("latin-1").lower()


def _line(name: str, value: str) -> bytes:
    if _NAME.fullmatch(name) is None:
        raise ConfigError(f"headers: invalid name {name[:40]!r}: expected letters, digits and hyphens")
    try:
        return field_lines([(name.encode("ascii"), value.strip().encode("latin-1"))]).removesuffix(b"\r\n")
    except (UnicodeEncodeError, MisuseError) as exc:
        raise ConfigError(f"headers: invalid value of {name}: expected Latin-1 without line breaks and control characters") from exc


def _checked(key: str, text: str, pattern: "re.Pattern[str]") -> bytes:
    if pattern.fullmatch(text) is None:
        expected = "a token such as POST" if key == "method" else "a path that begins with /, percent-encoded"
        raise ConfigError(f"{key}: invalid value {text[:80]!r}: expected {expected}")
    return text.encode("ascii")
