"""Requests through the proxy: targets of the edge's raw clients and origins, in absolute form."""

import re

from tests.edge.http.kit import Caller, Heard, Origin
from tests.forward.stage import Stage

HOST = "here.test"


def url(origin: Origin | int, path: str = "/", host: str = HOST) -> str:
    """Return the URL of a path at an origin."""
    port = origin if isinstance(origin, int) else origin.port
    return f"http://{host}:{port}{path}"


class Client(Caller):
    """A raw client of the proxy."""

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage.port)

    def ask(self, target: str, *fields: str, method: str = "GET", body: bytes = b"") -> Heard:
        """Send a request for an absolute URL, and wait for the response."""
        host = target.split("/")[2] if "//" in target else "x"
        lines = "".join(f"{line}\r\n" for line in fields)
        self.send(f"{method} {target} HTTP/1.1\r\nHost: {host}\r\n{lines}\r\n".encode() + body)
        return self.answer(method)


def absolute(wire: bytes, port: int) -> bytes:
    """Return a request in origin form with an absolute target on a port."""
    return re.sub(rb"\A((?:\r\n)?[^ \r\n]+ )/", rb"\1http://here.test:%d/" % port, wire, count=1)
