"""A raw HTTP/1.1 client that records the bytes it receives. It shares no code with Portway, so that it does not share its bugs."""

import contextlib
import socket
import time
from dataclasses import dataclass, field

DEADLINE_S = 6.0
DRIP_S = 0.001
PROBE = b"GET /probe HTTP/1.1\r\nHost: {host}\r\n\r\n"

Fields = tuple[tuple[str, str], ...]


class Drip(bytes):
    """Bytes that are sent one by one."""


Step = bytes | float | str
"""Bytes to send, seconds to wait, or one of: `half-close`, `await-interim`, `reset`."""

KEPT, CLOSED, RESET, CUT = "kept", "closed", "reset", "cut"
"""What became of the connection: still usable after the response, ended after it, reset, ended before its end."""


@dataclass
class Response:
    """One response, final or interim, as it was on the wire."""

    version: str
    status: int
    reason: str
    fields: Fields
    framing: str = "none"
    """How the body ended: `length`, `chunked`, `close` or `none`."""
    body: bytes = b""
    trailers: Fields = ()

    def value(self, name: str) -> str | None:
        """Return the values of a field joined by comma, None when absent."""
        values = [value for key, value in self.fields if key.lower() == name]
        return ", ".join(values) if values else None


@dataclass
class Outcome:
    """Everything that a client observed of one exchange."""

    interims: list[Response] = field(default_factory=list)
    finals: list[Response] = field(default_factory=list)
    end: str = ""
    """One of KEPT, CLOSED, RESET, CUT."""
    partial: bytes = b""
    """Received body of an incomplete response."""


class _Ended(Exception):
    """The peer ended the connection."""


class _Reader:
    """Buffered reads with one deadline for all of them."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._until = time.monotonic() + DEADLINE_S
        self.data = b""

    def more(self) -> None:
        self._sock.settimeout(max(0.01, self._until - time.monotonic()))
        piece = self._sock.recv(1 << 16)
        if not piece:
            raise _Ended
        self.data += piece

    def until(self, mark: bytes) -> bytes:
        while mark not in self.data:
            self.more()
        found, _, self.data = self.data.partition(mark)
        return found

    def exactly(self, count: int, into: bytearray) -> None:
        left = count
        while left:
            if not self.data:
                self.more()
            piece, self.data = self.data[:left], self.data[left:]
            into += piece
            left -= len(piece)


def talk(
    address: tuple[str, int], steps: list[Step], *, method: str = "GET", responses: int = 1, host: str = "", probe: bool = True
) -> Outcome:
    """Send `steps` over a new connection and return the outcome: `responses` final responses, and the end of the connection.

    With `probe` and no half-close, one more request shows whether the connection can be used again.
    """
    outcome = Outcome()
    with socket.create_connection(address, timeout=DEADLINE_S) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        reader = _Reader(sock)
        body = bytearray()
        try:
            _send(sock, reader, steps, outcome)
            while len(outcome.finals) < responses:
                body = bytearray()
                _read_response(reader, outcome, method, body)
                if outcome.finals and (outcome.finals[-1].framing == "close" or outcome.finals[-1].status == 101):
                    break
        except _Ended:
            outcome.end, outcome.partial = CUT, bytes(body)
            return outcome
        except ConnectionError:
            outcome.end, outcome.partial = RESET, bytes(body)
            return outcome
        last = outcome.finals[-1]
        if last.framing == "close":
            outcome.end = CLOSED
        elif last.status == 101:
            outcome.end = KEPT
        elif probe and "half-close" not in steps:
            outcome.end = _probe(sock, reader, host)
        else:
            outcome.end = CLOSED
    return outcome


def _send(sock: socket.socket, reader: _Reader, steps: list[Step], outcome: Outcome) -> None:
    """Run the steps; a peer that closes meanwhile is not an error, because its response is read next."""
    for step in steps:
        try:
            if isinstance(step, Drip):
                for at in range(len(step)):
                    sock.sendall(step[at : at + 1])
                    time.sleep(DRIP_S)
            elif isinstance(step, bytes):
                sock.sendall(step)
            elif isinstance(step, float):
                time.sleep(step)
            elif step == "half-close":
                sock.shutdown(socket.SHUT_WR)
            elif step == "await-interim":
                _read_head(reader, outcome)
        except (BrokenPipeError, ConnectionResetError):
            return


def _probe(sock: socket.socket, reader: _Reader, host: str) -> str:
    try:
        if reader.data:
            return f"unexpected bytes: {reader.data[:40]!r}"
        sock.sendall(PROBE.replace(b"{host}", host.encode()))
        reader.until(b"\r\n\r\n")
    except _Ended:
        return CLOSED
    except OSError:
        return CLOSED  # a close that crossed the probe
    return KEPT


def _read_head(reader: _Reader, outcome: Outcome) -> Response:
    """Read one head; interim responses are added to the outcome."""
    head = reader.until(b"\r\n\r\n").decode("latin-1")
    start, *lines = head.split("\r\n")
    version, _, rest = start.partition(" ")
    status, _, reason = rest.partition(" ")
    fields = tuple((name, value.strip(" \t")) for name, _, value in (line.partition(":") for line in lines))
    response = Response(version, int(status), reason, fields)
    if 100 <= response.status < 200 and response.status != 101:
        outcome.interims.append(response)
    return response


def _read_response(reader: _Reader, outcome: Outcome, method: str, body: bytearray) -> None:
    while True:
        response = _read_head(reader, outcome)
        if response.status >= 200 or response.status == 101:
            break
    _read_body(reader, response, method, body)
    response.body = bytes(body)
    outcome.finals.append(response)


def _read_body(reader: _Reader, response: Response, method: str, body: bytearray) -> None:
    if method == "HEAD" or response.status in (101, 204, 304):
        return
    coding, length = response.value("transfer-encoding"), response.value("content-length")
    if coding is not None and coding.lower() == "chunked":
        response.framing = "chunked"
        while size := int(reader.until(b"\r\n").partition(b";")[0], 16):
            reader.exactly(size, body)
            assert reader.until(b"\r\n") == b""
        trailers = []
        while line := reader.until(b"\r\n"):
            name, _, value = line.decode("latin-1").partition(":")
            trailers.append((name, value.strip(" \t")))
        response.trailers = tuple(trailers)
    elif length is not None:
        response.framing = "length"
        reader.exactly(int(length), body)
    else:
        response.framing = "close"
        with contextlib.suppress(_Ended):
            while True:
                body += reader.data
                reader.data = b""
                reader.more()
