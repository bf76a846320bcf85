"""Error responses of the edge: each code with its status, title, explanation and next step."""

import json
from collections.abc import Sequence
from typing import NamedTuple

from portway.protocol.http1.error_html import STYLE_HASH, render_page
from portway.protocol.http1.fields import Field
from portway.protocol.http1.serialise import own_response_bytes


class ErrorResponse(NamedTuple):
    """One error, as reported to a visitor."""

    status: int
    reason: bytes
    """The reason phrase of RFC 9110 section 15."""
    title: str
    """What happened, in a few words."""
    text: str
    """Explanation; `{host}` and `{detail}` are replaced."""
    next_step: str
    """What the reader can do."""
    retry: bool = False
    """Whether the same request may succeed a little later."""


_RESEND = "Check the program that sent the request; requests of browsers and curl are accepted."

ERROR_RESPONSES: dict[str, ErrorResponse] = {
    "unknown_host": ErrorResponse(
        404,
        b"Not Found",
        "Nothing is published here",
        "No tunnel serves {host}.",
        "Check the spelling of the address. If the service is yours, start its agent: portway http PORT --name NAME.",
    ),
    "agent_offline": ErrorResponse(
        503,
        b"Service Unavailable",
        "The service is offline",
        "{host} is reserved, but its agent is not connected.",
        "Try again in a moment. If the service is yours, check that its agent is running and can reach this server.",
        retry=True,
    ),
    "overloaded": ErrorResponse(
        503,
        b"Service Unavailable",
        "Server at capacity",
        "The server cannot serve more visitors at the same time.",
        "Try again in a few seconds.",
        retry=True,
    ),
    "origin_unreachable": ErrorResponse(
        502,
        b"Bad Gateway",
        "Cannot connect to the service",
        "The agent of {host} is connected, but cannot connect to the service.",
        "If the service is yours, start it, and check that it listens on the port given to the agent.",
    ),
    "origin_forbidden": ErrorResponse(
        403,
        b"Forbidden",
        "Access denied",
        "The agent of {host} does not accept requests from your address.",
        "Ask the owner of the service.",
    ),
    "origin_timeout": ErrorResponse(
        504,
        b"Gateway Timeout",
        "The service did not respond",
        "The service behind {host} accepted the connection or the request, but did not respond in time.",
        "Try again later. If the service is yours, check why it is slow.",
    ),
    "origin_closed": ErrorResponse(
        502,
        b"Bad Gateway",
        "The service closed the connection",
        "The service behind {host} closed the connection before it sent a response.",
        "Try again. If the service is yours, check its log: it may have crashed on this request, or expect HTTPS: then give the agent an HTTPS target.",
    ),
    "origin_invalid": ErrorResponse(
        502,
        b"Bad Gateway",
        "Invalid response from the service",
        "The service behind {host} sent a response that is not valid HTTP/1.1: {detail}.",
        "If the service is yours, check that the agent connects to an HTTP port, not to one for TLS or another protocol.",
    ),
    "origin_head_too_large": ErrorResponse(
        502,
        b"Bad Gateway",
        "Response too large",
        "The service behind {host} sent {detail}.",
        "If the service is yours, make it send fewer and shorter header fields, especially cookies, or ask the server's operator to raise the limit.",
    ),
    "bad_request": ErrorResponse(400, b"Bad Request", "Invalid request", "The request is not valid HTTP/1.1: {detail}.", _RESEND),
    "method_not_allowed": ErrorResponse(
        405,
        b"Method Not Allowed",
        "Method not allowed",
        "The request used {detail}.",
        "Use a method such as GET or POST.",
    ),
    "request_timeout": ErrorResponse(
        408,
        b"Request Timeout",
        "Request timed out",
        "The connection was open, but the request did not arrive in time.",
        "Send it again without pauses.",
    ),
    "body_too_large": ErrorResponse(
        413,
        b"Content Too Large",
        "Request too large",
        "The request body is larger than this server accepts: {detail}.",
        "Send less, or ask the server's operator to raise the limit.",
    ),
    "target_too_long": ErrorResponse(
        414, b"URI Too Long", "Address too long", "The request is not accepted: {detail}.", "Use a shorter address."
    ),
    "expectation_failed": ErrorResponse(
        417,
        b"Expectation Failed",
        "Expectation failed",
        "The request contained {detail}.",
        "Omit the Expect field, or send 100-continue.",
    ),
    "https_redirect": ErrorResponse(
        308,
        b"Permanent Redirect",
        "Moved to HTTPS",
        "{host} is served over HTTPS: {detail}.",
        "Use the https address. If the service is yours and plain HTTP is to work, start its agent with --plain-http serve.",
    ),
    "https_required": ErrorResponse(
        426,
        b"Upgrade Required",
        "HTTPS only",
        "{host} does not accept requests over plain HTTP.",
        "Use an https or wss address.",
    ),
    "unauthorized": ErrorResponse(
        401,
        b"Unauthorized",
        "Password required",
        "{host} is protected: {detail}.",
        "Give a valid user name and password. If the service is yours, `portway passwd` sets passwords.",
    ),
    "too_many_failures": ErrorResponse(
        429,
        b"Too Many Requests",
        "Too many wrong passwords",
        "Too many wrong passwords for {host} came from your network: the next attempt is possible in {detail}.",
        "Wait, then give a valid user name and password.",
    ),
    "client_certificate_required": ErrorResponse(
        403,
        b"Forbidden",
        "Certificate required",
        "{host} requires a client certificate, and this connection has none that is accepted.",
        "Open a new connection with a certificate from the CA that the owner of the service has chosen.",
    ),
    "address_denied": ErrorResponse(
        403,
        b"Forbidden",
        "Access denied",
        "{host} does not accept requests from your address, {detail}.",
        "Ask the owner of the service.",
    ),
    "tls_only": ErrorResponse(
        421,
        b"Misdirected Request",
        "TLS only",
        "The service at {host} accepts only TLS connections that reach it undecrypted.",
        "Connect to the server's https port. If the service is yours and is to be reached over HTTP, start its agent with portway http.",
    ),
    "misdirected": ErrorResponse(
        421,
        b"Misdirected Request",
        "Wrong connection",
        "This connection cannot be used for {host}: {detail}.",
        "Open a new connection to that host; browsers do so when the page is loaded again.",
    ),
    "head_too_large": ErrorResponse(
        431,
        b"Request Header Fields Too Large",
        "Header too large",
        "The request is not accepted: {detail}.",
        "Delete this site's cookies, send fewer and shorter header fields, or ask the server's operator to raise the limit.",
    ),
    "loop_detected": ErrorResponse(
        508,
        b"Loop Detected",
        "Request loop detected",
        "The service behind {host} sends the request back to this server, so it would loop forever.",
        "If the service is yours, check the port given to the agent: it belongs to this server, or to a proxy that leads here.",
    ),
    "version_unsupported": ErrorResponse(
        505,
        b"HTTP Version Not Supported",
        "Version not supported",
        "The request used {detail}.",
        "Use HTTP/1.1.",
    ),
}
"""All values of Portway-Error."""

RETRY_AFTER_S = 5
"""Value of Retry-After; about the time that an agent needs to restart."""

_ALLOWED: Field = (b"Allow", b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")
_ALWAYS: tuple[Field, ...] = (
    (b"Cache-Control", b"no-store"),
    (b"X-Content-Type-Options", b"nosniff"),
    (b"X-Frame-Options", b"DENY"),
    (b"Referrer-Policy", b"no-referrer"),
    (b"Content-Security-Policy", b"default-src 'none'; style-src '%b'; base-uri 'none'; form-action 'none'" % STYLE_HASH),
    (b"Vary", b"Accept"),
)


class ResponseFormat(NamedTuple):
    """The form of an error response, which follows from the request."""

    accept: bytes = b""
    """The request's Accept values."""
    wants_body: bool = True
    """False after HEAD."""
    keep_alive: bool = False
    """Whether the connection stays open after this response."""
    version: int = 11
    """10 or 11."""


DEFAULT_FORMAT = ResponseFormat()
"""For requests that could not be parsed."""


def render_error(
    code: str,
    host: str = "",
    detail: str = "",
    response_format: ResponseFormat = DEFAULT_FORMAT,
    additional: Sequence[Field] = (),
) -> bytes:
    """Return a complete error response: a page if the visitor accepts text/html, JSON otherwise.

    `code` is a key of ERROR_RESPONSES. `host` is a normalised host or empty, `detail` a phrase; both may come from the
    visitor and are escaped. `additional` fields are sent as they are.
    """
    response = ERROR_RESPONSES[code]
    text = response.text.format(host=host or "this address", detail=detail or "it breaks a rule")
    if b"text/html" in response_format.accept.lower():
        body = render_page(response.status, response.title, text, response.next_step, code)
        kind = b"text/html; charset=utf-8"
    else:
        facts = {"error": code, "status": response.status, "message": text, "next_step": response.next_step}
        body = json.dumps(facts, ensure_ascii=True).encode("ascii") + b"\n"
        kind = b"application/json"
    fields: list[Field] = [
        (b"Content-Type", kind),
        (b"Content-Length", b"%d" % len(body)),
        (b"Portway-Error", code.encode("ascii")),
        *_ALWAYS,
        *additional,
    ]
    if response.retry:
        fields.append((b"Retry-After", b"%d" % RETRY_AFTER_S))
    if response.status == 405:
        fields.append(_ALLOWED)
    if response.status == 426:
        fields.append((b"Upgrade", b"TLS/1.2, HTTP/1.1"))  # RFC 9110 section 15.5.22
    fields += _connection_fields(response_format, upgrade=response.status == 426)
    head = own_response_bytes(response.status, response.reason, fields)
    return head + body if response_format.wants_body else head


def render_plain(body: bytes, response_format: ResponseFormat) -> bytes:
    """Return a complete 200 response with a few bytes for a program."""
    fields: list[Field] = [
        (b"Content-Type", b"application/octet-stream"),
        (b"Content-Length", b"%d" % len(body)),
        (b"Cache-Control", b"no-store"),
        (b"X-Content-Type-Options", b"nosniff"),
        *_connection_fields(response_format),
    ]
    head = own_response_bytes(200, b"OK", fields)
    return head + body if response_format.wants_body else head


def _connection_fields(response_format: ResponseFormat, *, upgrade: bool = False) -> list[Field]:
    """Return Connection, if it is needed; with `upgrade`, an Upgrade field belongs to it."""
    options = [b"Upgrade"] if upgrade else []
    if not response_format.keep_alive:
        options.append(b"close")
    elif response_format.version == 10:
        options.append(b"keep-alive")
    return [(b"Connection", b", ".join(options))] if options else []
