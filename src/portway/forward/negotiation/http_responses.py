"""Responses of the proxy itself over HTTP."""

import json

from portway.forward.outcomes import Failure, Outcome

PROXY_NAME = "portway"
REALM = b'Proxy-Authenticate: Basic realm="portway proxy", charset="UTF-8"\r\n'


def failure_response(failure: Failure, *, head_only: bool = False, keep_alive: bool = False) -> bytes:
    """Return the response of a failure: status, Proxy-Status (RFC 9209), and the cause with the next step as text."""
    names = failure.names
    body = f"{names.status} {names.phrase}: {failure.text}\n".encode()
    fields = [
        f"HTTP/1.1 {names.status} {names.phrase}\r\n".encode(),
        b"Content-Type: text/plain; charset=utf-8\r\n",
        b"Content-Length: %d\r\n" % len(body),
        b"Cache-Control: no-store\r\n",
    ]
    if names.error:
        details = json.dumps(failure.text.encode("ascii", "replace").decode())  # a string of RFC 8941 has the same escapes
        hops = "".join(f"{hop}, " for hop in failure.hops)
        fields.append(f"Proxy-Status: {hops}{PROXY_NAME}; error={names.error}; details={details}\r\n".encode())
    if failure.outcome is Outcome.AUTH_REQUIRED:
        fields.append(REALM)
    if failure.outcome is Outcome.NOT_ALLOWED:
        fields.append(b"Allow: CONNECT\r\n")
    if failure.outcome is Outcome.TOO_MANY:
        fields.append(b"Retry-After: 5\r\n")
    if not keep_alive:
        fields.append(b"Connection: close\r\n")
    return b"".join(fields) + b"\r\n" + (b"" if head_only else body)
