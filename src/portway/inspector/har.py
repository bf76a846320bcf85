"""Exports exchanges as HAR 1.2 (http://www.softwareishard.com/blog/har-12-spec/), which browsers' developer tools import."""

import base64
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from portway import __version__
from portway.inspector.documents import Detail, MessageHead

_PHASES = {"connect": "connect_ms", "send": "send_ms", "wait": "first_byte_ms", "receive": "transfer_ms"}
"""Phases of HAR, and those of ours."""

WITHOUT_SECRETS = "Secrets are replaced by ***."


def har_of(details: Iterable[Detail]) -> dict[str, Any]:
    """Return a log with the exchanges of http tunnels, oldest first."""
    entries = [entry_of(detail) for detail in details if detail.request is not None]
    return {
        "log": {
            "version": "1.2",
            "creator": {"name": "portway", "version": __version__},
            "entries": sorted(entries, key=lambda entry: str(entry["startedDateTime"])),
            "comment": WITHOUT_SECRETS,
        }
    }


def entry_of(detail: Detail) -> dict[str, Any]:
    """Return one exchange."""
    timings = _timings(detail.timings)
    return {
        "startedDateTime": datetime.fromtimestamp(detail.started_at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "time": round(sum(value for value in timings.values() if value > 0), 3),
        "request": _request(detail),
        "response": _response(detail),
        "cache": {},
        "timings": timings,
        "comment": f"Portway {detail.id}, tunnel {detail.tunnel}" + (f", {detail.error}" if detail.error else ""),
    }


def _timings(known: Mapping[str, float]) -> dict[str, float]:
    """Return the phases; -1 for what does not apply, which HAR allows for `connect` but not for the three that follow."""
    found = {name: known.get(ours, -1.0 if name == "connect" else 0.0) for name, ours in _PHASES.items()}
    return {"blocked": -1.0, "dns": -1.0, **found, "ssl": -1.0}


def _request(detail: Detail) -> dict[str, Any]:
    message = detail.request
    fields = message.headers if message is not None else []
    url = detail.url.rstrip("/") + detail.target if detail.target.startswith("/") else detail.url
    found: dict[str, Any] = {
        "method": detail.method,
        "url": url,
        "httpVersion": "HTTP/1.1",
        "cookies": _cookies(fields, "cookie"),
        "headers": _fields(fields),
        "queryString": [{"name": name, "value": value} for name, value in parse_qsl(urlsplit(url).query, keep_blank_values=True)],
        "headersSize": _head_size(message),
        "bodySize": detail.request_bytes,
    }
    if message is not None and message.body is not None:
        body = message.body
        text = body.text if body.text is not None else body.base64 or ""
        comment = body.state if body.text is not None else f"base64, {body.state}"
        found["postData"] = {"mimeType": body.content_type, "params": [], "text": text, "comment": comment}
    return found


def _response(detail: Detail) -> dict[str, Any]:
    message = detail.response
    fields = message.headers if message is not None else []
    content: dict[str, Any] = {"size": 0, "mimeType": ""}
    if message is not None and message.body is not None:
        body = message.body
        content = {"size": body.size, "mimeType": body.content_type, "comment": body.state}
        if body.text is not None:
            content["text"] = body.text
        elif body.base64:
            content |= {"text": body.base64, "encoding": "base64"}
        shown = len(body.text.encode()) if body.text is not None else len(base64.b64decode(body.base64 or ""))
        if body.state == "complete" and body.shown == "complete":
            content |= {"size": shown, "compression": shown - body.size}
    line = message.start_line if message is not None else ""
    return {
        "status": detail.status,
        "statusText": line.partition(" ")[2].partition(" ")[2],
        "httpVersion": line.partition(" ")[0] or "HTTP/1.1",
        "cookies": _cookies(fields, "set-cookie"),
        "headers": _fields(fields),
        "content": content,
        "redirectURL": next((value for name, value in fields if name.lower() == "location"), ""),
        "headersSize": _head_size(message),
        "bodySize": detail.response_bytes,
    }


def _fields(fields: Iterable[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in fields]


def _cookies(fields: Iterable[tuple[str, str]], name: str) -> list[dict[str, str]]:
    found = []
    for field, value in fields:
        if field.lower() == name:
            for pair in value.split(";") if name == "cookie" else [value.partition(";")[0]]:
                key, _, content = pair.strip().partition("=")
                found.append({"name": key, "value": content})
    return found


def _head_size(message: MessageHead | None) -> int:
    if message is None:
        return -1
    return len(message.start_line) + 4 + sum(len(name) + len(value) + 4 for name, value in message.headers)
