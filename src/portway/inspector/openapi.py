"""The OpenAPI document of the inspector's API."""

from functools import cache
from typing import Any

import msgspec

from portway.inspector.documents import Detail, Frame, Page, Summary
from portway.inspector.replay import ReplayEdits

REF = "#/components/schemas/{name}"


class CaptureStatus(msgspec.Struct):
    """The state of the capture."""

    exchanges: int
    bytes: int
    bytes_max: int
    body_bytes_max: int
    redacts: bool
    error: str
    """Why nothing can be stored at the moment, such as a full disk; empty while it can."""
    in_memory: str
    """Why nothing is stored on disk; empty if it is."""
    dropped: int
    """Exchanges and frames that were left out because the recorder was behind, or the disk full."""
    dropped_bodies: int
    """Pieces of bodies that were left out because the recorder was behind."""


class StatusDocument(msgspec.Struct):
    """The state of agent and capture."""

    agent: dict[str, Any]
    """As `portway status --json` has it."""
    capture: CaptureStatus


class Tunnels(msgspec.Struct):
    """The tunnels of the agent."""

    tunnels: list[dict[str, Any]]


class Frames(msgspec.Struct):
    """A page of frames or events."""

    frames: list[Frame]
    next: int | None
    """`after` of the next page; None on the last one."""


class ReplayDocument(msgspec.Struct):
    """The outcome of a replay."""

    id: int
    """The captured exchange of the replay."""
    status: int
    """0 without a response."""
    error: str


class ErrorFields(msgspec.Struct):
    """What is wrong."""

    code: str
    message: str
    next_step: str = ""


class ErrorDocument(msgspec.Struct):
    """An error."""

    error: ErrorFields


_TYPES = (StatusDocument, Tunnels, Page, Summary, Detail, Frames, ReplayEdits, ReplayDocument, ErrorDocument)

_ID = {"name": "id", "in": "path", "required": True, "schema": {"type": "integer", "minimum": 0, "maximum": 10**18 - 1}}


def _query(name: str, schema: dict[str, Any], description: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "schema": schema, "description": description}


_INTEGER = {"type": "integer", "minimum": 0, "maximum": 10**18 - 1}
_LIMIT = _query("limit", {"type": "integer", "minimum": 1, "maximum": 1000, "default": 100}, "Number of entries.")
_FILTERS = [
    _query("q", {"type": "string", "maxLength": 1000}, "Query, as in the search box: method:POST status:5xx path:/api duration:>1s text"),
    _query("tunnel", {"type": "string"}, "Name of a tunnel, with * for any characters."),
    _query("method", {"type": "string"}, "Method."),
    _query("status", {"type": "string"}, "404, 5xx, >=400 or 400-499."),
    _query("path", {"type": "string"}, "Beginning of the path, or a pattern with *."),
]


def _ref(kind: type[Any]) -> dict[str, str]:
    return {"$ref": REF.format(name=kind.__name__)}


def _json(kind: type[Any] | dict[str, Any], description: str) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": kind if isinstance(kind, dict) else _ref(kind)}}}


def _operation(summary: str, responses: dict[str, Any], parameters: list[Any] | None = None, **rest: Any) -> dict[str, Any]:
    errors = {
        code: _json(ErrorDocument, text)
        for code, text in (
            ("400", "A parameter is invalid."),
            ("401", "The key is missing or wrong."),
            ("403", "Unknown Host, or a request of another origin."),
            ("503", "Not available at the moment."),
        )
    }
    return {"summary": summary, "parameters": parameters or [], "responses": responses | errors, **rest}


@cache
def document(version: str) -> dict[str, Any]:
    """Return the document."""
    _, components = msgspec.json.schema_components(_TYPES, ref_template=REF)
    missing = {"404": _json(ErrorDocument, "There is no such exchange.")}
    har = _json({"type": "object"}, "HAR 1.2.")
    binary = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
    side = {"name": "side", "in": "path", "required": True, "schema": {"enum": ["request", "response"]}}
    replay_body = {"content": {"application/json": {"schema": _ref(ReplayEdits)}}}
    no_replay = {"409": _json(ErrorDocument, "Secrets or parts of the body are not available: `redacted`, `incomplete`.")}
    paths = {
        "/api/status": {"get": _operation("State of agent and capture", {"200": _json(StatusDocument, "The state.")})},
        "/api/tunnels": {"get": _operation("Tunnels of the agent", {"200": _json(Tunnels, "The tunnels.")})},
        "/api/requests": {
            "get": _operation("List exchanges, newest first", {"200": _json(Page, "A page.")},
                              [*_FILTERS, _LIMIT, _query("before", _INTEGER, "Only those with a lower id.")]),
            "delete": _operation("Remove all exchanges", {"204": {"description": "They were removed."}}),
        },
        "/api/requests/{id}": {"get": _operation("Show one exchange", {"200": _json(Detail, "The exchange.")} | missing, [_ID])},
        "/api/requests/{id}/messages": {
            "get": _operation("List its WebSocket frames or events", {"200": _json(Frames, "A page.")} | missing,
                              [_ID, _LIMIT, _query("after", _INTEGER, "Only those with a higher id.")]),
        },
        "/api/requests/{id}/body/{side}": {
            "get": _operation("Download a body as it is stored", {"200": {"description": "The bytes.", "content": binary}} | missing, [_ID, side]),
        },
        "/api/requests/{id}/replay": {
            "post": _operation("Send its request again", {"200": _json(ReplayDocument, "The replay.")} | missing | no_replay, [_ID],
                               requestBody=replay_body),
        },
        "/api/requests/{id}/har": {"get": _operation("Export one exchange", {"200": har} | missing, [_ID])},
        "/api/har": {"get": _operation("Export the newest exchanges, at most 1000", {"200": har}, _FILTERS)},
        "/api/events": {
            "get": _operation(
                "Server-sent events: `request` with a Summary, `cleared`",
                {"200": {"description": "The stream.", "content": {"text/event-stream": {"schema": {"type": "string"}}}}},
                [*_FILTERS, _query("after", _INTEGER, "Number of a change (Summary.change) to continue from; Last-Event-ID has the same.")],
            ),
        },
    }  # fmt: skip
    security = {"key": {"type": "http", "scheme": "bearer"}, "cookie": {"type": "apiKey", "in": "cookie", "name": "portway_inspector_PORT"}}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Portway inspector",
            "version": version,
            "description": "Captured requests of this agent. See docs/inspector.md.",
        },
        "paths": paths,
        "components": {"schemas": components, "securitySchemes": security},
        "security": [{"key": []}, {"cookie": []}],
    }
