"""Says what is wrong with the address of a server on which no agent gets online."""

import asyncio
import socket
from typing import Literal

from portway.errors import PeerError, PortwayError
from portway.links.dial import DialError
from portway.links.tls import WrongServerError
from portway.protocol.join_string import JoinString

HTTP_S_MAX = 3.0
"""How long somebody may take to answer an HTTP request who answers otherwise than an agents' port does."""

HEAD_BYTES_MAX = 4096
READS_MAX = 4
"""Of that answer; our own error pages name themselves within the first 500 bytes."""

Http = Literal["", "http", "portway"]
"""Who answers HTTP requests: nobody, some server, the listener for visitors of a Portway server."""


def address_of(join: JoinString) -> str:
    """Return the `host:port` that agents dial."""
    return f"[{join.host}]:{join.port}" if ":" in join.host else f"{join.host}:{join.port}"


async def wrong_server(join: JoinString, error: PortwayError) -> str:
    """Return what answers at the server's address, if it is surely no agents' port; empty if nobody can tell.

    `error` is what became of the last try. Asks there over HTTP, which takes HTTP_S_MAX at most.
    """
    if isinstance(error, DialError) and not error.connected:
        return ""
    where = address_of(join)
    http = await asyncio.to_thread(_answers_http, join.host, join.port)
    if http == "portway":
        return (
            f"{where} is where this Portway server takes HTTP visitors; agents dial another port, usually 4443: the server says which "
            "when it starts (“advertised as”), and its operator can set --advertise"
        )
    if http or isinstance(error, WrongServerError | PeerError):
        what = "a web server" if http else f"no Portway server, or one with links of another kind: {error}"
        return f"{where}: who answers there is {what}; check host and port of the join string"
    return ""


def advice(error: PortwayError) -> str:
    """Return an error with what to do about it, where that is known."""
    return f"{error}. {error.next_step}" if isinstance(error, DialError) else str(error)


def _answers_http(host: str, port: int) -> Http:
    """Ask as a visitor would; blocks."""
    head = b""
    try:
        with socket.create_connection((host, port), HTTP_S_MAX) as visitor:
            visitor.sendall(b"GET / HTTP/1.1\r\nHost: portway.invalid\r\nConnection: close\r\n\r\n")
            for _ in range(READS_MAX):
                if not (piece := visitor.recv(HEAD_BYTES_MAX)):
                    break
                head += piece
    except (OSError, UnicodeError):  # the latter from a label that is empty or too long
        pass
    if not head.startswith(b"HTTP/1."):
        return ""
    return "portway" if b"\r\nportway-error:" in head.lower() else "http"
