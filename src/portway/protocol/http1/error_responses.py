"""What the edge itself answers: each code with its status, what happened, and the next step, in words."""

import json
from typing import NamedTuple

from portway.protocol.http1.error_page import STYLE_HASH, render_page
from portway.protocol.http1.fields import Field
from portway.protocol.http1.serialise import own_response_bytes


class ErrorResponse(NamedTuple):
    """One thing that can go wrong, as a visitor hears of it."""

    status: int
    reason: bytes
    """The reason phrase of RFC 9110 section 15."""
    title: str
    """What happened, in a few words."""
    text: str
    """What that means; `{host}` is replaced."""
    next_step: str
    """What the reader can do."""
    retry: bool = False
    """Whether the same request may work a little later."""


_RESEND = "Check the program that sent it. A browser or curl sends requests that are accepted here."

ANSWERS: dict[str, ErrorResponse] = {
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
        "The service is away",
        "{host} is reserved, but the agent that serves it is not connected right now.",
        "Try again in a moment. If the service is yours, see that its agent runs and reaches this server.",
        retry=True,
    ),
    "overloaded": ErrorResponse(
        503,
        b"Service Unavailable",
        "Too much at once",
        "More visitors are here than can be served at the same time.",
        "Try again in a few seconds.",
        retry=True,
    ),
    "origin_unreachable": ErrorResponse(
        502,
        b"Bad Gateway",
        "The service does not answer",
        "The agent of {host} is connected, but cannot connect to the service behind it.",
        "If the service is yours, start it, and check that it listens on the port that the agent was given.",
    ),
    "origin_forbidden": ErrorResponse(
        403,
        b"Forbidden",
        "Not for you",
        "The agent of {host} does not let this visitor in.",
        "Ask the owner of the service.",
    ),
    "origin_timeout": ErrorResponse(
        504,
        b"Gateway Timeout",
        "The service is silent",
        "The service behind {host} took the request, or the connection, and did not answer in time.",
        "Try again later. If the service is yours, look at what it is busy with.",
    ),
    "origin_closed": ErrorResponse(
        502,
        b"Bad Gateway",
        "The service hung up",
        "The connection to the service behind {host} ended before it answered.",
        "Try again. If the service is yours, look into its log: it may have crashed on this request, or expect HTTPS, which the agent has to be told.",
    ),
    "origin_invalid": ErrorResponse(
        502,
        b"Bad Gateway",
        "The service spoke gibberish",
        "The service behind {host} answered with something that is not HTTP/1.1: {detail}.",
        "If the service is yours, check that the agent was given an HTTP port, not one that speaks TLS or another protocol.",
    ),
    "origin_head_too_large": ErrorResponse(
        502,
        b"Bad Gateway",
        "ErrorResponse too large",
        "The service behind {host} answered with {detail}.",
        "If the service is yours, let it send fewer and shorter header fields, cookies above all, or ask the server's owner to raise the limit.",
    ),
    "bad_request": ErrorResponse(400, b"Bad Request", "Request not understood", "The request is not valid HTTP/1.1: {detail}.", _RESEND),
    "method_not_allowed": ErrorResponse(
        405,
        b"Method Not Allowed",
        "Method not allowed",
        "The request used {detail}.",
        "Use an ordinary method such as GET or POST.",
    ),
    "request_timeout": ErrorResponse(
        408,
        b"Request Timeout",
        "The request never ended",
        "The connection was open, but the request did not arrive in time.",
        "Send it again, in one go.",
    ),
    "body_too_large": ErrorResponse(
        413,
        b"Content Too Large",
        "Too large",
        "The request's body is larger than this server takes: {detail}.",
        "Send less, or ask the server's owner to raise the limit.",
    ),
    "target_too_long": ErrorResponse(
        414, b"URI Too Long", "Address too long", "The request is not accepted: {detail}.", "Use a shorter address."
    ),
    "expectation_failed": ErrorResponse(
        417,
        b"Expectation Failed",
        "Expectation failed",
        "The request carried {detail}.",
        "Leave the Expect field out, or say 100-continue.",
    ),
    "head_too_large": ErrorResponse(
        431,
        b"Request Header Fields Too Large",
        "Header too large",
        "The request is not accepted: {detail}.",
        "Delete this site's cookies, send fewer and shorter header fields, or ask the server's owner to raise the limit.",
    ),
    "loop_detected": ErrorResponse(
        508,
        b"Loop Detected",
        "The request came back",
        "The service behind {host} leads back to this server, so that the request would go round for ever.",
        "If the service is yours, check the port that the agent was given: it is this server's own, or one of a proxy that leads here.",
    ),
    "version_unsupported": ErrorResponse(
        505,
        b"HTTP Version Not Supported",
        "Version not supported",
        "The request used {detail}.",
        "Use HTTP/1.1.",
    ),
}
"""Every code that Portway-Error can carry."""

RETRY_AFTER_S = 5
"""What Retry-After says; about how long an agent takes to come back from a restart."""

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
    """How a visitor wants to hear it."""

    accept: bytes = b""
    """The request's Accept values."""
    wants_body: bool = True
    """False after HEAD."""
    keep_alive: bool = False
    """Whether the connection carries another request after this answer."""
    version: int = 11
    """10 or 11."""


DEFAULT_FORMAT = ResponseFormat()
"""Whose request was not understood."""


def render_error(code: str, host: str = "", detail: str = "", reader: ResponseFormat = DEFAULT_FORMAT) -> bytes:
    """Return a whole answer of the edge's own: a page for a reader who accepts text/html, JSON otherwise.

    `code` is one of ANSWERS. `host` is a normalised host or empty, `detail` half a sentence; both may stem from the
    visitor and are escaped.
    """
    answer = ANSWERS[code]
    text = answer.text.format(host=host or "this address", detail=detail or "it breaks the rules")
    if b"text/html" in reader.accept.lower():
        body = render_page(answer.status, answer.title, text, answer.next_step, code)
        kind = b"text/html; charset=utf-8"
    else:
        facts = {"error": code, "status": answer.status, "message": text, "next_step": answer.next_step}
        body = json.dumps(facts, ensure_ascii=True).encode("ascii") + b"\n"
        kind = b"application/json"
    fields: list[Field] = [
        (b"Content-Type", kind),
        (b"Content-Length", b"%d" % len(body)),
        (b"Portway-Error", code.encode("ascii")),
        *_ALWAYS,
    ]
    if answer.retry:
        fields.append((b"Retry-After", b"%d" % RETRY_AFTER_S))
    if answer.status == 405:
        fields.append(_ALLOWED)
    if not reader.keep_alive:
        fields.append((b"Connection", b"close"))
    elif reader.version == 10:
        fields.append((b"Connection", b"keep-alive"))
    head = own_response_bytes(answer.status, answer.reason, fields)
    return head + body if reader.wants_body else head
