"""An ASGI and a WSGI application that echo each request as JSON, as the server in front of them understood it."""

import hashlib
import json
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

Scope = dict[str, Any]
NOT_SENT = ("SERVER_PORT", "REMOTE_PORT", "REMOTE_ADDR", "SERVER_NAME")
"""WSGI variables of the connection, not of the request."""


async def asgi(scope: Scope, receive: Callable[[], Awaitable[Scope]], send: Callable[[Scope], Awaitable[None]]) -> None:
    """Echo over ASGI."""
    if scope["type"] != "http":
        return
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    seen = {
        "method": scope["method"],
        "target": scope["raw_path"].decode("latin-1") + "?" + scope["query_string"].decode("latin-1"),
        "version": scope["http_version"],
        "fields": [[name.decode("latin-1"), value.decode("latin-1")] for name, value in scope["headers"]],
        "bytes": len(body),
        "sha256": hashlib.sha256(body).hexdigest(),
    }
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": json.dumps(seen).encode()})


def wsgi(environ: dict[str, Any], start_response: Callable[[str, list[tuple[str, str]]], object]) -> Iterable[bytes]:
    """Echo over WSGI."""
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    seen = {
        "method": environ["REQUEST_METHOD"],
        "target": environ["PATH_INFO"] + "?" + environ.get("QUERY_STRING", ""),
        "version": environ["SERVER_PROTOCOL"],
        "fields": sorted(
            [name, str(value)] for name, value in environ.items() if name.startswith(("HTTP_", "CONTENT_")) and name not in NOT_SENT
        ),
        "bytes": len(body),
        "sha256": hashlib.sha256(body).hexdigest(),
    }
    data = json.dumps(seen).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(data)))])
    return [data]
