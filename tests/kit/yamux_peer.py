"""A yamux peer on a raw socket: sends any frame, legal or not, and returns the received ones."""

import socket

from portway.engine.socket_channel import SocketChannel
from portway.mux.mux import Mux
from portway.mux.mux_channel import MuxChannel
from portway.mux.settings import MuxSettings
from tests.kit.loops import EngineLoop
from tests.kit.sockets import tcp_pair
from tests.kit.yamux_wire import ACK, DATA, PING, SYN, Frame, ping, read_frames


class CountingChannel(SocketChannel):
    """A socket channel that records the size of each `send`."""

    __slots__ = ("sends",)

    def __init__(self, engine: EngineLoop, sock: socket.socket) -> None:
        """Start with nothing sent."""
        super().__init__(engine.reactor, sock)
        self.sends: list[int] = []

    def send(self, data: memoryview | bytes | bytearray) -> int:
        """Record the size and send."""
        self.sends.append(len(data))
        return super().send(data)


class RawPeer:
    """The far end of a link whose near end is a `Mux`."""

    def __init__(
        self, engine: EngineLoop, *, mux_is_client: bool, settings: MuxSettings | None = None, buffer_bytes: int | None = None
    ) -> None:
        """Connect the link and start the mux."""
        self.engine = engine
        self.accepted: list[MuxChannel] = []
        self.lost: list[str] = []
        near, self.sock = tcp_pair(buffer_bytes)
        near.settimeout(0)
        self.link = CountingChannel(engine, near)
        self.mux = Mux(
            engine.reactor, self.link, client=mux_is_client, settings=settings, on_stream=self.accepted.append, on_lost=self.lost.append
        )
        self.sock.settimeout(0)
        self._rest = bytearray()
        self.ended = False
        self.answer_pings = True
        self.unsent_pongs = bytearray()

    def send(self, *frames: Frame) -> None:
        """Send frames and let the mux handle them."""
        self.send_bytes(b"".join(frame.wire for frame in frames))

    def send_bytes(self, wire: bytes) -> None:
        """Send bytes as fast as the mux reads them; the rest is dropped once the mux is lost."""
        view = memoryview(bytes(self.unsent_pongs) + wire)
        self.unsent_pongs.clear()
        while view:
            try:
                view = view[self.sock.send(view) :]
            except BlockingIOError:
                before = self.mux.bytes_in
                self.engine.settle()
                assert self.mux.bytes_in > before or self.mux.lost, "the mux does not read"
            except ConnectionError:
                break
        self.engine.settle()

    def receive_frames(self, *, with_pings: bool = False) -> list[Frame]:
        """Return the frames received since the last call, without pings by default; pings get a pong."""
        frames: list[Frame] = []
        while True:
            self.engine.settle()
            if not self._receive():
                break
            new, rest = read_frames(self._rest)
            self._rest = bytearray(rest)
            frames += new
            for frame in new:
                if frame.type == PING and frame.flags & SYN and self.answer_pings:
                    self.unsent_pongs += ping(frame.length, ACK).wire
            self._send_pongs()
        return frames if with_pings else [frame for frame in frames if frame.type != PING]

    def _send_pongs(self) -> None:
        """Send pending pongs as far as the mux reads them; it may not read while it cannot write."""
        while self.unsent_pongs and not self.ended:
            try:
                del self.unsent_pongs[: self.sock.send(self.unsent_pongs)]
            except BlockingIOError:
                return
            except ConnectionError:
                self.unsent_pongs.clear()

    def _receive(self) -> bool:
        try:
            data = self.sock.recv(1 << 20)
        except BlockingIOError:
            return False
        except ConnectionResetError:
            data = b""
        if not data:
            self.ended = True
            return False
        self._rest += data
        return True

    def received_data(self, stream_id: int) -> bytes:
        """Return the data of one stream received since the last call."""
        return b"".join(frame.body for frame in self.receive_frames() if frame.type == DATA and frame.stream_id == stream_id)

    def close(self) -> None:
        """Close both ends."""
        self.mux.close("the test is over")
        self.engine.settle()
        self.sock.close()
