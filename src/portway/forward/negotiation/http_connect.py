"""HTTP: CONNECT heads are read here; other methods go to the forwarding of plain HTTP."""

import base64
import binascii
import re
from collections.abc import Callable
from functools import lru_cache

from portway.errors import PeerError
from portway.forward.interfaces import Target, User
from portway.forward.negotiation.http_responses import failure_response
from portway.forward.negotiation.interfaces import Client
from portway.forward.outcomes import Failure, Outcome
from portway.forward.targets import target_of_authority
from portway.protocol.http1.errors import MessageError
from portway.protocol.http1.fields import HeadBuffer, HeadLimits, cut_head, parse_fields

HEAD_LIMITS = HeadLimits(16 * 1024, 200, "16 KiB", "200 fields")
"""A CONNECT head has 50 to 500 bytes; http-tunnel's limit is the same."""

CACHED_HEADS_MAX, CACHED_BYTES_MAX = 256, 512
"""Parsed heads, 0.3 MB at most: a program sends the same one for each connection to a host, and parsing takes 8 µs."""

_START = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]{1,32}) ([!-~]+) HTTP/1\.[01]\r\n")

OnPlain = Callable[[bytes], None]
"""Takes all bytes of a connection whose first request is not CONNECT."""


class HttpNegotiation:
    """The server's side of one client that speaks HTTP."""

    protocol = "http"

    def __init__(self, client: Client, on_plain: OnPlain | None = None) -> None:
        """Await the request of `client`; `on_plain` takes connections with other methods than CONNECT, None refuses them."""
        self._client = client
        self._on_plain = on_plain
        self._head_buffer: HeadBuffer | None = None
        self._first = b""

    def feed(self, data: bytes) -> None:
        """Take the next bytes."""
        if self._on_plain is not None and not b"CONNECT ".startswith((self._first + data[:8])[:8]):
            self._on_plain(self._first + data)
            return
        self._first += data[: 8 - len(self._first)] if len(self._first) < 8 else b""
        try:
            head, size, self._head_buffer = cut_head(data, self._head_buffer, HEAD_LIMITS)
            if head is not None:
                self._request(head, data[size:])
        except (MessageError, PeerError) as exc:
            self._client.refuse(Failure(Outcome.BAD_REQUEST, f"{str(exc)[:1].upper()}{str(exc)[1:]}."))

    def end(self) -> None:
        """Refuse: the request is incomplete."""
        self._client.refuse(Failure(Outcome.BAD_REQUEST, "The connection ended before the request was complete."))

    def established(self) -> bytes:
        """Return the response of success."""
        return b"HTTP/1.1 200 Connection established\r\n\r\n"

    def failed(self, failure: Failure) -> bytes:
        """Return the response of a failure."""
        return failure_response(failure)

    def _request(self, head: bytes, early: bytes) -> None:
        # Credentials must not stay in a cache.
        parse = _parse_cached if len(head) <= CACHED_BYTES_MAX and b"authorization" not in head.lower() else parse_request
        method, target, credentials = parse(head)
        if target is None:
            self._client.refuse(Failure(Outcome.NOT_ALLOWED, f"Method {method} is not supported by this proxy: expected CONNECT."))
            return
        if not self._client.needs_user:
            self._client.connect(target, early)
            return
        found = basic_credentials(credentials)
        if found is None:
            self._client.refuse(Failure(Outcome.AUTH_REQUIRED, "This proxy requires a user name and a password (Basic)."))
            return

        def checked(user: User | Failure) -> None:
            if isinstance(user, User):
                self._client.connect(target, early, user)
            else:
                self._client.refuse(user)

        self._client.authenticate(*found, checked)


def parse_request(head: bytes) -> tuple[str, Target | None, bytes | None]:
    """Return the method of a request, and for CONNECT its target and the value of Proxy-Authorization.

    Raises:
        MessageError, PeerError: invalid.
    """
    start = _START.match(head)
    if start is None:
        raise MessageError("invalid request line: expected CONNECT host:port HTTP/1.1")
    if start[1] != b"CONNECT":
        return start[1].decode(), None, None
    credentials = None
    for name, value in parse_fields(head, start.end(), HEAD_LIMITS):
        lower = name.lower()
        if lower == b"proxy-authorization":
            if credentials is not None:
                raise MessageError("repeated Proxy-Authorization: expected one")
            credentials = value
        elif lower == b"transfer-encoding" or (lower == b"content-length" and value != b"0"):
            raise MessageError("a CONNECT request with a body: expected none")
    return "CONNECT", target_of_authority(start[2]), credentials


_parse_cached = lru_cache(CACHED_HEADS_MAX)(parse_request)


def basic_credentials(value: bytes | None) -> tuple[str, bytes] | None:
    """Return user name and password of a Proxy-Authorization field (RFC 7617), None if there are none."""
    if value is None or value[:6].lower() != b"basic ":
        return None
    try:
        name, colon, password = base64.b64decode(value[6:].strip(b" "), validate=True).partition(b":")
    except binascii.Error:
        return None
    return (name.decode("utf-8", "backslashreplace"), password) if colon else None
