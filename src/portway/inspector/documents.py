"""The documents of the API, made from rows of the store."""

import base64
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from portway.inspector.content import decode
from portway.inspector.exchange import REQUEST, RESPONSE

SHOWN_BYTES_MAX = 1024 * 1024
"""Bytes of a decoded body in a document; the whole one can be downloaded."""

State = Literal["open", "done", "broken"]


class Summary(msgspec.Struct):
    """One exchange in a list."""

    id: int
    tunnel: str
    kind: str
    """`http`, `websocket`, `sse`, `tcp` or `tls`."""
    state: State
    """`broken`: it did not complete, see `error`."""
    started_at: float
    """Seconds since 1970."""
    method: str
    target: str
    """Path and query, without secrets."""
    host: str
    status: int
    """0 before the response, and for connections of tcp tunnels."""
    duration_ms: float | None
    """None while it is open."""
    content_type: str
    """Of the response."""
    request_bytes: int
    response_bytes: int
    client: str
    error: str
    replay_of: int | None
    messages: int
    """Frames of a WebSocket, or events."""
    redacted: bool
    change: int
    """Grows with each change of any exchange; the id of its event in /api/events."""


class Page(msgspec.Struct):
    """A page of the list, newest first."""

    requests: list[Summary]
    next: int | None
    """`before` of the next page; None on the last one."""


class Body(msgspec.Struct):
    """The captured body of a message."""

    size: int
    """Bytes that were sent."""
    stored: int
    state: str
    """`complete`, `truncated` (larger than --capture-bodies), `dropped` (the recorder was behind), or `not stored: REASON`."""
    content_type: str
    coding: str
    """Content coding of the stored bytes; empty if they are stored decoded."""
    text: str | None = None
    """The decoded body if it is text."""
    base64: str | None = None
    """The decoded body if it is not."""
    shown: str = "complete"
    """`complete` or `truncated`: whether this document has all of what is stored; or why it cannot be decoded."""


class MessageHead(msgspec.Struct):
    """A request or a response."""

    start_line: str
    headers: list[tuple[str, str]]
    body: Body | None


class Frame(msgspec.Struct):
    """A WebSocket frame, or an event of an event stream."""

    id: int
    direction: Literal["in", "out"]
    """`in`: from the visitor."""
    at: float
    kind: str
    """`text`, `binary`, `close`, `ping`, `pong`, `continuation`, or `event`."""
    name: str
    """Type and id of an event; the code of a close frame."""
    size: int
    state: str
    text: str | None
    base64: str | None


class Replayable(msgspec.Struct):
    """Whether a replay sends the same bytes."""

    possible: bool
    exact: bool
    missing: list[str]
    """Places whose values are not in memory any more: they must be given."""
    reason: str


class Detail(Summary):
    """Everything about one exchange."""

    url: str = ""
    """The public URL of the tunnel."""
    origin: str = ""
    timings: dict[str, float] = {}
    """Milliseconds by phase: link, edge, connect, send, first_byte, transfer."""
    request: MessageHead | None = None
    response: MessageHead | None = None
    redacted_names: list[str] = []
    replays: list[int] = []
    replayable: Replayable | None = None
    frames: list[Frame] = []
    """The first frames or events; further ones: /api/requests/ID/messages."""
    frames_missed: int = 0
    copy: dict[str, str] = {}
    """The request as `curl`, `fetch` and `httpx`."""


def summary_of(row: Mapping[str, Any]) -> Summary:
    """Return a row of `store_reader.SUMMARY` as a document."""
    return Summary(**_summary(row))


def _summary(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **{name: row[name] for name in Summary.__struct_fields__ if name not in ("replay_of", "redacted")},
        "replay_of": row["replay_of"] or None,
        "redacted": row["redacted"] != "[]",
    }


def detail_of(row: Mapping[str, Any], bodies: Mapping[int, Mapping[str, Any]], **rest: Any) -> Detail:
    """Return an exchange with all its columns; `rest` are further fields."""
    return Detail(
        **_summary(row),
        url=row["url"],
        origin=row["origin"],
        timings=msgspec.json.decode(row["timings"]),
        request=message_of(row["request_head"], bodies.get(REQUEST)),
        response=message_of(row["response_head"], bodies.get(RESPONSE)),
        redacted_names=msgspec.json.decode(row["redacted"]),
        frames_missed=row["messages_missed"],
        **rest,
    )


def message_of(head: bytes, body: Mapping[str, Any] | None) -> MessageHead | None:
    """Return a message; None without a head."""
    if not head:
        return None
    start_line, fields = split_head(head)
    content_type = next((value for name, value in fields if name.lower() == "content-type"), "")
    return MessageHead(start_line, fields, None if body is None else body_of(body, content_type))


def split_head(head: bytes) -> tuple[str, list[tuple[str, str]]]:
    """Return the start line and the fields of a head."""
    start_line, *lines = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    found = []
    for line in lines:
        name, _, value = line.partition(":")
        found.append((name, value.strip(" \t")))
    return start_line, found


def body_of(row: Mapping[str, Any], content_type: str) -> Body:
    """Return a body, decoded as far as it is shown."""
    data: bytes = row["data"]
    body = Body(row["size"], len(data), row["state"], content_type, row["coding"])
    decoded = decode(data, row["coding"].encode("latin-1"), SHOWN_BYTES_MAX, whole=row["state"] == "complete")
    if decoded.error:
        body.shown = decoded.error
        body.base64 = base64.b64encode(data[:SHOWN_BYTES_MAX]).decode()
        return body
    body.text, body.base64 = _shown(decoded.data)
    body.shown = "complete" if decoded.complete or row["state"] != "complete" else "truncated"
    return body


def frame_of(row: Mapping[str, Any]) -> Frame:
    """Return a frame or an event."""
    text, encoded = _shown(row["data"])
    direction: Literal["in", "out"] = "in" if row["side"] == REQUEST else "out"
    return Frame(row["id"], direction, row["at"], row["kind"], row["name"], row["size"], row["state"], text, encoded)


def _shown(data: bytes) -> tuple[str | None, str | None]:
    """Return data as text or else as base64. A cut in the middle of a character is no reason for the latter."""
    try:
        return data.decode(), None
    except UnicodeDecodeError as exc:
        if exc.reason == "unexpected end of data" and exc.start > len(data) - 4:
            return data[: exc.start].decode(), None
    return None, base64.b64encode(data).decode()
