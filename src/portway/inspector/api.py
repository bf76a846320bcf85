"""The HTTP API of the inspector: routes, parameters and errors."""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from typing import Any, TypeVar

import msgspec
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from portway import __version__
from portway.errors import ConfigError, PortwayError, RefusedError, UnavailableError
from portway.inspector.event_stream import CLIENTS_MAX, event_stream
from portway.inspector.exchange import REQUEST, RESPONSE
from portway.inspector.guard import error
from portway.inspector.hub import Hub
from portway.inspector.interfaces import AgentPort
from portway.inspector.lookup import Lookup, condition_of
from portway.inspector.openapi import document
from portway.inspector.page_files import PageFile, page_files
from portway.inspector.replay import ReplayEdits

LIMIT_DEFAULT, LIMIT_MAX = 100, 1_000
EDITS_BYTES_MAX = 24 * 1024 * 1024
"""Of a replay's JSON: the largest body as base64."""
NUMBER_MAX = 2**63 - 1

T = TypeVar("T")
Handler = Callable[[Request], Awaitable[Response]]


class Api:
    """The routes, as an ASGI application (`app`)."""

    def __init__(self, lookup: Lookup, hub: Hub, agent: AgentPort, capture: Callable[[], dict[str, Any]]) -> None:
        """Serve from `lookup`; `capture` returns the state of the capture for /api/status."""
        self._lookup = lookup
        self._hub = hub
        self._agent = agent
        self._capture = capture
        routes = (
            ("GET", "/", self._page),
            ("GET", "/assets/{name}", self._asset),
            ("GET", "/api/openapi.json", self._openapi),
            ("GET", "/api/status", self._status),
            ("GET", "/api/requests", self._list),
            ("DELETE", "/api/requests", self._clear),
            ("GET", "/api/requests/{id}", self._detail),
            ("GET", "/api/requests/{id}/messages", self._messages),
            ("GET", "/api/requests/{id}/body/{side}", self._body),
            ("POST", "/api/requests/{id}/replay", self._replay),
            ("GET", "/api/requests/{id}/har", self._har_of_one),
            ("GET", "/api/har", self._har),
            ("GET", "/api/events", self._events),
            ("GET", "/api/tunnels", self._tunnels),
        )
        self.app = Starlette(
            routes=[Route(path, _with_errors(handler), methods=[method]) for method, path, handler in routes],
            exception_handlers={404: _not_found, 405: _not_allowed},
        )

    async def _page(self, _request: Request) -> Response:
        return _file((await asyncio.to_thread(page_files))["index.html"])

    async def _asset(self, request: Request) -> Response:
        found = (await asyncio.to_thread(page_files)).get(request.path_params["name"])
        if found is None:
            raise RefusedError("not_found", "no such file of the page")
        return _file(found)

    async def _openapi(self, _request: Request) -> Response:
        return _json(document(__version__))

    async def _status(self, _request: Request) -> Response:
        status = await _result(self._agent.status())
        agent = msgspec.json.decode(status)
        return _json({"agent": agent, "capture": await asyncio.to_thread(self._capture)})

    async def _tunnels(self, _request: Request) -> Response:
        status = await _result(self._agent.status())
        agent = msgspec.json.decode(status)
        return _json({"tunnels": agent["tunnels"]})

    async def _list(self, request: Request) -> Response:
        condition = condition_of(dict(request.query_params))
        limit = _number(request.query_params.get("limit"), "limit", LIMIT_DEFAULT, 1, LIMIT_MAX)
        before = _number(request.query_params.get("before"), "before", 0)
        return _json(await asyncio.to_thread(self._lookup.page, condition, limit, before))

    async def _clear(self, _request: Request) -> Response:
        await asyncio.to_thread(self._lookup.clear)
        self._hub.notify()
        return Response(status_code=204)

    async def _detail(self, request: Request) -> Response:
        return _json(await asyncio.to_thread(self._lookup.detail, _id(request)))

    async def _messages(self, request: Request) -> Response:
        after = _number(request.query_params.get("after"), "after", 0)
        limit = _number(request.query_params.get("limit"), "limit", LIMIT_DEFAULT, 1, LIMIT_MAX)
        frames = await asyncio.to_thread(self._lookup.frames, _id(request), after, limit)
        return _json({"frames": frames, "next": frames[-1].id if len(frames) == limit else None})

    async def _body(self, request: Request) -> Response:
        sides = {"request": REQUEST, "response": RESPONSE}
        side = request.path_params["side"]
        if side not in sides:
            raise RefusedError("not_found", f"unknown side {side[:20]!r}: expected request or response")
        number = _id(request)
        data, coding, state = await asyncio.to_thread(self._lookup.body, number, sides[side])
        # Never interpreted by the browser, and named by us: the content is a visitor's or an origin's.
        name = f"{number}-{side}.bin"
        headers = {"Content-Disposition": f'attachment; filename="{name}"', "X-Portway-State": state.encode("ascii", "replace").decode()}
        if coding:
            headers["X-Portway-Coding"] = coding
        return Response(data, media_type="application/octet-stream", headers=headers)

    async def _replay(self, request: Request) -> Response:
        edits = await _edits(request)
        replay = await asyncio.to_thread(self._lookup.replay_request, _id(request), edits)
        outcome = await _result(self._agent.replay(replay))
        return _json({"id": outcome.id, "status": outcome.status, "error": outcome.error})

    async def _har_of_one(self, request: Request) -> Response:
        number = _id(request)
        return _attachment(await asyncio.to_thread(self._lookup.har, number), f"portway-{number}.har")

    async def _har(self, request: Request) -> Response:
        condition = condition_of(dict(request.query_params))
        return _attachment(await asyncio.to_thread(self._lookup.har_of_all, condition), "portway.har")

    async def _events(self, request: Request) -> Response:
        if len(self._hub) >= CLIENTS_MAX:
            raise UnavailableError(f"{CLIENTS_MAX} event streams are open already")
        condition = condition_of(dict(request.query_params))
        text = request.headers.get("last-event-id") or request.query_params.get("after")
        after = _number(text, "after", 0) if text else None
        stream = event_stream(self._lookup.store, self._hub, condition, after)
        return StreamingResponse(stream, media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})


def _with_errors(handler: Handler) -> Handler:
    """Turn errors into responses."""

    async def handle(request: Request) -> Response:
        try:
            return await handler(request)
        except RefusedError as exc:
            return error(404 if exc.code == "not_found" else 409, exc.code, exc.reason, exc.next_step)
        except ConfigError as exc:
            return error(400, "invalid", str(exc))
        except (UnavailableError, TimeoutError) as exc:
            return error(503, "unavailable", str(exc))
        except PortwayError as exc:
            return error(502, "failed", str(exc))

    return handle


async def _not_found(_request: Request, _exc: Exception) -> Response:
    return error(404, "not_found", "no such path: see /api/openapi.json")


async def _not_allowed(_request: Request, _exc: Exception) -> Response:
    return error(405, "method", "this path has other methods: see /api/openapi.json")


async def _edits(request: Request) -> ReplayEdits:
    """Return the JSON of a replay; an empty body edits nothing."""
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    data = bytearray()
    try:
        async for piece in request.stream():
            data += piece
            if len(data) > EDITS_BYTES_MAX:
                raise ConfigError(f"body: too large: expected at most {EDITS_BYTES_MAX} bytes")
    except ClientDisconnect as exc:
        raise ConfigError("body: incomplete") from exc
    if not data:
        return ReplayEdits()
    if content_type != "application/json":
        raise ConfigError("Content-Type: expected application/json")
    try:
        return msgspec.json.decode(bytes(data), type=ReplayEdits)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise ConfigError(f"body: {exc}") from exc


def _id(request: Request) -> int:
    text = request.path_params["id"]
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise RefusedError("not_found", f"invalid id {text[:20]!r}: expected a number")
    return int(text)


def _number(text: str | None, name: str, default: int, least: int = 0, most: int = NUMBER_MAX) -> int:
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 19 and least <= int(text) <= most):
        raise ConfigError(f"{name}: invalid number {text[:20]!r}: expected {least} to {most}")
    return int(text)


async def _result(future: "Future[T]") -> T:
    return await asyncio.wrap_future(future)


def _file(found: PageFile) -> Response:
    return Response(found.body, media_type=found.media_type)


def _json(content: object) -> Response:
    return Response(msgspec.json.encode(content), media_type="application/json")


def _attachment(content: object, name: str) -> Response:
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(msgspec.json.encode(content), media_type="application/json", headers=headers)
