"""The sample site: a web application with a page, WebSockets, a download and an upload."""

import asyncio
import zlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import msgspec
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from portway.clock import Clock, monotonic, wall
from portway.demo.site_bytes import SAMPLE_BYTES, SAMPLE_BYTES_MAX, Sums, blocks
from portway.demo.site_chat import ChatRoom
from portway.demo.site_facts import LinkFacts, SiteFacts, Trace, request_facts
from portway.demo.site_files import SiteFile, site_files
from portway.demo.site_live import echo, live

UPLOAD_BYTES_MAX = 2_000_000_000
UPLOAD_IDLE_S_MAX = 30.0
"""An upload without data for this time is aborted."""

_FACTS_MARK = "__FACTS__"

_HEADERS = {
    "content-security-policy": "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    # Both together isolate the page: browsers then provide clocks of 5 instead of 100 µs resolution.
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-embedder-policy": "require-corp",
}


@dataclass
class Site:
    """State of the site that its requests share."""

    address: str
    """Address of its listener, "127.0.0.1:41233"."""
    sums: Sums
    """Checksums of the sample download."""
    link: Callable[[], LinkFacts | None] = lambda: None
    """Returns the latest facts about the link, or None."""
    chat: ChatRoom = field(default_factory=ChatRoom)
    wall: Clock = wall
    clock: Clock = monotonic


def site_app(site: Site) -> ASGIApp:
    """Return the ASGI application of the sample site."""
    files = site_files()
    page = files["index.html"].body.decode()

    async def index(request: Request) -> Response:
        facts = msgspec.json.encode({"trace": _trace(site, request), "sample": site.sums}).decode()
        # A browser ends script data at "</script" and treats "<!--" specially, even inside JSON strings.
        body = page.replace(_FACTS_MARK, facts.replace("<", "\\u003c"))
        return Response(body, media_type="text/html", headers={"cache-control": "no-store"})

    async def trace(request: Request) -> Response:
        body = msgspec.json.encode(_trace(site, request)) + b"\n"
        return Response(body, media_type="application/json", headers={"cache-control": "no-store"})

    async def file(request: Request) -> Response:
        return _file(files.get(request.path_params["name"]), request)

    async def download(request: Request) -> Response:
        return _download(site, request)

    async def upload(request: Request) -> Response:
        return await _upload(site, request)

    async def page_live(socket: WebSocket) -> None:
        await live(socket, site.chat, site.clock)

    routes = [
        Route("/", index),
        Route("/trace", trace),
        Route("/download", download),
        Route("/upload", upload, methods=["POST", "PUT"]),
        WebSocketRoute("/live", page_live),
        WebSocketRoute("/echo", echo),
        Route("/static/{name}", file),
    ]
    return _ArrivalMiddleware(Starlette(routes=routes), site)


def _trace(site: Site, request: Request) -> Trace:
    arrived_at_s, arrived = request.scope["portway.arrived"]
    facts = request_facts((request.method, request.url.path, request.scope["http_version"]), request.headers, arrived_at_s)
    return Trace(facts, site.link() if facts.tunnelled else None, SiteFacts(site.address, site.clock() - arrived))


def _file(file: SiteFile | None, request: Request) -> Response:
    if file is None:
        return PlainTextResponse("file not found\n", 404)
    # Files may change with the next version: browsers revalidate each time, and a 304 is cheap.
    headers = {"etag": file.etag, "cache-control": "no-cache"}
    if file.etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(file.body, media_type=file.media_type, headers=headers)


def _download(site: Site, request: Request) -> Response:
    """Stream `?bytes=N` bytes of the sample (100 MB by default)."""
    requested = request.query_params.get("bytes", str(SAMPLE_BYTES))
    if not (requested.isascii() and requested.isdigit() and len(requested) <= 10 and int(requested) <= SAMPLE_BYTES_MAX):
        return PlainTextResponse(f"invalid bytes={requested[:20]}: expected a number up to {SAMPLE_BYTES_MAX}\n", 400)
    count = int(requested)
    headers = {"content-length": requested, "cache-control": "no-store", "accept-ranges": "none"}
    if count == site.sums.count:
        headers |= {"demo-crc32": site.sums.crc32, "demo-sha256": site.sums.sha256}
    if request.method == "HEAD":  # uvicorn would drop the body, but only after it was generated
        return Response(headers=headers, media_type="application/octet-stream")
    return StreamingResponse(_yielding_blocks(count), headers=headers, media_type="application/octet-stream")


async def _yielding_blocks(count: int) -> AsyncIterator[bytes]:
    for block in blocks(count):
        yield block
        # Let other requests and the echo run, even if the reader is so fast that no write waits.
        await asyncio.sleep(0)


async def _upload(site: Site, request: Request) -> Response:
    """Count the bytes of a body and compute its checksum, without storing it."""
    started, count, crc32 = site.clock(), 0, 0
    body = request.stream().__aiter__()
    try:
        while True:
            async with asyncio.timeout(UPLOAD_IDLE_S_MAX):
                chunk = await anext(body, None)
            if chunk is None:
                break
            count += len(chunk)
            if count > UPLOAD_BYTES_MAX:
                return PlainTextResponse(f"upload too large: expected at most {UPLOAD_BYTES_MAX} bytes\n", 413)
            crc32 = zlib.crc32(chunk, crc32)
    except TimeoutError:
        return PlainTextResponse(f"upload timed out: no data for {UPLOAD_IDLE_S_MAX:g} s after {count} bytes\n", 408)
    except ClientDisconnect:
        return Response(status_code=400)
    result = {"bytes": count, "crc32": f"{crc32:08x}", "seconds": round(site.clock() - started, 6)}
    return Response(msgspec.json.encode(result) + b"\n", media_type="application/json")


class _ArrivalMiddleware:
    """ASGI middleware: records when a request arrived, and adds the site's headers to every response."""

    def __init__(self, app: ASGIApp, site: Site) -> None:
        self._app = app
        self._site = site

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope["portway.arrived"] = (self._site.wall(), self._site.clock())

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
            await send(message)

        await self._app(scope, receive, send_with_headers)
