"""Diagnoses a wrong server address, when an agent cannot get online."""

import asyncio
import socket
from typing import Literal

from portway.errors import PeerError, PortwayError
from portway.links.dial import DialError
from portway.links.tls import WrongServerError
from portway.protocol.join_string import JoinString

HTTP_S_MAX = 3.0
"""Time limit of an HTTP request to a peer that does not behave like an agents' port."""

HEAD_BYTES_MAX = 4096
READS_MAX = 4
"""Reads of that response; our own error pages have their header field within the first 500 bytes."""

Http = Literal["", "http", "portway"]
"""What answers HTTP requests: nothing, some server, or the visitors' listener of a Portway server."""


def address_of(join: JoinString) -> str:
    """Return the `host:port` that agents dial."""
    return f"[{join.host}]:{join.port}" if ":" in join.host else f"{join.host}:{join.port}"


async def describe_wrong_server(join: JoinString, error: PortwayError, *, by_proxy: bool = False) -> str:
    """Return a description of the peer at the server's address if it is certainly not an agents' port; empty if that is unknown.

    `error` is the result of the last attempt. Sends an HTTP request, which takes at most HTTP_S_MAX; not with `by_proxy`, because a server behind a
    proxy is never contacted directly.
    """
    if by_proxy:
        return ""
    if isinstance(error, DialError) and not error.connected:
        return ""
    where = address_of(join)
    http = await asyncio.to_thread(_probe_http, join.host, join.port)
    if http == "portway":
        return (
            f"{where} is where this Portway server accepts HTTP visitors; agents use another port, usually 4443, which the server "
            "prints when it starts (“advertised as”); its operator can set --advertise"
        )
    if http or isinstance(error, WrongServerError | PeerError):
        what = "is a web server" if http else f"is not a Portway server, or only one of the two ends has --plaintext-links ({error})"
        return f"{where} {what}; check host and port of the join string"
    return ""


def with_advice(error: PortwayError) -> str:
    """Return the text of an error, with advice where there is some."""
    return f"{error}. {error.next_step}" if isinstance(error, DialError) else str(error)


def _probe_http(host: str, port: int) -> Http:
    """Send an HTTP request, as a visitor would; blocks."""
    head = b""
    try:
        with socket.create_connection((host, port), HTTP_S_MAX) as visitor:
            visitor.sendall(b"GET / HTTP/1.1\r\nHost: portway.invalid\r\nConnection: close\r\n\r\n")
            for _ in range(READS_MAX):
                if not (piece := visitor.recv(HEAD_BYTES_MAX)):
                    break
                head += piece
    except (OSError, UnicodeError):  # a label that is empty or too long raises UnicodeError
        pass
    if not head.startswith(b"HTTP/1."):
        return ""
    return "portway" if b"\r\nportway-error:" in head.lower() else "http"
