"""Protects the API against other users, other web pages and captured content (threats I1, I2, I3)."""

import hmac
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs

import msgspec
from starlette.datastructures import MutableHeaders
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

CUSTOM_HEADER = b"x-portway"
"""A field that no form can set; its value does not matter."""

CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; connect-src 'self'; manifest-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": CSP,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}

NO_KEY_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Portway inspector</title><h1>This address needs a key</h1>
<p>Open the address that <code>portway</code> has printed, or run <code>portway inspect</code>.</p></html>
"""


class Guard:
    """Wraps an application: checks Host, origin and key of each request, and adds security fields to each response."""

    def __init__(self, app: ASGIApp, hosts: frozenset[str], key: str, session: str, cookie: str) -> None:
        """Allow `hosts` (with port). `key` is that of URL and command line, `session` the value of the cookie; both empty: no key is needed."""
        self._app = app
        self._hosts = hosts
        self._key = key
        self._session = session
        self._cookie = cookie

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            return
        response = self._refusal(scope)
        if response is None and scope["path"] == "/" and scope["method"] == "GET" and b"key=" in scope["query_string"]:
            response = self._exchange_key(scope)

        async def send_with_fields(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        await (response or self._app)(scope, receive, send_with_fields)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
        hosts = [value for name, value in scope["headers"] if name.lower() == b"host"]
        if len(hosts) != 1 or hosts[0].decode("latin-1").lower() not in self._hosts:
            return error(403, "host", "unknown Host: use the address that portway has printed")
        site = headers.get(b"sec-fetch-site", "")
        is_page = scope["path"] == "/" and scope["method"] in ("GET", "HEAD")
        if site in ("cross-site", "same-site") and not (is_page and headers.get(b"sec-fetch-mode") == "navigate"):
            return error(403, "origin", "requests from other sites are refused")
        is_write = scope["method"] not in ("GET", "HEAD", "OPTIONS")
        origin = headers.get(b"origin")
        if origin is not None and origin.lower() != f"http://{headers[b'host'].lower()}":
            return error(403, "origin", "requests from other origins are refused")
        has_bearer = headers.get(b"authorization", "").startswith("Bearer ")
        if is_write and origin is None and CUSTOM_HEADER not in headers and not has_bearer:
            return error(403, "origin", "a write needs an Origin of this address, or the field X-Portway")
        if self._is_allowed(headers) or (is_page and b"key=" in scope["query_string"]):
            return None
        if scope["path"].startswith("/api/"):
            return error(401, "key", "the key is missing or wrong", "Open the address that portway has printed, or run `portway inspect`.")
        return Response(NO_KEY_PAGE, 401, media_type="text/html; charset=utf-8")

    def _is_allowed(self, headers: dict[bytes, str]) -> bool:
        if not self._key:
            return True
        scheme, _, given = headers.get(b"authorization", "").partition(" ")
        if scheme == "Bearer" and hmac.compare_digest(given.encode("latin-1"), self._key.encode()):
            return True
        try:
            cookies = SimpleCookie(headers.get(b"cookie", ""))
        except CookieError:
            return False
        cookie = cookies.get(self._cookie)
        return cookie is not None and hmac.compare_digest(cookie.value.encode("latin-1", "replace"), self._session.encode())

    def _exchange_key(self, scope: Scope) -> Response:
        given = parse_qs(scope["query_string"].decode("latin-1")).get("key", [""])[0]
        if self._key and not hmac.compare_digest(given.encode("utf-8", "replace"), self._key.encode()):
            return Response(NO_KEY_PAGE, 401, media_type="text/html; charset=utf-8")
        response = RedirectResponse("/", 303)
        if self._key:
            response.set_cookie(self._cookie, self._session, httponly=True, samesite="strict", path="/")
        return response


def error(status: int, code: str, message: str, next_step: str = "") -> Response:
    """Return an error as JSON."""
    fields = {"code": code, "message": message} | ({"next_step": next_step} if next_step else {})
    return Response(msgspec.json.encode({"error": fields}), status, media_type="application/json")
