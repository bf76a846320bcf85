"""An agent's link on a blocking socket: sends any bytes at any time, can log in, and does nothing by itself."""

import contextlib
import secrets
import select
import socket
import ssl
import time
from collections import deque
from typing import Self, TypeVar

from portway.protocol.control.framing import POST_LOGIN_BYTES_MAX, MessageReader
from portway.protocol.control.messages import Challenge, Claim, Granted, Hello, Message, Proof, Welcome, decode_message, encode_message
from portway.protocol.join_string import JoinString
from portway.protocol.scram import ScramClient, certificate_binding, fresh_nonce
from tests.kit.yamux_wire import ACK, DATA, INITIAL_WINDOW, PING, SYN, WINDOW_UPDATE, Frame, data, ping, read_frames, update

M = TypeVar("M")
CONTROL = 2
"""The stream id of an agent's control stream: agents are yamux servers, with even ids."""


class LinkError(Exception):
    """The server closed the link or sent another message."""


def agent_context(alpn: str = "portway/1") -> ssl.SSLContext:
    """Return a client context that accepts any certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols([alpn])
    return context


class BlockingLink:
    """One link to a server."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        tls: bool = True,
        timeout_s: float = 10.0,
        source: str = "",
        context: ssl.SSLContext | None = None,
    ) -> None:
        """Connect, from the address `source` if it is given, and shake hands."""
        sock = socket.create_connection((host, port), timeout_s, (source, 0) if source else None)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.tls = tls
        self.timeout_s = timeout_s
        try:
            self.sock: socket.socket = (context or agent_context()).wrap_socket(sock) if tls else sock
        except BaseException:
            sock.close()
            raise
        self._buffered = b""
        self._reader = MessageReader(POST_LOGIN_BYTES_MAX)
        self._messages: deque[Message] = deque()
        self.frames: deque[Frame] = deque()
        """Frames received outside of the control stream, without pings."""
        self.answers_pings = True
        self.control_credit = INITIAL_WINDOW
        """Remaining send window of the control stream."""

    @property
    def binding(self) -> bytes | None:
        """Channel binding of a login."""
        if not isinstance(self.sock, ssl.SSLSocket):
            return None
        certificate = self.sock.getpeercert(binary_form=True)
        assert certificate is not None
        return certificate_binding(certificate)

    def send(self, *frames: Frame) -> None:
        """Send frames."""
        self.sock.sendall(b"".join(frame.wire for frame in frames))

    def open_control(self) -> None:
        """Open the control stream."""
        self.send(update(CONTROL, flags=SYN))

    def send_message(self, message: Message) -> None:
        """Send a control message."""
        self.send_control_bytes(encode_message(message))

    def send_control_bytes(self, framed: bytes) -> None:
        """Send bytes on the control stream; the caller keeps to its window."""
        self.control_credit -= len(framed)
        self.send(data(CONTROL, framed))

    def read_some(self) -> None:
        """Read once and dispatch the received frames; pings get a pong.

        Raises:
            LinkError: the server closed the link.
            OSError: the link broke, or nothing was received in time.
        """
        piece = self.sock.recv(65536)
        if not piece:
            raise LinkError("the server closed the link")
        frames, self._buffered = read_frames(self._buffered + piece)
        for frame in frames:
            if frame.type == PING:
                if frame.flags & SYN and self.answers_pings:
                    self.send(ping(frame.length, ACK))
            elif frame.type == DATA and frame.stream_id == CONTROL:
                self._messages.extend(map(decode_message, self._reader.feed(frame.body)))
                self.send(update(CONTROL, len(frame.body)))
            elif frame.type == WINDOW_UPDATE and frame.stream_id == CONTROL:
                self.control_credit += frame.length
            else:
                self.frames.append(frame)

    def read_for(self, seconds: float) -> None:
        """Read and send pongs for `seconds`."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            pending = isinstance(self.sock, ssl.SSLSocket) and self.sock.pending()
            if pending or select.select([self.sock], [], [], left)[0]:
                self.read_some()

    def receive(self, kind: type[M]) -> M:
        """Return the next control message, which must be of the kind."""
        until = time.monotonic() + self.timeout_s
        while not self._messages:
            if time.monotonic() > until:
                raise LinkError(f"no message within {self.timeout_s:g} s")
            self.read_some()
        message = self._messages.popleft()
        if not isinstance(message, kind):
            raise LinkError(f"received {message}, expected {kind.__name__}")
        return message

    def log_in(self, join: JoinString, identity: bytes = b"i" * 32) -> Welcome:
        """Log in as an agent does."""
        client = ScramClient(join.token_id, join.secret, fresh_nonce(secrets.token_bytes), self.binding)
        self.open_control()
        self.send_message(Hello(version=1, token=join.token_id, identity=identity, scram=client.first(), agent="by hand"))
        self.send_message(Proof(scram=client.respond(self.receive(Challenge).scram)))
        welcome = self.receive(Welcome)
        client.verify(welcome.scram)
        return welcome

    def claim(self, name: str, number: int = 1) -> Granted:
        """Claim a name."""
        self.send_message(Claim(id=number, kind="http", name=name))
        return self.receive(Granted)

    def close(self) -> None:
        """Close without a GoAway."""
        with contextlib.suppress(OSError):
            self.sock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_link(join: JoinString, *, source: str = "", timeout_s: float = 10.0) -> BlockingLink:
    """Connect to the server of a join string, from the address `source`."""
    return BlockingLink(join.host, join.port, tls=not join.plaintext, source=source, timeout_s=timeout_s)
