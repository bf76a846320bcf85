"""A hostile agent with a token and a name: a script decides which frames it sends on each visitor's stream."""

import contextlib
import select
import socket
import ssl
import threading
from collections.abc import Callable

from portway.protocol.proxy_header import decode
from tests.attacks.context import AttackContext
from tests.kit.blocking_link import BlockingLink, LinkError
from tests.kit.yamux_wire import ACK, DATA, FIN, RST, SYN, WINDOW_UPDATE, Frame, data, update

ONE_HEAD_MAX = 65536

OnRequest = Callable[["ScriptedAgent", int, bytes], None]
"""Called for each request with the agent, the stream and the request head."""


class ScriptedAgent:
    """One link, served by a thread; `on_request` responds on visitors' streams."""

    def __init__(self, context: AttackContext, name: str, on_request: OnRequest, number: int = 0) -> None:
        """Log in, claim `name` and start to serve."""
        self.link: BlockingLink = context.agent_link(number, identity=f"{name}{number}")
        self.host = f"{name}.localhost"
        self.credit: dict[int, int] = {}
        """Send window of each stream."""
        self.requests = 0
        self.stopped_reading = threading.Event()
        """Set it to stop reading from the link."""
        self.lost = ""
        self._on_request = on_request
        self._heads: dict[int, bytes] = {}
        self._preambles: set[int] = set()
        self._silent: set[int] = set()
        """Streams without a status byte so far."""
        self._lock = threading.Lock()
        self.link.claim(name)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def send(self, *frames: Frame) -> None:
        """Send frames, from any thread."""
        self.send_wire(b"".join(frame.wire for frame in frames))

    def send_wire(self, wire: bytes) -> None:
        """Send bytes, from any thread; blocks while the link is full."""
        with self._lock:
            self.link.sock.sendall(wire)

    def respond(self, stream: int, response: bytes) -> None:
        """Send response bytes; the first ones on a stream follow the status byte. The caller keeps to the window."""
        if stream in self._silent:
            self._silent.discard(stream)
            self.send(data(stream, b"\0" + response, ACK))
        else:
            self.send(data(stream, response))

    def drop_link(self) -> None:
        """Close the link at once, like a killed agent; the server holds its name for a grace time."""
        with contextlib.suppress(OSError):
            self.link.sock.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)
        self.link.close()

    def _serve(self) -> None:
        try:
            while not self.stopped_reading.is_set():
                self.poll(1.0)
        except (OSError, LinkError, ValueError) as exc:
            self.lost = str(exc) or type(exc).__name__

    def poll(self, wait_s: float) -> None:
        """Wait for frames and handle them."""
        sock = self.link.sock
        pending = isinstance(sock, ssl.SSLSocket) and sock.pending()
        if pending or select.select([sock], [], [], wait_s)[0]:
            with self._lock:
                self.link.read_some()
        while self.link.frames:
            self._take(self.link.frames.popleft())

    def _take(self, frame: Frame) -> None:
        stream = frame.stream_id
        if frame.flags & SYN:
            self.credit[stream] = 262144
            self._heads[stream] = b""
            self._preambles.add(stream)
            self._silent.add(stream)
        if frame.type == WINDOW_UPDATE and stream in self.credit:
            self.credit[stream] += frame.length
        if frame.type == DATA and stream in self._heads:
            self._heads[stream] = (self._heads[stream] + frame.body)[-ONE_HEAD_MAX:]
            if frame.body:
                self.send(update(stream, len(frame.body)))
            if stream in self._preambles and (found := decode(self._heads[stream])) is not None:
                self._preambles.discard(stream)
                self._heads[stream] = self._heads[stream][found[1] :]
            while stream not in self._preambles and (end := self._heads[stream].find(b"\r\n\r\n")) >= 0:
                head, self._heads[stream] = self._heads[stream][: end + 4], self._heads[stream][end + 4 :]
                self.requests += 1
                self._on_request(self, stream, head)
        if frame.flags & (FIN | RST):
            self.credit.pop(stream, None)
            self._heads.pop(stream, None)
            self._preambles.discard(stream)
            self._silent.discard(stream)
            if frame.flags & FIN and not frame.flags & RST:
                with contextlib.suppress(OSError):
                    self.send(data(stream, b"", FIN))


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def respond_ok(agent: ScriptedAgent, stream: int, head: bytes) -> None:
    """Respond 200."""
    agent.respond(stream, OK)


def never_respond(agent: ScriptedAgent, stream: int, head: bytes) -> None:
    """Ignore the request."""
